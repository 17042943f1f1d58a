/**
 * What only packed rings have: laps, buffer ids, chains over the end, event
 * suppression. Items 78 to 84.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { Prng } from "../../src/testing/mod.ts";
import type { PackedDriver } from "../../src/testing/packed_driver.ts";
import {
  RING_EVENT_FLAGS_DESC as DESC,
  RING_EVENT_FLAGS_DISABLE as DISABLE,
  RING_EVENT_FLAGS_ENABLE as ENABLE,
  RING_WRAP,
  VIRTQ_DESC_F_AVAIL as AVAIL,
  VIRTQ_DESC_F_INDIRECT as INDIRECT,
  VIRTQ_DESC_F_NEXT as NEXT,
  VIRTQ_DESC_F_USED as USED,
  VIRTQ_DESC_F_WRITE as WRITE,
} from "../../src/virtqueue/mod.ts";
import {
  open,
  packedPosition,
  packedRig,
  readable,
  readAll,
  type Rig,
  takeUsed,
  writable,
} from "./ring_rig.ts";

const AT = 0x20000;

/** A ring whose device does not accept what the driver did. */
function broken({ driver, queue }: Rig<PackedDriver>, says: string): void {
  assert(!queue.pop());
  assertStringIncludes(queue.broken, says);
  assert(!queue.hasAvailable() && !queue.enableKicks() && !queue.pop());
  assert(!queue.flush());
  assertEquals(takeUsed(driver), []);
}

/** `count` chains of one descriptor there and back. */
function roundTrips({ driver, queue }: Rig<PackedDriver>, count: number): void {
  for (let i = 0; i < count; i++) {
    const head = driver.add([writable(AT, 4)]);
    driver.publish();
    assert(queue.pop());
    queue.push(head, 4);
    queue.flush();
    assertEquals(takeUsed(driver), [{ head, written: 4 }]);
  }
}

