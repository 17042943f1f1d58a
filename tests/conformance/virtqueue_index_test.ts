/**
 * The available and the used index: items 8 to 13 and 15 to 17.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import type { SplitDriver } from "../../src/testing/mod.ts";
import {
  type RawDriver,
  readable,
  readAll,
  type Rig,
  RING_KINDS,
  splitRig,
  takeUsed,
  writable,
} from "./ring_rig.ts";

describe("virtqueue indexes, split", () => {
  /** A ring whose device does not accept what the driver did. */
  const broken = (rig: Rig<SplitDriver>, says: string) => {
    assert(!rig.queue.pop());
    assertStringIncludes(rig.queue.broken, says);
    assert(!rig.queue.hasAvailable() && !rig.queue.enableKicks());
    assert(!rig.queue.pop() && !rig.queue.flush());
    assertEquals(rig.queue.inFlight, 0);
    assertEquals(takeUsed(rig.driver), []);
  };

  it("[C08] [H21] an available index too far ahead breaks the ring", () => {
    for (const jump of [9, 100, 0x8000, 0xffff]) {
      const rig = splitRig();
      rig.driver.rawAvailableIndex(jump);
      broken(rig, `The available index is ${jump} after 0`);
    }
  });

  it("[C08] the ring is sound with as many chains as it has entries", () => {
    const rig = splitRig();
    rig.driver.rawAvailableIndex(8);
    assert(rig.queue.pop());
  });

  it("[C09] [H21] an available index that goes back breaks the ring", () => {
    const rig = splitRig();
    for (let i = 0; i < 5; i++) roundTrip(rig);
    rig.driver.rawAvailableIndex(4);
    broken(rig, "The available index is 4 after 5");
  });

  it("[C10] [H21] a head beyond the ring breaks it, what is in flight ends", () => {
    for (const head of [8, 9, 0xffff]) {
      const rig = splitRig();
      const { driver, queue } = rig;
      const sound = driver.add([writable(rig.memory.allocate(4), 4)]);
      driver.rawAvailable(head);
      driver.publish();
      assert(queue.pop());
      assert(!queue.pop());
      assertStringIncludes(queue.broken, `names head ${head}`);
      assertEquals(queue.nextAvail, 1);
      queue.push(sound, 0);
      queue.flush();
      assertEquals(takeUsed(driver), [{ head: sound, written: 0 }]);
    }
  });

  it("[C12] [H26] the device keeps its own used index", () => {
    const rig = splitRig();
    roundTrip(rig);
    rig.driver.rawUsedIndex(7);
    const head = rig.driver.add([writable(rig.memory.allocate(4), 4)]);
    rig.driver.publish();
    assert(rig.queue.pop());
    rig.queue.push(head, 3);
    rig.queue.flush();
    assertEquals(rig.driver.publishedUsedIndex, 2);
    assertEquals(rig.driver.rawUsedElement(1), { head, written: 3 });
  });

  it("[C16] [H21] a head published twice is processed twice", () => {
    const rig = splitRig();
    const { driver, queue } = rig;
    const head = driver.add([writable(rig.memory.allocate(4), 4)]);
    driver.rawAvailable(head);
    driver.publish();
    for (let i = 1; i <= 2; i++) {
      assert(queue.pop());
      assertEquals([queue.chain.head, queue.inFlight], [head, 1]);
      queue.push(head, i);
    }
    assert(!queue.pop());
    queue.flush();
    assertEquals(takeUsed(driver).map((used) => used.written), [1, 2]);
    assertEquals(queue.inFlight, 0);
  });

  it("[C16] [H21] a head that is in flight waits until it is given back", () => {
    const rig = splitRig();
    const { driver, queue } = rig;
    const head = driver.add([writable(rig.memory.allocate(4), 4)]);
    driver.rawAvailable(head);
    driver.publish();
    assert(queue.pop());
    assert(!queue.pop());
    assertEquals([queue.inFlight, queue.broken], [1, ""]);
    assert(!queue.hasAvailable() && !queue.enableKicks());
    queue.push(head, 1);
    assert(queue.hasAvailable());
    assert(queue.pop());
    queue.push(head, 2);
    queue.flush();
    assertEquals(takeUsed(driver).map((used) => used.written), [1, 2]);
  });

  it("[C16] a driver that never waits does not keep pop going", () => {
    const rig = splitRig();
    const { driver, queue } = rig;
    const head = driver.add([writable(rig.memory.allocate(4), 4)]);
    driver.publish();
    let count = 0;
    while (queue.pop()) {
      queue.push(head, 0);
      driver.rawAvailable(head);
      driver.publish();
      count++;
    }
    assertEquals([count, queue.broken], [8, ""]);
    queue.flush();
    assert(queue.pop());
  });
});

