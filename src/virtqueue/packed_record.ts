// Data plane: what a packed ring records, and what it found on record.
/**
 * @module
 */
import * as layout from "./layout.ts";
import type { PackedInflight } from "./packed_inflight.ts";
import type { UsedDescriptors } from "./used_descriptors.ts";

// In the last word of a descriptor.
const AVAIL = layout.VIRTQ_DESC_F_AVAIL << 16;
const USED = layout.VIRTQ_DESC_F_USED << 16;
const OWNER = AVAIL | USED;
const NOTHING = new DataView(new ArrayBuffer(0));

/** The record of a ring, and the chains that come from there and not from it. */
export class PackedRecord {
  /** Descriptors of chains in flight, which come before those of the ring. */
  again: DataView = NOTHING;
  /** Which of them is next. */
  at = 0;
  /** How many chains there are from there on. */
  left = 0;
  readonly #inflight: PackedInflight;
  readonly #size: number;
  /** Popped from the ring since, as far as `undoPop` could reach. */
  #since = 0;

  /** For a ring of `size` entries. */
  constructor(inflight: PackedInflight, size: number) {
    this.#inflight = inflight;
    this.#size = size;
  }

  /**
   * Goes on where an earlier process left the ring `descriptors`: with the chains
   * that it had in flight, `used` behind those that it gave back. False where
   * there was none.
   */
  recover(descriptors: Int32Array, used: UsedDescriptors): boolean {
    const found = this.#inflight.recover(
      (index, wrap) => {
        const bits = descriptors[4 * index + 3]!;
        return (bits & OWNER) !== (wrap ? AVAIL : USED);
      },
      used.at,
      used.wrap,
    );
    if (found === null) return false;
    this.again = new DataView(found.descriptors.buffer);
    this.left = found.count;
    used.goTo(found.usedIndex, found.usedWrap);
    this.#takeBack(descriptors, found.usedIndex, found.usedWrap);
    return true;
  }

  /** Descriptors from `at` on. */
  get descriptorsLeft(): number {
    return (this.again.byteLength >>> 4) - this.at;
  }

  /** The chain at `head` of `count` descriptors was taken. */
  take(head: number, ring: Int32Array, next: number, count: number): void {
    if (this.left > 0) {
      this.left--;
      this.at += count;
      return;
    }
    this.#inflight.pop(head, ring, next, count);
    if (this.again.byteLength === 0) return;
    // So many are never undone: what came before is history.
    if (++this.#since <= this.#size) return;
    this.again = NOTHING;
    this.at = 0;
  }

  /** It goes back to where it came from. */
  putBack(head: number, count: number): void {
    if (this.again.byteLength > 0) {
      if (this.#since === 0) {
        this.left++;
        this.at -= count;
        return;
      }
      this.#since--;
    }
    this.#inflight.undoPop(head);
  }

  /** It is given back with the next `publish`. */
  push(head: number): void {
    this.#inflight.push(head);
  }

  /** Then the next used descriptor goes to `usedIndex`. */
  prepare(usedIndex: number, usedWrap: boolean): void {
    this.#inflight.prepare(usedIndex, usedWrap);
  }

  /** What was pushed is published. */
  publish(): void {
    this.#inflight.publish();
  }

  /**
   * Of a batch that was not published all but the first descriptor may be in
   * the ring: none from position `from` on that are the device's may look used.
   */
  #takeBack(descriptors: Int32Array, from: number, wrap: boolean): void {
    const count = this.descriptorsLeft;
    let at = from;
    let owner = wrap ? AVAIL : USED;
    for (let i = 0; i < count; i++) {
      descriptors[4 * at + 3] = descriptors[4 * at + 3]! & ~OWNER | owner;
      at++;
      if (at < this.#size) continue;
      at = 0;
      owner ^= OWNER;
    }
  }
}
