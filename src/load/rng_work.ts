// Data plane: the requests of a load on an entropy device.
/**
 * @module
 */
import type { Work } from "./lane.ts";

/** Counts answers and their bytes. */
export class RngWork implements Work {
  /** Requests that came back with bytes. */
  count = 0;
  /** Requests that came back without, or with too many. */
  errors = 0;
  readonly #size: number;
  readonly #bytes = new Float64Array(1);

  /** Of requests with room for `size` bytes. */
  constructor(size: number) {
    this.#size = size;
  }

  /** Bytes of all answers. */
  get bytes(): number {
    return this.#bytes[0]!;
  }

  /** Forgets what was counted. */
  clear(): void {
    this.count = 0;
    this.errors = 0;
    this.#bytes[0] = 0;
  }

  prepare(_slot: number): number {
    return 0;
  }

  finish(_slot: number, written: number): void {
    if (written < 1 || written > this.#size) this.errors++;
    else {
      this.count++;
      this.#bytes[0] = this.#bytes[0]! + written;
    }
  }
}
