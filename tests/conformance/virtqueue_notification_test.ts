/**
 * Who wakes whom: items 36 to 41.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { EventFd } from "../../src/io/event_fd.ts";
import type { SplitDriver } from "../../src/testing/mod.ts";
import {
  type RawDriver,
  readable,
  type Rig,
  RING_KINDS,
  splitRig,
  takeUsed,
  writable,
} from "./ring_rig.ts";

/** Publishes `count` chains; true when the device wants a kick. */
function submit({ driver, memory }: Rig<RawDriver>, count: number): boolean {
  const at = memory.regions[0]!.guestAddress + memory.regions[0]!.size - 4;
  for (let i = 0; i < count; i++) driver.add([writable(at, 4)]);
  return driver.publish();
}

/** Serves all that is there without publishing it; how many. */
function serve({ queue }: Rig<RawDriver>): number {
  let count = 0;
  while (queue.pop()) {
    queue.push(queue.chain.head, 0);
    count++;
  }
  return count;
}

describe("virtqueue notifications, split", () => {
  it("[C36] with EVENT_IDX a call is due when used_event is passed", () => {
    const SIZE = 16;
    for (const event of [4, 8, 15, 65532]) {
      const rig = splitRig({ size: SIZE, eventIndex: true });
      rig.driver.rawUsedEvent(event);
      let used = 0;
      for (let turn = 0; used < 2 * 65536; turn++) {
        const count = 1 + turn % SIZE;
        submit(rig, count);
        assertEquals(serve(rig), count);
        const first = used & 0xffff;
        used += count;
        // Positions first .. first + count - 1 were written in this batch.
        const due = ((event - first) & 0xffff) < count;
        if (rig.queue.flush() !== due) {
          throw new Error(`${event}: a batch of ${count} at ${first}`);
        }
        takeUsed(rig.driver);
      }
    }
  });

  it("[C36] with EVENT_IDX the flag NO_INTERRUPT is not looked at", () => {
    const rig = splitRig({ eventIndex: true });
    rig.driver.setNoInterrupt(true);
    rig.driver.armInterrupt();
    submit(rig, 1);
    serve(rig);
    assert(rig.queue.flush());
  });

  it("[C37] without EVENT_IDX NO_INTERRUPT set means no call", () => {
    const rig = splitRig();
    for (const quiet of [true, false, true, true, false, false]) {
      rig.driver.setNoInterrupt(quiet);
      submit(rig, 2);
      serve(rig);
      assertEquals(rig.queue.flush(), !quiet);
      takeUsed(rig.driver);
    }
  });

  it("[C37] the reserved flags mean nothing", () => {
    const rig = splitRig();
    const [view, offset] = rig.memory.view(rig.driver.driverArea);
    view.setUint16(offset, 0xfffe, true);
    submit(rig, 1);
    serve(rig);
    assert(rig.queue.flush());
  });

  it("[C39] without EVENT_IDX kicks go by NO_NOTIFY", () => {
    const rig = splitRig();
    assertEquals(rig.driver.usedFlags, 0);
    rig.queue.disableKicks();
    assertEquals(rig.driver.usedFlags, 1);
    assert(!submit(rig, 1));
    serve(rig);
    assert(!rig.queue.enableKicks());
    assertEquals(rig.driver.usedFlags, 0);
    assert(submit(rig, 1));
  });

  it("[C39] with EVENT_IDX kicks go by avail_event", () => {
    const rig = splitRig({ eventIndex: true, base: 65534 });
    const { driver, queue } = rig;
    for (let i = 0; i < 4; i++) {
      queue.disableKicks();
      assert(!submit(rig, 3));
      assertEquals(serve(rig), 3);
      assert(!queue.enableKicks());
      assertEquals(driver.availEvent, queue.nextAvail);
      assert(submit(rig, 2));
      assertEquals(serve(rig), 2);
      assert(!submit(rig, 1));
      serve(rig);
      queue.flush();
      takeUsed(driver);
    }
    assertEquals(driver.usedFlags, 0);
  });

  it("[H26] whatever events the driver writes, the ring goes on", () => {
    const rig = splitRig({ eventIndex: true });
    for (let i = 0; i < 70000; i += 13) {
      rig.driver.rawUsedEvent(i * 7919 & 0xffff);
      submit(rig, 1);
      serve(rig);
      rig.queue.flush();
      if (takeUsed(rig.driver).length !== 1) throw new Error(`Stuck at ${i}`);
    }
  });

  it("[H30] an empty ring that is kicked stays empty", () => {
    const rig: Rig<SplitDriver> = splitRig();
    for (let i = 0; i < 1000; i++) {
      assert(!rig.queue.hasAvailable() && !rig.queue.pop());
      assert(!rig.queue.flush());
    }
    assertEquals(rig.queue.broken, "");
  });
});

for (const kind of RING_KINDS) {
  for (const eventIndex of [false, true]) {
    const words = eventIndex ? "with EVENT_IDX" : "without EVENT_IDX";
    describe(`virtqueue notifications, ${kind.name}, ${words}`, () => {
      it("[C38] asking for kicks tells of a chain that came between", () => {
        const rig = kind.make({ eventIndex });
        const { queue } = rig;
        queue.disableKicks();
        assert(!queue.pop());
        assert(!submit(rig, 1));
        assert(queue.enableKicks());
        queue.disableKicks();
        assertEquals(serve(rig), 1);
        assert(!queue.enableKicks());
        assert(submit(rig, 1));
      });

      it("[C38] asking for kicks tells of a chain that was left", () => {
        const rig = kind.make({ eventIndex });
        submit(rig, 3);
        assert(rig.queue.pop());
        assert(rig.queue.enableKicks());
        assert(rig.queue.hasAvailable());
      });

      it("[C40] a kick while nobody looked is not lost", () => {
        const rig = kind.make({ eventIndex });
        using kick = EventFd.open();
        // The ring is disabled: its kicks are asked for, but not served.
        assert(!rig.queue.enableKicks());
        if (submit(rig, 2)) kick.signal();
        // It is enabled: either of the two would find the chains.
        assert(kick.clear());
        assert(rig.queue.enableKicks());
        assertEquals(serve(rig), 2);
      });

      it("[C41] many completions are one call", () => {
        const rig = kind.make({ eventIndex, size: 64 });
        rig.driver.armInterrupt();
        submit(rig, 64);
        let calls = 0;
        assertEquals(serve(rig), 64);
        assertEquals(takeUsed(rig.driver), []);
        for (let i = 0; i < 3; i++) if (rig.queue.flush()) calls++;
        assertEquals([calls, takeUsed(rig.driver).length], [1, 64]);
      });

      it("[C41] the driver that armed in vain finds what is there", () => {
        const rig = kind.make({ eventIndex });
        submit(rig, 1);
        serve(rig);
        rig.queue.flush();
        assert(rig.driver.armInterrupt());
        assertEquals(takeUsed(rig.driver).length, 1);
        assert(!rig.driver.armInterrupt());
      });

      it("a malformed chain that is given back is worth a call too", () => {
        const rig = kind.make({ eventIndex });
        rig.driver.armInterrupt();
        rig.driver.add([readable(0xdead_0000_0000n, 4)]);
        rig.driver.publish();
        assert(!rig.queue.pop());
        assert(rig.queue.flush());
        assertEquals(takeUsed(rig.driver).length, 1);
      });
    });
  }
}
