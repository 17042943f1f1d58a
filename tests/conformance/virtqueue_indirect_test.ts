/**
 * Indirect tables: items 27 and 29 to 35.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import type { RawDescriptor } from "../../src/testing/mod.ts";
import {
  VIRTQ_DESC_F_INDIRECT as INDIRECT,
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

const TABLE = 0x40000;
const DATA = 0x20000;

/** What the descriptor of the ring that refers to a table says. */
type Reference = Partial<Omit<RawDescriptor, "next">>;

/** Publishes a chain of one descriptor, `raw`; whether a chain comes of it. */
function accepts(rig: Rig<RawDriver>, raw: Reference): boolean {
  const { driver, queue } = rig;
  const before = queue.malformed;
  const head = driver.add([readable(DATA, 1)]);
  driver.amend(head, 0, raw);
  driver.publish();
  const popped = queue.pop();
  if (popped) queue.push(head, 0);
  queue.flush();
  assertEquals(takeUsed(driver), [{ head, written: 0 }]);
  assertEquals(queue.malformed, before + (popped ? 0 : 1));
  assertEquals(queue.broken, "");
  return popped;
}

/** Fills `count` entries of the table, one readable byte each. */
function fill(
  rig: Rig<RawDriver>,
  count: number,
  at = TABLE,
  data = DATA,
): void {
  for (let i = 0; i < count; i++) {
    const flags = i < count - 1 ? NEXT : 0;
    const raw = { address: data + i, size: 1, flags, next: i + 1 };
    rig.driver.rawDescriptor(i, raw, at);
  }
}

const entry = { address: TABLE, flags: INDIRECT };

describe("virtqueue indirect tables, split", () => {
  const rigOf = (size = 8) => splitRig({ size, indirect: true });

  it("[C30] [H23] a table in a table is malformed", () => {
    const rig = rigOf();
    fill(rig, 2);
    for (const index of [0, 1]) {
      fill(rig, 2);
      const flags = INDIRECT;
      const raw = { address: TABLE + 256, size: 16, flags, next: 0 };
      rig.driver.rawDescriptor(index, raw, TABLE);
      assert(!accepts(rig, { ...entry, size: 32 }));
    }
  });

  it("[C31] [H23] a table that has a next is malformed", () => {
    const rig = rigOf();
    fill(rig, 2);
    const flags = INDIRECT | NEXT;
    assert(!accepts(rig, { ...entry, size: 32, flags }));
  });

  it("[C33] [H22] a loop in a table, or a next beyond it, is malformed", () => {
    const rig = rigOf();
    for (const next of [0, 1, 2, 8, 0xffff]) {
      fill(rig, 2);
      const raw = { address: DATA, size: 1, flags: NEXT, next };
      rig.driver.rawDescriptor(1, raw, TABLE);
      assert(!accepts(rig, { ...entry, size: 32 }));
    }
  });

  it("[C35] descriptors before the table count too", () => {
    const { driver, queue, ...rest } = rigOf();
    const rig = { driver, queue, ...rest };
    const before = [readable(DATA, 1), readable(DATA, 1)];
    for (const [count, sound] of [[1024, false], [1023, true]] as const) {
      fill(rig, count);
      const head = driver.add(before);
      driver.amend(head, 1, { ...entry, size: 16 * count });
      driver.publish();
      assertEquals(queue.pop(), sound);
      if (sound) queue.push(head, 0);
      queue.flush();
      takeUsed(driver);
    }
    assertEquals(queue.chain.segmentCount, 1024);
  });

  it("[C31] descriptors may come before a table", () => {
    const rig = rigOf();
    const at = rig.memory.allocate(16);
    rig.memory.write(at, Uint8Array.of(1, 2, 3, 4));
    for (const [readables, direct] of [[3, 1], [3, 2], [0, 1]] as const) {
      const all = [0, 1, 2, 3].map((i) => {
        return i < readables ? readable(at + i, 1) : writable(at + i, 1);
      });
      const head = rig.driver.add(all, { indirect: direct });
      rig.driver.publish();
      assert(rig.queue.pop());
      assertEquals(rig.queue.chain.segmentCount, 4);
      assertEquals(rig.queue.chain.readableCount, readables);
      rig.queue.push(head, 0);
      rig.queue.flush();
      takeUsed(rig.driver);
    }
    rig.driver.add([writable(at, 1), readable(at, 1)], { indirect: 1 });
    rig.driver.publish();
    assert(!rig.queue.pop());
    assertEquals(rig.queue.malformed, 1);
  });
});

