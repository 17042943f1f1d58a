/**
 * What a fuzzer tries in one go, as a value that can be made smaller, printed,
 * kept in a file and tried again.
 *
 * @module
 */
import * as fc from "fast-check";

/** Something done so many times, each time at random, from a seed. */
export type Step = readonly [kind: string, count: number, seed: number];

/** A world and what is done in it. */
export interface Batch {
  /** How the world is made: numbers from 0 to the limits that a target tells. */
  readonly shape: Readonly<Record<string, number>>;
  /** What is done, in order. */
  readonly steps: readonly Step[];
}

/** Which batches there are. */
export interface BatchSpec {
  /** The largest value of each number of a shape. */
  readonly shape: Readonly<Record<string, number>>;
  /** What can be done; one that is named twice is done twice as often. */
  readonly kinds: readonly string[];
  /** The most steps. */
  readonly steps: number;
  /** The most times that a step does what it does. */
  readonly count: number;
}

/** Any 32 bits. */
const SEED_MAX = 0xffff_ffff;

/**
 * The batches of `spec`. Made smaller by leaving steps out, doing them fewer
 * times and making worlds plainer. What a step does each time is up to the
 * random numbers of its seed: so a batch costs some dozens of values here, and
 * does hundreds of things.
 */
export function batches(spec: BatchSpec): fc.Arbitrary<Batch> {
  const shape: Record<string, fc.Arbitrary<number>> = {};
  for (const [name, max] of Object.entries(spec.shape)) {
    shape[name] = fc.nat(max);
  }
  return fc.record({
    shape: fc.record(shape),
    steps: fc.array(
      fc.tuple(
        fc.constantFrom(...spec.kinds),
        fc.integer({ min: 1, max: spec.count }),
        fc.nat(SEED_MAX),
      ),
      { maxLength: spec.steps, size: "max" },
    ),
  });
}
