/** Times in buckets that grow by a 32nd: percentiles within about 3 %. */
export class Histogram {
  readonly #buckets = new Uint32Array(64 * 32);
  #count = 0;

  /** Counts one time, milliseconds. */
  add(milliseconds: number): void {
    const nanoseconds = Math.max(1, milliseconds * 1e6);
    const power = Math.floor(Math.log2(nanoseconds));
    const fraction = nanoseconds / 2 ** power - 1;
    const bucket = power * 32 + Math.floor(fraction * 32);
    this.#buckets[bucket] = this.#buckets[bucket]! + 1;
    this.#count++;
  }

  /** The time that a `share` of all does not exceed, microseconds. */
  percentile(share: number): number {
    let left = share * this.#count;
    for (let bucket = 0; bucket < this.#buckets.length; bucket++) {
      left -= this.#buckets[bucket]!;
      if (left > 0) continue;
      return 2 ** Math.floor(bucket / 32) * (1 + (bucket % 32 + 0.5) / 32) /
        1000;
    }
    return Infinity;
  }
}
