/**
 * Garbage in the memory of rings. Whatever a driver writes, the ring does what
 * the model foretells: no more, no less, and to the byte.
 *
 * @module
 */
import type { Target } from "../target.ts";
import { Duel } from "./duel.ts";
import { SPLIT_MUTATIONS, SplitHostile } from "./split_hostile.ts";

const DEVICE_STEPS = ["publish", "drain", "complete", "kicks", "reopen"];

/** Split rings. */
export const splitRing: Target = {
  name: "ring-split",
  unit: "mutations",
  deterministic: true,
  spec: {
    shape: { sizeBits: 6, base: 0xffff, eventIndex: 1, indirect: 1 },
    kinds: [
      ...DEVICE_STEPS,
      ...SPLIT_MUTATIONS,
      ...Array.from({ length: 10 }, () => "life"),
    ],
    steps: 30,
    count: 64,
  },
  open: (shape, tally) => new Duel(new SplitHostile(shape), tally),
};
