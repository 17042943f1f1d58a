/**
 * All that can be fuzzed.
 *
 * @module
 */
import { blockTarget } from "./devices/block.ts";
import { netTarget } from "./devices/net.ts";
import { rngTarget } from "./devices/rng.ts";
import { messages } from "./messages/mod.ts";
import { packedRace, splitRace } from "./race/mod.ts";
import { packedRing, splitRing } from "./ring/mod.ts";
import type { Target } from "./target.ts";

/** In the order in which `all` tries them. */
export const TARGETS: readonly Target[] = [
  messages,
  splitRing,
  packedRing,
  blockTarget,
  netTarget,
  rngTarget,
  splitRace,
  packedRace,
];

/**
 * The targets that `name` means: one, those that begin with it and a hyphen,
 * or all of them. None where it means nothing.
 */
export function targetsOf(name: string): readonly Target[] {
  if (name === "all") return TARGETS;
  return TARGETS.filter((target) =>
    target.name === name || target.name.startsWith(`${name}-`)
  );
}
