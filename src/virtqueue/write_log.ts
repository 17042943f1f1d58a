// Data plane: which pages the chains in flight may be written to.
/**
 * Only a ring whose memory has a log keeps this. A chain is gone from the ring
 * when it is given back (the driver may change it, a packed ring overwrites it),
 * and only then may its pages be marked: so they are kept when it is popped.
 *
 * @module
 */
import { type DirtyLog, LOG_PAGE_SIZE } from "../memory/dirty_log.ts";
import type { Chain } from "./chain.ts";

/** Runs of pages that a chain has room for before it needs more. */
const RUNS = 4;

/** By what identifies a chain in flight: the pages of its writable bytes. */
export class WriteLog {
  readonly #chain: Chain;
  /** First and last page of each run. */
  readonly #runs: Float64Array[] = [];
  readonly #counts: Uint16Array;

  /** For chains of `chain`, which are identified by numbers below `size`. */
  constructor(size: number, chain: Chain) {
    this.#chain = chain;
    this.#counts = new Uint16Array(size);
    for (let id = 0; id < size; id++) {
      this.#runs.push(new Float64Array(2 * RUNS));
    }
  }

  /** Chain `id` was popped: it is what `chain` is aimed at. */
  keep(id: number): void {
    const { segmentCount, readableCount, regions, offsets, sizes, memory } =
      this.#chain;
    let runs = this.#runs[id]!;
    let count = 0;
    for (let i = readableCount; i < segmentCount; i++) {
      const start = memory.starts[regions[i]!]! + offsets[i]!;
      const first = Math.floor(start / LOG_PAGE_SIZE);
      const last = Math.floor((start + sizes[i]! - 1) / LOG_PAGE_SIZE);
      const before = 2 * count - 1;
      if (
        count > 0 && first >= runs[before - 1]! && first <= runs[before]! + 1
      ) {
        if (last > runs[before]!) runs[before] = last;
        continue;
      }
      if (2 * count === runs.length) runs = this.#grow(id);
      runs[2 * count] = first;
      runs[2 * count + 1] = last;
      count++;
    }
    this.#counts[id] = count;
  }

  /** Chain `id` is given back: what could be written of it goes to `log`. */
  mark(id: number, log: DirtyLog): void {
    const runs = this.#runs[id]!;
    const count = this.#counts[id]!;
    for (let i = 0; i < count; i++) {
      log.markPages(runs[2 * i]!, runs[2 * i + 1]!);
    }
    this.#counts[id] = 0;
  }

  /** Twice the room for chain `id`. As many chains as ever needed it have it. */
  #grow(id: number): Float64Array {
    const before = this.#runs[id]!;
    const runs = new Float64Array(2 * before.length);
    runs.set(before);
    this.#runs[id] = runs;
    return runs;
  }
}
