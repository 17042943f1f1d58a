/**
 * Chains of descriptors: items 18 to 28.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import type { RawDescriptor, SplitDriver } from "../../src/testing/mod.ts";
import {
  VIRTQ_DESC_F_NEXT as NEXT,
  VIRTQ_DESC_F_WRITE as WRITE,
} from "../../src/virtqueue/mod.ts";
import {
  pattern,
  type RawDriver,
  readable,
  readAll,
  type Rig,
  RING_KINDS,
  splitRig,
  takeUsed,
  writable,
} from "./ring_rig.ts";

/**
 * The ring must give `head` back with nothing written, count it, and deliver a
 * sound chain that follows it in the same pop.
 */
function malformed(rig: Rig<SplitDriver>, head: number): void {
  const { driver, queue, memory } = rig;
  const before = queue.malformed;
  driver.rawAvailable(head);
  const at = memory.allocate(4);
  driver.rawDescriptor(7, { address: at, size: 4, flags: WRITE });
  driver.rawAvailable(7);
  driver.publish();
  assert(queue.pop());
  assertEquals(queue.chain.head, 7);
  queue.push(7, 4);
  assert(!queue.pop());
  assertEquals([queue.malformed, queue.broken], [before + 1, ""]);
  assertEquals(queue.inFlight, 0);
  queue.flush();
  assertEquals(takeUsed(driver), [
    { head, written: 0 },
    { head: 7, written: 4 },
  ]);
}

/** Writes descriptors 0, 1, ... */
function table(
  rig: Rig<SplitDriver>,
  ...descriptors: Partial<RawDescriptor>[]
): void {
  for (const [i, raw] of descriptors.entries()) {
    rig.driver.rawDescriptor(i, raw);
  }
}

describe("virtqueue chains, split", () => {
  const at = 0x20000;

  it("[C19] [H22] a next beyond the ring makes a chain malformed", () => {
    for (const next of [8, 9, 0xffff]) {
      const rig = splitRig();
      table(rig, { address: at, size: 4, flags: NEXT, next });
      malformed(rig, 0);
    }
  });

  it("[C20] [H22] a chain that loops is given back", () => {
    const rig = splitRig();
    const step = { address: at, size: 4, flags: NEXT };
    table(rig, { ...step, next: 0 }, { ...step, next: 2 }, {
      ...step,
      next: 1,
    });
    table(rig, { ...step, next: 0 });
    malformed(rig, 0);
    malformed(rig, 1);
    rig.driver.rawDescriptor(3, { ...step, next: 1 });
    malformed(rig, 3);
  });

  it("[C21] [H22] a chain as long as the ring is sound, a longer one loops", () => {
    const rig = splitRig();
    for (let i = 0; i < 8; i++) {
      const flags = i < 7 ? NEXT : 0;
      rig.driver.rawDescriptor(i, { address: at, size: 1, flags, next: i + 1 });
    }
    rig.driver.rawAvailable(0);
    rig.driver.publish();
    assert(rig.queue.pop());
    assertEquals(rig.queue.chain.segmentCount, 8);
    rig.queue.push(0, 0);
    rig.driver.rawDescriptor(7, { address: at, size: 1, flags: NEXT, next: 0 });
    rig.driver.rawAvailable(0);
    rig.driver.publish();
    assert(!rig.queue.pop());
    assertEquals(rig.queue.malformed, 1);
  });

  it("[H25] a buffer that is the ring itself harms only the ring", () => {
    const rig = splitRig();
    const { driver, queue } = rig;
    table(rig, { address: driver.driverArea, size: 20, flags: WRITE });
    driver.rawAvailable(0);
    driver.publish();
    assert(queue.pop());
    queue.chain.writer.writeBytes(new Uint8Array(20).fill(0xff));
    queue.push(0, 20);
    queue.flush();
    assert(!queue.pop());
    assert(queue.broken !== "");
  });
});

