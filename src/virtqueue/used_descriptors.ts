// Data plane: the used descriptors of a packed ring, virtio 1.3 §2.8.6.
/**
 * @module
 */
import type { AreaLog } from "./area_log.ts";
import * as layout from "./layout.ts";
import { release32 } from "./ordering.ts";
import { RING_WRAP } from "./packed_state.ts";

// An imported constant is loaded and checked at every use, see split.ts.
const DESCRIPTOR_SIZE = layout.DESCRIPTOR_SIZE;
const WRITE = layout.VIRTQ_DESC_F_WRITE << 16;
/** Both bits are those of the wrap counter in a used descriptor. */
const OWNER = (layout.VIRTQ_DESC_F_AVAIL | layout.VIRTQ_DESC_F_USED) << 16;

/** What is given back to the driver: it is written over what it published. */
export class UsedDescriptors {
  /** Where the next one goes. */
  at = 0;
  /** Positions that were given back and are not published. */
  staged = 0;
  /** How the next one has to look: OWNER or 0. */
  #owner = OWNER;
  /** The first one of a batch, which is written last. */
  #first = 0;
  #firstBits = 0;
  readonly #size: number;
  #descriptors: Int32Array = new Int32Array(0);
  #log: AreaLog | null = null;

  /** Those of a ring of `size` entries. */
  constructor(size: number) {
    this.#size = size;
  }

  /** Goes on in `descriptors`. */
  setArea(descriptors: Int32Array): void {
    this.#descriptors = descriptors;
  }

  /** From now on `log` has what is written; null: nothing is logged. */
  setLog(log: AreaLog | null): void {
    this.#log = log;
  }

  /** Goes on at position `at` in the lap of wrap counter `wrap`. */
  goTo(at: number, wrap: boolean): void {
    this.at = at;
    this.#owner = wrap ? OWNER : 0;
  }

  /** The wrap counter of the next one. */
  get wrap(): boolean {
    return this.#owner !== 0;
  }

  /** Where the next one goes, with its wrap counter in bit 15. */
  get next(): number {
    return this.#owner === 0 ? this.at : this.at | RING_WRAP;
  }

  /**
   * Writes the next one, for a chain of `count` descriptors. The driver looks at
   * them in their order: it sees none before the first, which comes last.
   */
  stage(head: number, count: number, written: number): void {
    const at = this.at;
    let bits = head | this.#owner;
    if (written > 0) bits |= WRITE;
    this.#descriptors[4 * at + 2] = written;
    if (this.staged === 0) {
      this.#first = at;
      this.#firstBits = bits;
    } else this.#descriptors[4 * at + 3] = bits;
    this.staged += count;
    const next = at + count;
    if (next < this.#size) this.at = next;
    else {
      this.at = next - this.#size;
      this.#owner ^= OWNER;
    }
  }

  /** Publishes what is staged. */
  publish(): void {
    release32(this.#descriptors, 4 * this.#first + 3, this.#firstBits);
    if (this.#log !== null) this.#logStaged(this.#log);
    this.staged = 0;
  }

  #logStaged(log: AreaLog): void {
    const first = this.#first;
    const straight = Math.min(this.staged, this.#size - first);
    log.mark(DESCRIPTOR_SIZE * first, DESCRIPTOR_SIZE * straight);
    log.mark(0, DESCRIPTOR_SIZE * (this.staged - straight));
  }
}
