// Data plane: what a device has done, pair by pair.
/**
 * @module
 */

/** Frames that the driver received. */
export const RX_FRAMES = 0;
/** Their bytes, without headers. */
export const RX_BYTES = 1;
/** Frames for the driver that were dropped: too large for its buffers. */
export const RX_DROPPED = 2;
/** Frames that the driver sent. */
export const TX_FRAMES = 3;
/** Their bytes, without headers. */
export const TX_BYTES = 4;
/** Frames of the driver that were dropped: malformed, or the host refused. */
export const TX_DROPPED = 5;
/** Numbers of a pair. */
const ROW = 6;

/** Counters of all pairs, shared by the threads; each pair writes its own row. */
export class Counters {
  /** What a seed carries. */
  readonly shared: SharedArrayBuffer;
  readonly #pairs: Float64Array[] = [];

  /** Zeros for `pairCount` pairs, or those that `shared` holds. */
  constructor(pairCount: number, shared?: SharedArrayBuffer) {
    this.shared = shared ?? new SharedArrayBuffer(pairCount * ROW * 8);
    for (let i = 0; i < pairCount; i++) {
      this.#pairs.push(new Float64Array(this.shared, i * ROW * 8, ROW));
    }
  }

  /** The counters of pair `index`, by the names of this module. */
  pair(index: number): Float64Array {
    return this.#pairs[index]!;
  }

  /** The sum of one counter over all pairs. */
  total(counter: number): number {
    let sum = 0;
    for (const pair of this.#pairs) sum += pair[counter]!;
    return sum;
  }
}
