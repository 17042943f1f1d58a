import { assertEquals } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { Mapping } from "../ffi/mapping.ts";
import { SplitInflight, splitInflightSize } from "./inflight.ts";

const SIZE = 8;
const USED_IDX = 14;
const LAST_BATCH_HEAD = 12;

/** Runs `body` on a blank area; `open` makes the record of a next process. */
function withArea(
  body: (open: () => SplitInflight, view: DataView) => void,
): void {
  const size = splitInflightSize(SIZE);
  using mapping = Mapping.anonymous(size);
  const area = { address: mapping.address, size };
  body(() => new SplitInflight(area, SIZE), new DataView(mapping.buffer));
}

function heads(record: SplitInflight, usedIndex: number): number[] | null {
  const found = record.recover(usedIndex);
  return found && [...found];
}

describe("SplitInflight", () => {
  it("lays the area out as the specification does", () => {
    withArea((open, view) => {
      const record = open();
      assertEquals(record.recover(0x1234), null);
      assertEquals(view.getBigUint64(0, true), 0n);
      assertEquals(view.getUint16(8, true), 1, "version");
      assertEquals(view.getUint16(10, true), SIZE, "desc_num");
      assertEquals(view.getUint16(USED_IDX, true), 0x1234);
      for (const head of [5, 3]) record.pop(head);
      const entry = (head: number) => 16 + 16 * head;
      assertEquals(view.getUint8(entry(3)), 1);
      assertEquals(view.getBigUint64(entry(3) + 8, true), 1n, "counter");
      for (const head of [5, 3]) record.push(head);
      assertEquals(view.getUint16(LAST_BATCH_HEAD, true), 3);
      assertEquals(view.getUint16(entry(3) + 6, true), 5, "next");
      assertEquals(view.getUint8(entry(3)), 1, "in flight until published");
      record.publish(0x1236);
      assertEquals(view.getUint8(entry(3)) + view.getUint8(entry(5)), 0);
      assertEquals(view.getUint16(USED_IDX, true), 0x1236);
    });
  });

  it("[C58] gives what is in flight back in the order of its pops", () => {
    withArea((open) => {
      const record = open();
      record.recover(65535);
      for (const head of [6, 1, 4, 0, 7]) record.pop(head);
      record.undoPop(7);
      record.push(1);
      record.publish(0);
      record.push(4); // Not published: the driver has not seen it.
      assertEquals(heads(open(), 0), [6, 4, 0]);
      const next = open();
      assertEquals(heads(next, 0), [6, 4, 0], "and again");
      next.pop(1);
      assertEquals(heads(open(), 0), [6, 4, 0, 1]);
    });
  });

  it("[C58] ends a batch that was published and not taken off", () => {
    for (const taken of [0, 1, 2]) {
      withArea((open, view) => {
        const record = open();
        record.recover(65534);
        for (const head of [2, 5, 3, 1]) record.pop(head);
        record.push(2);
        record.publish(65535);
        record.push(5);
        record.push(3);
        // It died after the used index was written, before the record was.
        for (const head of [5, 3].slice(0, taken)) record.undoPop(head);
        assertEquals(heads(open(), 1), [1]);
        assertEquals(view.getUint16(USED_IDX, true), 1);
      });
    }
  });

  it("[H12] starts anew where the area is of another ring", () => {
    withArea((open, view) => {
      const record = open();
      record.recover(0);
      record.pop(3);
      assertEquals(heads(open(), SIZE + 1), null, "too large a batch");
      assertEquals(heads(open(), SIZE + 1), [], "now it is known");
      record.pop(3);
      view.setUint16(10, SIZE * 2, true);
      assertEquals(heads(open(), SIZE + 1), null, "another size");
      view.setUint16(8, 2, true);
      assertEquals(heads(open(), SIZE + 1), null, "another version");
    });
  });

  it("[H12] is not led astray by what the front-end writes", () => {
    withArea((open, view) => {
      open().recover(0);
      view.setUint16(LAST_BATCH_HEAD, SIZE, true);
      assertEquals(heads(open(), 1), null, "a head beyond the ring");
      view.setUint16(LAST_BATCH_HEAD, 2, true);
      view.setUint16(16 + 16 * 2 + 6, 2, true);
      assertEquals(heads(open(), 4), [], "a list that goes in a circle");
      for (let head = 0; head < SIZE; head++) {
        view.setUint8(16 + 16 * head, 255);
        view.setBigUint64(16 + 16 * head + 8, 2n ** 64n - 1n, true);
      }
      assertEquals(heads(open(), 4)!.length, SIZE);
    });
  });
});