for (const kind of RING_KINDS) {
  describe(`virtqueue chains, ${kind.name}`, () => {
    it("[C18] one, two and many descriptors keep their order", () => {
      const rig = kind.make({ size: 16 });
      for (const count of [1, 2, 16]) {
        const bytes = pattern(count * 3);
        const segments = Array.from({ length: count }, (_, i) => {
          const at = rig.memory.allocate(64);
          rig.memory.write(at, bytes.subarray(3 * i, 3 * i + 3));
          return readable(at, 3);
        });
        const head = rig.driver.add(segments);
        rig.driver.publish();
        assert(rig.queue.pop());
        const { chain } = rig.queue;
        assertEquals([chain.head, chain.segmentCount], [head, count]);
        assertEquals(chain.readableCount, count);
        assertEquals(readAll(rig.queue), bytes);
        rig.queue.push(head, 0);
        rig.queue.flush();
        takeUsed(rig.driver);
      }
    });

    it("[C22] 2^32 bytes in a chain are sound, one more is malformed", () => {
      const rig = kind.make({ size: 64 });
      const half = 1 << 19;
      const at = rig.memory.allocate(half);
      const huge = Array.from({ length: 63 }, () => writable(at, half));
      assertEquals(takeSizes(rig, huge), [0, 63 * half]);
      const big = makeBig(kind.make);
      assertEquals(takeSizes(big.rig, big.segments(8)), [2 ** 31, 2 ** 31]);
      assertEquals(
        takeSizes(big.rig, [...big.segments(8), writable(0, 1)]),
        [],
      );
      assertEquals(big.rig.queue.malformed, 1);
    });

    it("[C23] [H24] descriptors of no bytes are skipped", () => {
      const rig = kind.make();
      const at = rig.memory.allocate(8);
      rig.memory.write(at, Uint8Array.of(1, 2, 3, 4));
      const head = rig.driver.add([
        readable(0xdead_beef_0000n, 0),
        readable(at, 2),
        readable(at, 0),
        readable(at + 2, 2),
        writable(0, 0),
        writable(at + 4, 4),
        writable(at, 0),
      ]);
      rig.driver.publish();
      assert(rig.queue.pop());
      const { chain } = rig.queue;
      assertEquals([chain.segmentCount, chain.readableCount], [3, 2]);
      assertEquals(readAll(rig.queue), Uint8Array.of(1, 2, 3, 4));
      assert(chain.writer.writeU32(7));
      rig.queue.push(head, 4);
      rig.queue.flush();
      assertEquals(takeUsed(rig.driver), [{ head, written: 4 }]);
      const empty = rig.driver.add([readable(0, 0), writable(0, 0)]);
      rig.driver.publish();
      assert(rig.queue.pop());
      assertEquals([chain.head, chain.segmentCount], [empty, 0]);
      assertEquals([chain.reader.size, chain.writer.size], [0, 0]);
      assertEquals([chain.reader.readU8(), chain.writer.writeU8(1)], [
        -1,
        false,
      ]);
    });

    it("[C25] [H24] a buffer over adjacent regions is read and written as one", () => {
      const rig = kind.make({
        regions: [
          { guestAddress: 0x30000, size: 0x1000 },
          { guestAddress: 0x10000, size: 0x10000 },
          { guestAddress: 0x20000, size: 0x10000 },
        ],
        region: 1,
      });
      const bytes = pattern(0x10010);
      rig.memory.write(0x1fff8, bytes);
      const head = rig.driver.add([
        readable(0x1fff8, 0x10010),
        writable(0x1fffe, 4),
      ]);
      rig.driver.publish();
      assert(rig.queue.pop());
      const { chain } = rig.queue;
      assertEquals([chain.segmentCount, chain.readableCount], [5, 3]);
      assertEquals([...chain.sizes.subarray(0, 5)], [8, 0x10000, 8, 2, 2]);
      assertEquals([...chain.offsets.subarray(0, 3)], [0xfff8, 0, 0]);
      assertEquals(readAll(rig.queue), bytes);
      assert(chain.writer.writeU32(0x04030201));
      rig.queue.push(head, 4);
      assertEquals(rig.memory.read(0x1fffe, 4), Uint8Array.of(1, 2, 3, 4));
    });

    it("[C24] a chain that goes between far regions finds them all", () => {
      const rig = kind.make({
        size: 256,
        regions: Array.from({ length: 100 }, (_, i) => ({
          guestAddress: 0x10000 + i * 0x4_0000_0000,
          size: 0x10000,
        })),
      });
      const segments = Array.from({ length: 200 }, (_, i) => {
        const region = (i * 37) % 100;
        const address = 0x1ffff + region * 0x4_0000_0000;
        rig.memory.write(address, Uint8Array.of(region));
        return readable(address, 1);
      });
      rig.driver.add(segments);
      rig.driver.publish();
      assert(rig.queue.pop());
      const expected = segments.map((_, i) => (i * 37) % 100);
      assertEquals([...readAll(rig.queue)], expected);
    });

    it("[C24] [H24] addresses and sizes outside memory make a chain malformed", () => {
      const rig = kind.make({
        regions: [
          { guestAddress: 0x10000, size: 0x20000 },
          { guestAddress: 0x40000, size: 0x10000 },
        ],
      });
      const cases: [bigint, number][] = [
        [0xffff_ffff_ffff_fff0n, 32],
        [0xffff_ffff_ffff_ffffn, 1],
        [0xffff_ffff_ffff_ffffn, 0xffff_ffff],
        [0x8000_0000_0000_0000n, 1],
        [2n ** 53n, 4],
        [2n ** 53n - 1n, 1],
        [0x1_0000_0000n, 4],
        [0n, 4],
        [0xfffen, 4],
        [0x2fffen, 4],
        [0x30000n, 1],
        [0x3fffen, 4],
        [0x4fffen, 4],
        [0x50000n, 1],
        [0x20000n, 0xffff_ffff],
        [0x2fff0n, 0x10020],
      ];
      for (const [address, size] of cases) {
        givenBack(rig, [readable(address, size)]);
        givenBack(rig, [writable(address, size)]);
      }
    });

    it("[C24] only the end of a chain being outside memory is enough", () => {
      const rig = kind.make();
      givenBack(rig, [readable(0x20000, 4), writable(0xdead_0000n, 4)]);
    });

    it("[C26] [H24] a readable buffer after a writable one is malformed", () => {
      const rig = kind.make();
      const at = 0x20000;
      givenBack(rig, [readable(at, 4), writable(at, 4), readable(at, 4)]);
      givenBack(rig, [writable(at, 4), readable(at, 4)]);
      givenBack(rig, [writable(at, 4), readable(at, 0)]);
    });

    it("[H25] a descriptor is read once: the device keeps what it checked", () => {
      const rig = kind.make();
      const at = rig.memory.allocate(4);
      rig.memory.write(at, Uint8Array.of(1, 2, 3, 4));
      const head = rig.driver.add([readable(at, 4)]);
      rig.driver.publish();
      assert(rig.queue.pop());
      const raw = { address: 0xdead_0000n, size: 0xffff_ffff, flags: WRITE };
      rig.driver.amend(head, 0, raw);
      assertEquals(readAll(rig.queue), Uint8Array.of(1, 2, 3, 4));
    });

    it("[C28] a chain that is left unread is given back with 0 written", () => {
      const rig = kind.make();
      const at = rig.memory.allocate(4);
      const head = rig.driver.add([readable(at, 2), writable(at + 2, 2)]);
      rig.driver.publish();
      assert(rig.queue.pop());
      assertEquals(rig.queue.inFlight, 1);
      rig.queue.push(head, 0);
      rig.queue.flush();
      assertEquals(takeUsed(rig.driver), [{ head, written: 0 }]);
      assertEquals(rig.queue.inFlight, 0);
    });
  });
}

