import { assertEquals } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { Mapping } from "../ffi/mapping.ts";
import { PackedInflight, packedInflightSize } from "./packed_inflight.ts";

const SIZE = 8;

/** A ring whose descriptor `i` has address `i`, size `i` and buffer id `i`. */
const RING = new Int32Array(4 * SIZE);
for (let i = 0; i < SIZE; i++) RING.set([i, 0, i, i], 4 * i);

/** Runs `body` on a blank area; `open` makes the record of a next process. */
function withArea(
  body: (open: () => PackedInflight, view: DataView) => void,
): void {
  const size = packedInflightSize(SIZE);
  using mapping = Mapping.anonymous(size);
  const area = { address: mapping.address, size };
  body(() => new PackedInflight(area, SIZE), new DataView(mapping.buffer));
}

/** A record of a ring that starts now. */
function start(open: () => PackedInflight): PackedInflight {
  const record = open();
  assertEquals(record.recover(() => false, 0, true), null);
  return record;
}

/** Pops a chain of `count` descriptors whose last one is `head`. */
function pop(record: PackedInflight, head: number, count = 1): void {
  record.pop(head, RING, (head - count + 1 + SIZE) % SIZE, count);
}

/** What is in flight, by the ids of all descriptors, and the used index. */
function found(
  record: PackedInflight,
  published = false,
): [ids: number[], usedIndex: number, usedWrap: boolean] | null {
  const recovery = record.recover(() => published, 0, true);
  if (recovery === null) return null;
  const { descriptors, usedIndex, usedWrap } = recovery;
  const ids = [...descriptors].filter((_, i) => i % 4 === 3)
    .map((bits) => bits & 0xffff);
  return [ids, usedIndex, usedWrap];
}

describe("PackedInflight", () => {
  it("lays the area out as the specification does", () => {
    withArea((open, view) => {
      const record = start(open);
      const entry = (index: number) => 32 + 32 * index;
      const u16 = (offset: number) => view.getUint16(offset, true);
      assertEquals([u16(8), u16(10)], [1, SIZE], "version, desc_num");
      assertEquals([u16(12), u16(14)], [0, 0], "free_head, old_free_head");
      assertEquals([view.getUint8(20), view.getUint8(21)], [1, 1], "wraps");
      assertEquals(u16(entry(3) + 2), 4, "next");
      pop(record, 6, 3);
      assertEquals(view.getUint8(entry(0)), 1, "inflight");
      assertEquals([u16(entry(0) + 4), u16(entry(0) + 6)], [2, 3], "last, num");
      assertEquals(u16(entry(2) + 16), 6, "id");
      assertEquals(view.getUint32(entry(2) + 20, true), 6, "len");
      assertEquals(view.getBigUint64(entry(2) + 24, true), 6n, "addr");
      assertEquals([u16(12), u16(14)], [3, 3]);
      record.push(6);
      assertEquals([u16(12), u16(14)], [0, 3]);
      record.prepare(3, true);
      assertEquals([u16(16), u16(18)], [3, 0], "used_idx, old_used_idx");
      record.publish();
      assertEquals([u16(16), u16(18)], [3, 3]);
      assertEquals([u16(12), u16(14), view.getUint8(entry(0))], [0, 0, 0]);
    });
  });

  it("[C58] gives what is in flight back in the order of its pops", () => {
    withArea((open) => {
      const record = start(open);
      pop(record, 5, 2);
      pop(record, 1);
      pop(record, 3, 1);
      record.push(1);
      record.prepare(1, true);
      record.publish();
      pop(record, 7, 3);
      assertEquals(found(open()), [[4, 5, 3, 5, 6, 7], 1, true]);
      const next = open();
      assertEquals(found(next), [[4, 5, 3, 5, 6, 7], 1, true], "and again");
      next.push(5);
      next.prepare(3, true);
      next.publish();
      pop(next, 0);
      assertEquals(found(open()), [[3, 5, 6, 7, 0], 3, true]);
    });
  });

  it("[C58] takes nothing from a batch that is not published", () => {
    withArea((open) => {
      const record = start(open);
      for (const head of [2, 5, 3]) pop(record, head);
      record.push(5);
      record.push(2);
      // Chains that come while it waits, and one that goes back.
      pop(record, 1);
      pop(record, 7);
      record.undoPop(7);
      pop(record, 6);
      assertEquals(found(open()), [[2, 5, 3, 1, 6], 0, true]);
    });
  });

  it("[C58] knows by the ring whether a batch was published", () => {
    for (const published of [false, true]) {
      withArea((open) => {
        const record = start(open);
        for (const head of [2, 5, 3]) pop(record, head);
        record.push(5);
        record.push(2);
        pop(record, 1);
        record.undoPop(1);
        record.prepare(2, true);
        const expected = published ? [[3], 2, true] : [[2, 5, 3], 0, true];
        assertEquals(found(open(), published), expected as never);
      });
    }
  });

  it("[C58] knows a batch of a whole lap by its wrap counter", () => {
    withArea((open) => {
      const record = start(open);
      for (let head = 0; head < SIZE; head++) pop(record, head);
      for (let head = 0; head < SIZE; head++) record.push(head);
      record.prepare(0, false);
      assertEquals(found(open(), true), [[], 0, false]);
      const next = open();
      assertEquals(found(next), [[], 0, false]);
      for (let head = 0; head < SIZE; head++) pop(next, head);
      assertEquals(found(open())![0].length, SIZE);
    });
  });

  it("[H12] starts anew where the front-end wrote nonsense", () => {
    const entry = (index: number) => 32 + 32 * index;
    const nonsense: [string, (view: DataView) => void][] = [
      ["another version", (view) => view.setUint16(8, 2, true)],
      ["another size", (view) => view.setUint16(10, SIZE + 1, true)],
      ["a used index beyond", (view) => view.setUint16(18, SIZE, true)],
      ["a chain of nothing", (view) => view.setUint16(entry(0) + 6, 0, true)],
      ["a chain too long", (view) => view.setUint16(entry(0) + 6, 99, true)],
      ["a chain in a circle", (view) => view.setUint16(entry(0) + 2, 0, true)],
      ["a chain outside", (view) => view.setUint16(entry(0) + 2, 9999, true)],
      ["an id beyond", (view) => view.setUint16(entry(1) + 16, SIZE, true)],
      ["an id twice", (view) => view.setUint16(entry(1) + 16, 6, true)],
    ];
    for (const [what, change] of nonsense) {
      withArea((open, view) => {
        const record = start(open);
        pop(record, 4, 2);
        pop(record, 6);
        change(view);
        assertEquals(found(open()), null, what);
        assertEquals(found(open()), [[], 0, true], what);
      });
    }
  });
});
