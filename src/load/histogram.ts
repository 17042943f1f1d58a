// Data plane: a histogram of times, in buckets that grow with them.
/**
 * @module
 */

/** Buckets for each power of two: a time is known within a 128th, or 0.8 %. */
const SUB_BITS = 7;
const SUB_COUNT = 1 << SUB_BITS;
/** Times from 2^40 ns on, 18 minutes, are all one. */
const POWERS = 40;
const BUCKETS = (POWERS - SUB_BITS + 1) * SUB_COUNT;
/** From here on a time is no 32-bit number. */
const LARGE = 2 ** 31;
/** What makes it one. */
const SCALE_BITS = 16;

/**
 * Counts of times in nanoseconds, log-linear as an HDR histogram: exact below
 * 256 ns, then within 0.8 %. `add` allocates nothing.
 */
export class Histogram {
  readonly #buckets = new Uint32Array(BUCKETS);
  /** Count, sum, largest and smallest. */
  readonly #totals = new Float64Array(4);

  /** How many times were counted. */
  get count(): number {
    return this.#totals[0]!;
  }

  /** Their mean, 0 where there are none. */
  get mean(): number {
    return this.count === 0 ? 0 : this.#totals[1]! / this.count;
  }

  /** The largest, exactly. */
  get max(): number {
    return this.#totals[2]!;
  }

  /** The smallest, exactly. */
  get min(): number {
    return this.#totals[3]!;
  }

  /** Counts one time: whole nanoseconds, 0 or more. */
  add(nanoseconds: number): void {
    const bucket = bucketOf(nanoseconds);
    this.#buckets[bucket] = this.#buckets[bucket]! + 1;
    const totals = this.#totals;
    if (totals[0] === 0 || nanoseconds < totals[3]!) totals[3] = nanoseconds;
    totals[0] = totals[0]! + 1;
    totals[1] = totals[1]! + nanoseconds;
    if (nanoseconds > totals[2]!) totals[2] = nanoseconds;
  }

  /** Forgets all. */
  clear(): void {
    this.#buckets.fill(0);
    this.#totals.fill(0);
  }

  /**
   * The time that a `share` of all, 0 to 1, does not exceed: the largest one of
   * its bucket. 0 where there are none.
   */
  percentile(share: number): number {
    // Not 0.9 * 10 = 9.000000000000002, which would be one too many.
    const wanted = Math.max(1, Math.ceil(share * this.count - 1e-6));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#buckets[bucket]!;
      if (seen >= wanted) return Math.min(largestIn(bucket), this.max);
    }
    return this.max;
  }

  /** The buckets that are not empty: the largest time of each, and its count. */
  entries(): [upTo: number, count: number][] {
    const entries: [number, number][] = [];
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const count = this.#buckets[bucket]!;
      if (count === 0) continue;
      entries.push([Math.min(largestIn(bucket), this.max), count]);
    }
    return entries;
  }
}

function bucketOf(nanoseconds: number): number {
  if (nanoseconds >= LARGE) return largeBucketOf(nanoseconds);
  const value = nanoseconds | 0;
  if (value < 2 * SUB_COUNT) return value < 0 ? 0 : value;
  const shift = 31 - Math.clz32(value) - SUB_BITS;
  return (shift << SUB_BITS) + (value >>> shift);
}

/** A time of seconds: seldom. */
function largeBucketOf(nanoseconds: number): number {
  const most = 2 ** POWERS - 1;
  const value = Math.floor(Math.min(nanoseconds, most) / (1 << SCALE_BITS));
  const shift = 31 - Math.clz32(value) - SUB_BITS;
  return ((shift + SCALE_BITS) << SUB_BITS) + (value >>> shift);
}

function largestIn(bucket: number): number {
  if (bucket < 2 * SUB_COUNT) return bucket;
  const shift = (bucket >>> SUB_BITS) - 1;
  const mantissa = SUB_COUNT + (bucket & (SUB_COUNT - 1));
  return (mantissa + 1) * 2 ** shift - 1;
}