/**
 * The ring must give the chain of `segments` back with nothing written, count
 * it, and deliver a sound chain that follows it in the same pop.
 */
function givenBack(
  { driver, queue, memory }: Rig<RawDriver>,
  segments: ReturnType<typeof readable>[],
): void {
  const before = queue.malformed;
  const head = driver.add(segments);
  const sound = driver.add([writable(memory.regions[0]!.guestAddress, 4)]);
  driver.publish();
  assert(queue.pop());
  assertEquals(queue.chain.head, sound);
  queue.push(sound, 4);
  assert(!queue.pop());
  assertEquals([queue.malformed, queue.broken], [before + 1, ""]);
  assertEquals(queue.inFlight, 0);
  queue.flush();
  assertEquals(takeUsed(driver), [
    { head, written: 0 },
    { head: sound, written: 4 },
  ]);
}

/** Sizes of both parts of the chain of `segments`, [] where it is malformed. */
function takeSizes(
  rig: Rig<RawDriver>,
  segments: ReturnType<typeof readable>[],
): number[] {
  rig.driver.add(segments);
  rig.driver.publish();
  if (!rig.queue.pop()) {
    rig.queue.flush();
    takeUsed(rig.driver);
    return [];
  }
  const { head, reader, writer } = rig.queue.chain;
  const sizes = [reader.size, writer.size];
  rig.queue.push(head, 0);
  rig.queue.flush();
  takeUsed(rig.driver);
  return sizes;
}

/** A ring in memory that only looks large: nothing of it is touched. */
function makeBig(make: (typeof RING_KINDS)[number]["make"]) {
  const size = 2 ** 29;
  const rig = make({
    size: 16,
    regions: [
      { guestAddress: 0, size: 0x10000 },
      { guestAddress: 0x1_0000_0000, size },
    ],
  });
  const segments = (count: number) =>
    Array.from({ length: count }, (_, i) => ({
      address: 0x1_0000_0000,
      size,
      writable: i >= count / 2,
    }));
  return { rig, segments };
}