describe("virtqueue descriptors, packed", () => {
  it("[C78] only what looks like this lap's is there", () => {
    for (const [before, there] of [[0, AVAIL], [8, USED]] as const) {
      const rig = packedRig();
      roundTrips(rig, before);
      const rest = [0, AVAIL, USED, AVAIL | USED].filter((o) => o !== there);
      for (const owner of [...rest, there]) {
        const raw = { address: AT, size: 4, flags: owner | WRITE };
        rig.driver.rawDescriptor(0, raw);
        assertEquals(rig.queue.hasAvailable(), owner === there);
        if (owner === there) continue;
        assert(!rig.queue.pop() && !rig.queue.enableKicks());
      }
      assert(rig.queue.pop());
      assertEquals(rig.queue.broken, "");
    }
  });

  it("[C78] what was used is not there again, lap after lap", () => {
    for (const size of [1, 2, 5, 8]) {
      const rig = packedRig({ size });
      for (let i = 0; i < 3 * size; i++) {
        assert(!rig.queue.pop());
        roundTrips(rig, 1);
      }
    }
  });

  it("[C78] the owner of the other descriptors is not looked at", () => {
    const rig = packedRig();
    const head = rig.driver.add([readable(AT, 4), readable(AT, 4)]);
    rig.driver.rawDescriptor(1, { address: AT, size: 4, next: head });
    rig.driver.publish();
    assert(rig.queue.pop());
    assertEquals(rig.queue.chain.segmentCount, 2);
  });

  it("[C79] a buffer id beyond the ring breaks it, what is in flight ends", () => {
    for (const id of [8, 9, 0x7fff, 0xffff]) {
      const rig = packedRig();
      const { driver, queue } = rig;
      const sound = driver.add([writable(AT, 4)]);
      driver.rawStage({ address: AT, size: 4, next: id });
      driver.publish();
      assert(queue.pop());
      assert(!queue.pop());
      assertStringIncludes(queue.broken, `has buffer id ${id}`);
      queue.push(sound, 0);
      queue.flush();
      assertEquals(takeUsed(driver), [{ head: sound, written: 0 }]);
    }
  });

  it("[C79] a buffer id that is in flight waits until it is given back", () => {
    const rig = packedRig();
    const { driver, queue } = rig;
    const head = driver.add([writable(AT, 4)]);
    driver.rawStage({ address: AT + 4, size: 1, flags: WRITE, next: head });
    driver.publish();
    assert(queue.pop());
    assert(!queue.pop());
    assertEquals([queue.inFlight, queue.broken], [1, ""]);
    assert(!queue.hasAvailable() && !queue.enableKicks());
    queue.push(head, 1);
    queue.flush();
    assert(queue.hasAvailable());
    assert(queue.pop());
    assertEquals(queue.chain.writer.size, 1);
    queue.push(head, 1);
    queue.flush();
    for (const at of [0, 1]) {
      const flags = AVAIL | USED | WRITE;
      const { size, next, flags: seen } = driver.rawRead(at);
      assertEquals([size, next, seen], [1, head, flags]);
    }
  });

  it("[C80] chains of all lengths go over the end, for many laps", () => {
    const prng = Prng.fromEnvironment("chains over the end");
    for (const size of [3, 8, 13]) {
      const rig = packedRig({ size });
      const { driver, queue, memory } = rig;
      const at = memory.allocate(size);
      for (let turn = 0; turn < 500; turn++) {
        const count = 1 + prng.below(size);
        memory.write(at, Uint8Array.from({ length: count }, (_, i) => i));
        const segments = Array.from(
          { length: count },
          (_, i) => readable(at + i, 1),
        );
        const head = driver.add(segments);
        driver.publish();
        if (!queue.pop()) throw new Error(`Nothing at turn ${turn}`);
        assertEquals(readAll(queue).length, count);
        assertEquals(queue.chain.segmentCount, count);
        queue.push(head, 0);
        queue.flush();
        assertEquals(takeUsed(driver), [{ head, written: 0 }]);
        assertEquals(queue.nextAvail, driver.availPosition);
      }
    }
  });

  it("[C80] chains given back in any order keep their count", () => {
    const prng = Prng.fromEnvironment("any order");
    const rig = packedRig({ size: 11 });
    const { driver, queue } = rig;
    const inFlight: number[] = [];
    let added = 0;
    let taken = 0;
    while (taken < 3000) {
      const count = 1 + prng.below(4);
      if (count <= driver.freeCount) {
        driver.add(Array.from({ length: count }, () => writable(AT, 4)));
        added++;
      }
      if (prng.below(2) === 0) driver.publish();
      while (prng.below(3) > 0 && queue.pop()) inFlight.push(queue.chain.head);
      while (inFlight.length > 0 && prng.below(3) > 0) {
        const [head] = inFlight.splice(prng.below(inFlight.length), 1);
        queue.push(head!, head! + 1);
      }
      queue.flush();
      for (const { head, written } of takeUsed(driver)) {
        assertEquals(written, head + 1);
        taken++;
      }
      assertEquals(queue.inFlight, inFlight.length);
    }
    assert(added - taken <= 11);
    assertEquals([queue.broken, queue.malformed], ["", 0]);
  });

  it("[C81] [H23] of the flags in a table only WRITE counts", () => {
    const rig = packedRig({ indirect: true });
    const { driver, queue } = rig;
    const head = driver.add([readable(AT, 3), writable(AT + 8, 5)], {
      indirect: true,
    });
    driver.amend(head, 1, { flags: INDIRECT | NEXT | AVAIL, next: 0xffff });
    driver.amend(head, 2, { flags: INDIRECT | NEXT | WRITE, next: 0 });
    driver.publish();
    assert(queue.pop());
    const { reader, writer } = queue.chain;
    assertEquals([reader.size, writer.size, queue.chain.head], [3, 5, head]);
  });

  it("[C81] [H23] a table that is not alone is malformed", () => {
    const rig = packedRig({ indirect: true });
    const { driver, queue } = rig;
    for (const [direct, amended] of [[1, -1], [2, -1], [2, 0]] as const) {
      const all = [readable(AT, 1), readable(AT, 1), readable(AT, 1)];
      const head = driver.add(all, { indirect: direct });
      if (amended === 0) {
        driver.amend(head, 0, { flags: INDIRECT | NEXT, size: 16 });
      }
      driver.publish();
      assert(!queue.pop());
      queue.flush();
      assertEquals(takeUsed(driver), [{ head, written: 0 }]);
    }
    assertEquals([queue.malformed, queue.broken], [3, ""]);
    roundTrips(rig, 20);
  });

  it("[C82] [H22] a chain that has no end breaks the ring", () => {
    for (const size of [1, 2, 8]) {
      const rig = packedRig({ size });
      for (let i = 0; i < size; i++) {
        rig.driver.rawStage({ address: AT, size: 1, flags: NEXT }, i === 0);
      }
      rig.driver.publish();
      broken(rig, `The chain at 0 goes on after ${size} descriptors`);
    }
  });

  it("[C82] [H22] a chain over descriptors of others breaks the ring", () => {
    const rig = packedRig();
    const { driver, queue } = rig;
    const first = driver.add([writable(AT, 4), writable(AT, 4)]);
    for (let i = 0; i < 6; i++) {
      driver.rawStage({ address: AT, size: 1, flags: NEXT }, i === 0);
    }
    driver.publish();
    assert(queue.pop());
    assert(!queue.pop());
    assertStringIncludes(queue.broken, "The chain at 2 goes on after 6");
    queue.push(first, 0);
    queue.flush();
    assertEquals(takeUsed(driver), [{ head: first, written: 0 }]);
  });

  it("[H21] a driver that never waits does not keep pop going", () => {
    const rig = packedRig();
    const { driver, queue } = rig;
    let count = 0;
    const publish = () => {
      driver.rawStage({ address: AT, size: 4, flags: WRITE, next: 3 });
      driver.publish();
    };
    publish();
    while (queue.pop()) {
      queue.push(queue.chain.head, 0);
      publish();
      count++;
    }
    assertEquals([count, queue.inFlight, queue.broken], [8, 0, ""]);
  });

  it("[H25] a buffer that is the ring itself harms only the ring", () => {
    for (const byte of [0, 0xff, 0x80]) {
      const rig = packedRig();
      const { driver, queue } = rig;
      const head = driver.add([writable(driver.descriptorArea, 128)]);
      driver.publish();
      assert(queue.pop());
      queue.chain.writer.writeBytes(new Uint8Array(128).fill(byte));
      queue.push(head, 128);
      queue.flush();
      for (let i = 0; i < 100 && queue.pop(); i++) {
        queue.push(queue.chain.head, 0);
        queue.flush();
      }
      assertEquals(queue.inFlight, 0);
    }
  });

  it("nothing of a batch is there before its first", () => {
    const rig = packedRig();
    const { driver, queue } = rig;
    const heads = [1, 2, 3].map(() => driver.add([writable(AT, 4)]));
    driver.publish();
    for (const head of heads) {
      assert(queue.pop());
      queue.push(head, 4);
      assertEquals(driver.nextUsed(), null);
    }
    const first = driver.rawRead(0);
    assertEquals(first.flags & (AVAIL | USED), AVAIL);
    queue.flush();
    assertEquals(takeUsed(driver).map(({ head }) => head), heads);
  });

  it("a used descriptor says whether something was written", () => {
    const rig = packedRig();
    for (const [at, written] of [0, 4].entries()) {
      const head = rig.driver.add([writable(AT, 4)]);
      rig.driver.publish();
      assert(rig.queue.pop());
      rig.queue.push(head, written);
      rig.queue.flush();
      const { flags, size } = rig.driver.rawRead(at);
      assertEquals([flags & WRITE, size], [written === 0 ? 0 : WRITE, written]);
      takeUsed(rig.driver);
    }
  });

  it("[C84] positions and wrap counters go on in another object", () => {
    for (const [size, before] of [[8, 0], [8, 11], [8, 16], [7, 30]] as const) {
      const rig = packedRig({ size });
      roundTrips(rig, before);
      const { resumeAt } = rig.queue;
      const at = packedPosition(before, size);
      assertEquals(resumeAt, at + at * 0x10000);
      const config = { ...rig.driver.config(), nextAvail: resumeAt };
      roundTrips({ ...rig, queue: open(config, rig.guest) }, 20);
    }
  });

  it("[C84] the lower half alone stands for both", () => {
    const rig = packedRig();
    roundTrips(rig, 5);
    const config = { ...rig.driver.config(), nextAvail: rig.queue.nextAvail };
    const queue = open(config, rig.guest);
    assertEquals(queue.resumeAt, rig.queue.resumeAt);
    roundTrips({ ...rig, queue }, 20);
  });
});

