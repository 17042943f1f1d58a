// Data plane: which chains of a split ring are in flight, for who comes after.
/**
 * The front-end keeps this memory when the back-end dies, and hands it to the
 * next one (vhost-user, "Inflight I/O tracking"): what was popped and not given
 * back is then run again, in the order in which it was popped.
 *
 * The front-end can write all of it at any time. So it is only written here, but
 * for the start of a ring, and what is read then is checked before it is used.
 * No fences: who reads it does so after the death of who wrote it. That all
 * happens in the order of the program is what the compiler keeps.
 *
 * @module
 */
import { assert } from "../assert.ts";
import { borrow } from "../ffi/mapping.ts";

/** The area of one ring in this process. Structured-cloneable. */
export interface InflightArea {
  /** The address of its first byte, a multiple of 8. */
  readonly address: number;
  /** In bytes. */
  readonly size: number;
}

/** `version` of an area that is in use; 0 says that it is blank. */
const VERSION = 1;
/** Bytes before the entries, and of each. */
const HEADER_SIZE = 16;
const ENTRY_SIZE = 16;
// Fields of the header, in 16-bit words, after 64 bits of features.
const VERSION_WORD = 4;
const DESC_NUM_WORD = 5;
const LAST_BATCH_HEAD_WORD = 6;
const USED_IDX_WORD = 7;
// Fields of an entry: in bytes, in 16-bit words and in 32-bit words.
const INFLIGHT_BYTE = 0;
const NEXT_WORD = 3;
const COUNTER_LOW = 2;
const COUNTER_HIGH = 3;
const TWO_32 = 0x1_0000_0000;

/** Bytes of the area of a split ring of `size` entries. */
export function splitInflightSize(size: number): number {
  return HEADER_SIZE + ENTRY_SIZE * size;
}

/** The record of one split ring (`QueueRegionSplit`). */
export class SplitInflight {
  readonly #size: number;
  readonly #bytes: Uint8Array;
  readonly #halves: Uint16Array;
  readonly #words: Uint32Array;
  /** The next value of the global counter, as two words. */
  #low = 0;
  #high = 0;
  /** The heads that were given back and are not published, and how many. */
  readonly #batch: Uint16Array;
  #batchCount = 0;

  /** The record of a ring of `size` entries in `area`, which is mapped. */
  constructor(area: InflightArea, size: number) {
    const bytes = splitInflightSize(size);
    assert(
      area.size >= bytes && area.address % 8 === 0,
      "the area of a ring holds its entries",
    );
    const buffer = borrow(area.address, bytes);
    this.#size = size;
    this.#bytes = new Uint8Array(buffer);
    this.#halves = new Uint16Array(buffer);
    this.#words = new Uint32Array(buffer);
    this.#batch = new Uint16Array(size);
  }

  /**
   * Takes the area over from whoever used it before, on a ring whose used index
   * is `usedIndex`: the heads that are in flight, in the order in which they
   * were popped. Null where nobody has used it for a ring of this size: it is
   * blank now, and the ring goes on where the front-end says.
   */
  recover(usedIndex: number): Uint16Array | null {
    const halves = this.#halves;
    const known = halves[VERSION_WORD] === VERSION &&
      halves[DESC_NUM_WORD] === this.#size;
    if (!known || !this.#endBatch(usedIndex)) {
      this.#clear(usedIndex);
      return null;
    }
    const heads: number[] = [];
    for (let head = 0; head < this.#size; head++) {
      if (this.#bytes[this.#entry(head) + INFLIGHT_BYTE] !== 0) {
        heads.push(head);
      }
    }
    heads.sort((a, b) => this.#counterOf(a) - this.#counterOf(b));
    // Counted anew, so that who reads it next finds this order.
    for (let i = 0; i < heads.length; i++) this.pop(heads[i]!);
    return Uint16Array.from(heads);
  }

  /** `head` was popped. */
  pop(head: number): void {
    const word = (HEADER_SIZE + ENTRY_SIZE * head) >>> 2;
    this.#words[word + COUNTER_LOW] = this.#low;
    this.#words[word + COUNTER_HIGH] = this.#high;
    this.#low = (this.#low + 1) >>> 0;
    if (this.#low === 0) this.#high++;
    this.#bytes[this.#entry(head) + INFLIGHT_BYTE] = 1;
  }

  /** `head` went back to the available ring. */
  undoPop(head: number): void {
    this.#bytes[this.#entry(head) + INFLIGHT_BYTE] = 0;
  }

  /** `head` is given back with the next `publish`. */
  push(head: number): void {
    const halves = this.#halves;
    const before = this.#batchCount === 0
      ? halves[LAST_BATCH_HEAD_WORD]!
      : this.#batch[this.#batchCount - 1]!;
    halves[(this.#entry(head) >>> 1) + NEXT_WORD] = before;
    halves[LAST_BATCH_HEAD_WORD] = head;
    this.#batch[this.#batchCount++] = head;
  }

  /** The used index in the ring is `usedIndex` now: what was pushed is done. */
  publish(usedIndex: number): void {
    const batch = this.#batch;
    const count = this.#batchCount;
    for (let i = 0; i < count; i++) {
      this.#bytes[this.#entry(batch[i]!) + INFLIGHT_BYTE] = 0;
    }
    this.#batchCount = 0;
    this.#halves[USED_IDX_WORD] = usedIndex;
  }

  #entry(head: number): number {
    return HEADER_SIZE + ENTRY_SIZE * head;
  }

  /**
   * The last batch was published, and perhaps not taken off the record: takes it
   * off. False where the record can't be that of the ring.
   */
  #endBatch(usedIndex: number): boolean {
    const halves = this.#halves;
    const count = (usedIndex - halves[USED_IDX_WORD]!) & 0xffff;
    if (count > this.#size) return false;
    let head = halves[LAST_BATCH_HEAD_WORD]!;
    for (let i = 0; i < count; i++) {
      if (head >= this.#size) return false;
      this.#bytes[this.#entry(head) + INFLIGHT_BYTE] = 0;
      head = halves[(this.#entry(head) >>> 1) + NEXT_WORD]!;
    }
    halves[USED_IDX_WORD] = usedIndex;
    return true;
  }

  #counterOf(head: number): number {
    const word = this.#entry(head) >>> 2;
    return this.#words[word + COUNTER_LOW]! +
      this.#words[word + COUNTER_HIGH]! * TWO_32;
  }

  #clear(usedIndex: number): void {
    this.#bytes.fill(0);
    this.#halves[DESC_NUM_WORD] = this.#size;
    this.#halves[USED_IDX_WORD] = usedIndex;
    // Last: from here on the rest counts.
    this.#halves[VERSION_WORD] = VERSION;
  }
}
