/**
 * Garbage in the memory of rings. Whatever a driver writes, the ring does what
 * the model foretells: no more, no less, and to the byte.
 *
 * @module
 */
import type { Target } from "../target.ts";
import { Duel } from "./duel.ts";
import { PACKED_MUTATIONS, PackedHostile } from "./packed_hostile.ts";
import { SPLIT_MUTATIONS, SplitHostile } from "./split_hostile.ts";

const DEVICE_STEPS = [
  "publish",
  "drain",
  "complete",
  "kicks",
  "reopen",
  ...Array.from({ length: 10 }, () => "life"),
];

/** Split rings. */
export const splitRing: Target = {
  name: "ring-split",
  unit: "mutations",
  deterministic: true,
  spec: {
    shape: {
      sizeBits: 6,
      base: 0xffff,
      eventIndex: 1,
      indirect: 1,
      inOrder: 1,
    },
    kinds: [...DEVICE_STEPS, ...SPLIT_MUTATIONS],
    steps: 30,
    count: 64,
  },
  open: (shape, tally) => new Duel(new SplitHostile(shape), tally),
};

/** Packed rings, of any size. */
export const packedRing: Target = {
  name: "ring-packed",
  unit: "mutations",
  deterministic: true,
  spec: {
    shape: {
      size: 66,
      base: 0xffff,
      eventIndex: 1,
      indirect: 1,
      inOrder: 1,
    },
    kinds: [...DEVICE_STEPS, ...PACKED_MUTATIONS],
    steps: 30,
    count: 64,
  },
  open: (shape, tally) => new Duel(new PackedHostile(shape), tally),
};