describe("virtqueue notifications, packed", () => {
  const submit = ({ driver }: Rig<PackedDriver>, count: number): boolean => {
    for (let i = 0; i < count; i++) driver.add([writable(AT, 4)]);
    return driver.publish();
  };
  const serve = ({ queue }: Rig<PackedDriver>): number => {
    let count = 0;
    for (; queue.pop(); count++) queue.push(queue.chain.head, 0);
    return count;
  };

  it("[C83] a call is due when its descriptor is used, over many laps", () => {
    for (const size of [16, 13]) {
      for (
        const [at, lap] of [[0, 1], [4, 0], [size - 1, 1], [7, 0]] as const
      ) {
        const rig = packedRig({ size, eventIndex: true });
        rig.driver.rawDriverEvent(DESC, at | (lap === 1 ? RING_WRAP : 0));
        let used = 0;
        for (let turn = 0; used < 8 * size; turn++) {
          const count = 1 + turn % size;
          submit(rig, count);
          assertEquals(serve(rig), count);
          let due = false;
          for (let i = used; i < used + count; i++) {
            const inLap = Math.floor(i / size) % 2 === 1 - lap;
            due ||= inLap && i % size === at;
          }
          if (rig.queue.flush() !== due) {
            throw new Error(`${size}, ${at}: a batch of ${count} at ${used}`);
          }
          used += count;
          takeUsed(rig.driver);
        }
      }
    }
  });

  it("[C83] a chain's call is due wherever in the chain its place is", () => {
    const rig = packedRig({ eventIndex: true });
    rig.driver.rawDriverEvent(DESC, 2 | RING_WRAP);
    rig.driver.add([readable(AT, 1), readable(AT, 1), readable(AT, 1)]);
    rig.driver.publish();
    serve(rig);
    assert(rig.queue.flush());
  });

  it("[C83] the driver's modes are obeyed, and only they", () => {
    // Without EVENT_IDX there is no such mode: better a call too many.
    for (const eventIndex of [false, true]) {
      const rig = packedRig({ eventIndex });
      for (const reserved of [0, 0xfffc]) {
        const flush = (mode: number) => {
          rig.driver.rawDriverEvent(mode | reserved, 0x7fff);
          submit(rig, 1);
          serve(rig);
          const called = rig.queue.flush();
          takeUsed(rig.driver);
          return called;
        };
        assert(flush(ENABLE));
        assert(!flush(DISABLE));
        assertEquals(flush(DESC), !eventIndex);
        assert(flush(3));
      }
    }
  });

  it("[C83] the device asks for all kicks, for none, or for a descriptor", () => {
    const plain = packedRig();
    assertEquals(plain.driver.deviceMode, ENABLE);
    plain.queue.disableKicks();
    assertEquals(plain.driver.deviceMode, DISABLE);
    assert(!submit(plain, 1));
    serve(plain);
    assert(!plain.queue.enableKicks());
    assertEquals(plain.driver.deviceMode, ENABLE);
    assert(submit(plain, 1));

    const indexed = packedRig({ eventIndex: true });
    for (let i = 0; i < 20; i++) {
      const { driver, queue } = indexed;
      queue.disableKicks();
      assertEquals(driver.deviceMode, DISABLE);
      assert(!submit(indexed, 2));
      assertEquals(serve(indexed), 2);
      assert(!queue.enableKicks());
      assertEquals(driver.deviceMode, DESC);
      assertEquals(driver.devicePosition, queue.nextAvail);
      assert(submit(indexed, 3));
      // The one that was asked for is there: no more are needed.
      assert(!submit(indexed, 1));
      assertEquals(serve(indexed), 4);
      queue.flush();
      takeUsed(driver);
    }
  });

  it("[C83] with chains left in the ring any may bring a kick", () => {
    const rig = packedRig({ eventIndex: true });
    submit(rig, 2);
    assert(rig.queue.enableKicks());
    assertEquals(rig.driver.deviceMode, ENABLE);
    assert(submit(rig, 1));
  });

  it("[H26] whatever events the driver writes, the ring goes on", () => {
    const prng = Prng.fromEnvironment("events");
    const rig = packedRig({ eventIndex: true, size: 7 });
    for (let i = 0; i < 5000; i++) {
      rig.driver.rawDriverEvent(prng.next() & 0xffff, prng.next() & 0xffff);
      submit(rig, 1);
      serve(rig);
      rig.queue.flush();
      if (takeUsed(rig.driver).length !== 1) throw new Error(`Stuck at ${i}`);
    }
  });
});
