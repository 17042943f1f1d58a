/**
 * Random numbers that can be had again.
 *
 * @module
 */

/**
 * A small, quick, seeded generator (sfc32). Not for secrets.
 *
 * @example The same seed, the same numbers
 * ```ts
 * import { Prng } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const numbers = ({ seed }: Prng) => {
 *   const prng = new Prng(seed);
 *   return [prng.next(), prng.below(6), prng.pick(["a", "b"])];
 * };
 * assertEquals(numbers(new Prng(7)), numbers(new Prng(7)));
 * ```
 */
export class Prng {
  /** What it was seeded with. */
  readonly seed: number;
  #a: number;
  #b = 0x9e3779b9;
  #c = 0x243f6a88;
  #counter = 1;

  /** The same `seed`, a 32-bit number, gives the same numbers. */
  constructor(seed: number) {
    this.seed = seed >>> 0;
    this.#a = this.seed;
    for (let i = 0; i < 12; i++) this.next();
  }

  /**
   * Seeded by the environment variable RINGSIDE_SEED, or by the clock where
   * that is not set or may not be read. Prints the seed, so that a run can be
   * repeated.
   */
  static fromEnvironment(purpose: string): Prng {
    const allowed = Deno.permissions.querySync({
      name: "env",
      variable: "RINGSIDE_SEED",
    }).state === "granted";
    const text = allowed ? Deno.env.get("RINGSIDE_SEED") : undefined;
    const prng = new Prng(text === undefined ? Date.now() : Number(text));
    console.log(`${purpose}: repeat with RINGSIDE_SEED=${prng.seed}`);
    return prng;
  }

  /** 32 random bits. */
  next(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** A whole number from 0 to before `limit`, which is at most 2^32. */
  below(limit: number): number {
    return Math.floor(this.next() / 0x1_0000_0000 * limit);
  }

  /** True once in `times`. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  /** One of `choices`, which are not none. */
  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  /** Fills `target` with random bytes, and returns it. */
  fill<T extends Uint8Array>(target: T): T {
    for (let i = 0; i < target.length; i++) target[i] = this.next();
    return target;
  }
}