for (const kind of RING_KINDS) {
  describe(`virtqueue indirect tables, ${kind.name}`, () => {
    it("[C18] a table keeps the order of its descriptors", () => {
      const rig = kind.make({ indirect: true, size: 4 });
      const bytes = pattern(100);
      const at = rig.memory.allocate(200);
      rig.memory.write(at, bytes);
      const segments = [
        ...Array.from({ length: 100 }, (_, i) => readable(at + i, 1)),
        writable(at + 100, 100),
      ];
      const head = rig.driver.add(segments, { indirect: true });
      rig.driver.publish();
      assert(rig.queue.pop());
      const { chain } = rig.queue;
      assertEquals([chain.segmentCount, chain.readableCount], [101, 100]);
      assertEquals(readAll(rig.queue), bytes);
      assertEquals(chain.writer.writeBytes(bytes), 100);
      rig.queue.push(head, 100);
      assertEquals(rig.memory.read(at + 100, 100), bytes);
    });

    it("[C27] [H23] a table near 2^64 or outside memory is malformed", () => {
      const rig = kind.make({ indirect: true });
      const addresses = [
        0xffff_ffff_ffff_fff0n,
        0xffff_ffff_ffff_ffffn,
        2n ** 63n,
        2n ** 53n,
        0n,
        0xfff8n,
        0x10_fff8n,
        0x11_0000n,
      ];
      for (const address of addresses) {
        assert(!accepts(rig, { address, size: 32, flags: INDIRECT }));
      }
    });

    it("[C29] [H23] a table of an odd size, or empty, is malformed", () => {
      const rig = kind.make({ indirect: true });
      fill(rig, 2);
      const sizes = [
        0,
        8,
        15,
        17,
        24,
        33,
        16 * 65536,
        2 ** 32 - 16,
        2 ** 32 - 1,
      ];
      for (const size of sizes) assert(!accepts(rig, { ...entry, size }));
      assert(accepts(rig, { ...entry, size: 32 }));
    });

    it("[C31] a table is not written, whatever its descriptor says", () => {
      const rig = kind.make({ indirect: true });
      fill(rig, 2);
      assert(accepts(rig, { ...entry, size: 32, flags: INDIRECT | WRITE }));
      assertEquals(rig.queue.chain.readableCount, 2);
    });

    it("[C32] a table may be at any address", () => {
      const rig = kind.make({ indirect: true });
      for (const odd of [1, 2, 7, 8]) {
        fill(rig, 3, TABLE + odd);
        const address = TABLE + odd;
        assert(accepts(rig, { address, size: 48, flags: INDIRECT }));
        assertEquals(rig.queue.chain.segmentCount, 3);
      }
    });

    it("[C34] [H23] a table is malformed where it was not negotiated", () => {
      const rig = kind.make();
      fill(rig, 2);
      assert(!accepts(rig, { ...entry, size: 32 }));
    });

    it("[C35] a table has at most 1024 entries, or the ring's size", () => {
      const small = kind.make({ indirect: true });
      fill(small, 1024);
      assert(accepts(small, { ...entry, size: 16 * 1024 }));
      assertEquals(small.queue.chain.segmentCount, 1024);
      fill(small, 1025);
      assert(!accepts(small, { ...entry, size: 16 * 1025 }));
      const large = kind.make({ indirect: true, size: 2048 });
      fill(large, 2048);
      assert(accepts(large, { ...entry, size: 16 * 2048 }));
      assert(!accepts(large, { ...entry, size: 16 * 2049 }));
    });

    it("[C24] a chain which regions cut into too many pieces is malformed", () => {
      const rig = kind.make({
        indirect: true,
        regions: [
          { guestAddress: 0x10000, size: 0x100000 },
          { guestAddress: 0x110000, size: 1 },
          { guestAddress: 0x110001, size: 1 },
          { guestAddress: 0x110002, size: 1 },
        ],
      });
      for (const [count, sound] of [[682, true], [683, false]] as const) {
        for (let i = 0; i < count; i++) {
          const flags = i < count - 1 ? NEXT : 0;
          const raw = { address: 0x110000, size: 3, flags, next: i + 1 };
          rig.driver.rawDescriptor(i, raw, TABLE);
        }
        assertEquals(accepts(rig, { ...entry, size: 16 * count }), sound);
      }
    });

    it("[H23] a table over adjacent regions works", () => {
      const rig = kind.make({
        indirect: true,
        regions: [
          { guestAddress: 0x10000, size: 0x1000 },
          { guestAddress: 0x11000, size: 0x10000 },
        ],
        region: 0,
      });
      const at = 0x11800;
      rig.memory.write(at, Uint8Array.of(9, 8, 7));
      fill(rig, 3, 0x12000, at);
      // The first region ends in the middle of a descriptor.
      const table = 0x10000 + 0x1000 - 24;
      rig.memory.write(table, rig.memory.read(0x12000, 48));
      const head = rig.driver.add([readable(table, 48)]);
      rig.driver.amend(head, 0, { flags: INDIRECT });
      rig.driver.publish();
      assert(rig.queue.pop());
      assertEquals(readAll(rig.queue), Uint8Array.of(9, 8, 7));
    });

    it("[H25] an indirect table is read once", () => {
      const rig = kind.make({ indirect: true });
      rig.memory.write(DATA, Uint8Array.of(5, 6));
      fill(rig, 2);
      const head = rig.driver.add([readable(DATA, 1)]);
      rig.driver.amend(head, 0, { ...entry, size: 32 });
      rig.driver.publish();
      assert(rig.queue.pop());
      rig.memory.write(TABLE, new Uint8Array(32).fill(0xff));
      assertEquals(readAll(rig.queue), Uint8Array.of(5, 6));
    });
  });
}
