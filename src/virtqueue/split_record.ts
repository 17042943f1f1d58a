// Data plane: what a split ring records, and what it found on record.
/**
 * @module
 */
import type { SplitInflight } from "./inflight.ts";

const NO_HEADS = new Uint16Array(0);

/** The record of a ring, and the heads that come from there and not from it. */
export class SplitRecord {
  /** How many heads that an earlier process had in flight are to be popped. */
  left: number;
  readonly #inflight: SplitInflight;
  readonly #size: number;
  /** Those heads: they come before all others. */
  #again: Uint16Array;
  /** Popped after them, as far as `undoPop` could reach. */
  #since = 0;

  /** For a ring of `size` entries; `found` are the heads in flight, if any. */
  constructor(
    inflight: SplitInflight,
    size: number,
    found: Uint16Array | null,
  ) {
    this.#inflight = inflight;
    this.#size = size;
    this.#again = found ?? NO_HEADS;
    this.left = this.#again.length;
  }

  /** The next head that was in flight, where some are left. */
  get head(): number {
    return this.#again[this.#again.length - this.left]!;
  }

  /** `head` is taken; one that is taken again is on the record already. */
  take(head: number): void {
    if (this.left > 0) {
      this.left--;
      return;
    }
    this.#inflight.pop(head);
    if (this.#again.length === 0) return;
    // So many are never undone: what came before is history.
    if (++this.#since > this.#size) this.#again = NO_HEADS;
  }

  /** `head` goes back to where it came from. */
  putBack(head: number): void {
    if (this.#again.length > 0) {
      if (this.#since === 0) {
        this.left++;
        return;
      }
      this.#since--;
    }
    this.#inflight.undoPop(head);
  }

  /** `head` is given back with the next `publish`. */
  push(head: number): void {
    this.#inflight.push(head);
  }

  /** The used index in the ring is `usedIndex` now: what was pushed is done. */
  publish(usedIndex: number): void {
    this.#inflight.publish(usedIndex);
  }
}