for (const kind of RING_KINDS) {
  describe(`virtqueue indexes, ${kind.name}`, () => {
    it("[C11] the available index wraps with chains on both sides", () => {
      const rig = kind.make({ base: 65533, eventIndex: true });
      const heads = [0, 1, 2, 3, 4, 5].map((i) => {
        const at = rig.memory.allocate(1);
        rig.memory.write(at, Uint8Array.of(i));
        return rig.driver.add([readable(at, 1)]);
      });
      rig.driver.publish();
      for (const [i, head] of heads.entries()) {
        assert(rig.queue.pop());
        assertEquals(rig.queue.chain.head, head);
        assertEquals(readAll(rig.queue), Uint8Array.of(i));
        rig.queue.push(head, 0);
      }
      assert(!rig.queue.pop());
      assertEquals(rig.queue.nextAvail, kind.nextAvail(65533 + 6));
    });

    it("[C12] 65536 + 12 completions all have their slot", () => {
      const rig = kind.make({ size: 16 });
      const at = rig.memory.allocate(16);
      const segments = [writable(at, 16)];
      for (let i = 0; i < 65536 + 12; i++) {
        const head = rig.driver.add(segments);
        rig.driver.publish();
        if (!rig.queue.pop()) throw new Error(`Nothing to pop at ${i}`);
        rig.queue.push(head, i % 17);
        rig.queue.flush();
        const used = rig.driver.nextUsed();
        if (used?.head !== head || used.written !== i % 17) {
          assertEquals(used, { head, written: i % 17 }, `completion ${i}`);
        }
      }
      assertEquals(rig.queue.nextAvail, kind.nextAvail(65536 + 12, 16));
    });

    it("[C13] a head beyond the ring can't be pushed, nor one twice", () => {
      const rig = kind.make();
      const head = rig.driver.add([writable(rig.memory.allocate(4), 4)]);
      rig.driver.publish();
      assert(rig.queue.pop());
      for (const wrong of [8, 70000, -1, NaN, head + 1]) {
        assertThrows(() => rig.queue.push(wrong, 4), Error, "in flight");
      }
      assert(!rig.queue.flush());
      assertEquals(takeUsed(rig.driver), []);
      rig.queue.push(head, 4);
      assertThrows(() => rig.queue.push(head, 4), Error, "once");
      rig.queue.flush();
      assertEquals(takeUsed(rig.driver), [{ head, written: 4 }]);
    });

    it("[C15] going back one position delivers the same chain again", () => {
      const rig = kind.make({ base: 65535 });
      const { queue } = rig;
      const first = rig.driver.add([readable(rig.memory.allocate(4), 4)]);
      const second = rig.driver.add([readable(rig.memory.allocate(5), 5)]);
      rig.driver.publish();
      assert(queue.pop());
      queue.undoPop();
      const at = (count: number) => kind.nextAvail(count);
      assertEquals([queue.nextAvail, queue.inFlight], [at(65535), 0]);
      assert(queue.pop());
      assertEquals([queue.chain.head, queue.chain.reader.size], [first, 4]);
      assert(queue.pop());
      queue.undoPop();
      assertEquals([queue.nextAvail, queue.inFlight], [at(65536), 1]);
      assert(queue.pop());
      assertEquals([queue.chain.head, queue.chain.reader.size], [second, 5]);
      queue.push(second, 0);
      assertThrows(
        () => queue.undoPop(),
        Error,
        "popped last",
      );
    });

    it("[C15] chains go back in the reverse order of their pops", () => {
      const rig = kind.make({ base: 65534, size: 4 });
      const { queue } = rig;
      const heads = [1, 2, 3, 4].map((size) =>
        rig.driver.add([readable(rig.memory.allocate(size), size)])
      );
      rig.driver.publish();
      for (let i = 0; i < 4; i++) assert(queue.pop());
      queue.push(heads[0]!, 0);
      for (let i = 0; i < 3; i++) queue.undoPop();
      const at = kind.nextAvail(65535, 4);
      assertEquals([queue.nextAvail, queue.inFlight], [at, 0]);
      assertThrows(() => queue.undoPop(), Error, "popped last");
      for (const [i, head] of heads.entries()) {
        if (i === 0) continue;
        assert(queue.pop());
        assertEquals([queue.chain.head, queue.chain.reader.size], [
          head,
          i + 1,
        ]);
        queue.push(head, 0);
      }
      queue.flush();
      assertEquals(takeUsed(rig.driver).map(({ head }) => head), heads);
    });

    it("[C15] a chain can't go back over others that were given back", () => {
      const rig = kind.make();
      const { queue } = rig;
      assertThrows(() => queue.undoPop(), Error, "popped last");
      const head = rig.driver.add([writable(rig.memory.allocate(4), 4)]);
      rig.driver.add([writable(0xdead_0000_0000n, 4)]);
      rig.driver.publish();
      assert(queue.pop());
      assert(!queue.pop());
      assertThrows(() => queue.undoPop(), Error, "popped last");
      queue.push(head, 0);
      queue.flush();
      assertEquals(takeUsed(rig.driver).length, 2);
    });

    it("[C17] a ring of one entry works, and one that is full", () => {
      const one = kind.make({ size: 1 });
      for (let i = 0; i < 5; i++) roundTrip(one);
      const full = kind.make({ size: 32 });
      for (let turn = 0; turn < 3; turn++) {
        const heads = Array.from({ length: 32 }, () => {
          return full.driver.add([writable(full.memory.allocate(4), 4)]);
        });
        full.driver.publish();
        for (const head of heads) {
          assert(full.queue.pop());
          assertEquals(full.queue.chain.head, head);
        }
        assertEquals(full.queue.inFlight, 32);
        assert(!full.queue.pop());
        for (const head of heads.toReversed()) full.queue.push(head, head);
        full.queue.flush();
        const given = takeUsed(full.driver).map((used) => used.head);
        assertEquals(given, heads.toReversed());
      }
    });

    it("[C17] the largest ring works", () => {
      const rig = kind.make({
        size: 32768,
        base: 40000,
        regions: [{ guestAddress: 0x10000, size: 1 << 22 }],
      });
      const segments = [readable(rig.memory.allocate(1), 1)];
      for (let i = 0; i < 32768; i++) rig.driver.add(segments);
      rig.driver.publish();
      let count = 0;
      while (rig.queue.pop()) {
        rig.queue.push(rig.queue.chain.head, 0);
        count++;
      }
      rig.queue.flush();
      assertEquals([count, takeUsed(rig.driver).length], [32768, 32768]);
    });
  });
}

function roundTrip({ driver, queue, memory }: Rig<RawDriver>): void {
  const head = driver.add([writable(memory.allocate(4), 4)]);
  driver.publish();
  assert(queue.pop());
  queue.push(head, 4);
  queue.flush();
  assertEquals(takeUsed(driver), [{ head, written: 4 }]);
}
