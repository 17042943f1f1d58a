/**
 * Times the shapes on rings of one kind, in a process of its own: what V8 learns
 * of one kind must not slow the other.
 *
 *     ours.ts split|packed MILLISECONDS
 *
 * Prints a line a shape: its name, a tab, nanoseconds a chain. What the driver
 * costs, which is next to nothing for a split ring and two stores a chain for a
 * packed one, is measured too and taken off.
 *
 * @module
 */
import { shapes } from "./shapes.ts";

/** Rounds between two looks at the clock. */
const STRIDE = 64;
/** Parts of the time, the first of which warms. */
const PARTS = 6;

/** Nanoseconds a call of `run`. */
function each(run: () => void, milliseconds: number): number {
  const start = performance.now();
  let count = 0;
  while (performance.now() - start < milliseconds) {
    for (let i = 0; i < STRIDE; i++) run();
    count += STRIDE;
  }
  return (performance.now() - start) * 1e6 / count;
}

/** The best of some parts of the time. */
function best(run: () => void, milliseconds: number): number {
  let least = Infinity;
  for (let part = 0; part < PARTS; part++) {
    const nanoseconds = each(run, milliseconds / (PARTS - 1));
    if (part > 0) least = Math.min(least, nanoseconds);
  }
  return least;
}

const [kind, time] = Deno.args;
const milliseconds = Number(time);
const all = shapes(kind === "packed");
// All of them first, so that none is measured before the next one is known.
for (const { run } of all) each(run, milliseconds / PARTS);
const whole = all.map(({ run }) => best(run, milliseconds));
// Last: a ring whose driver goes on alone is of no use any more.
for (const [i, { name, chains, publish }] of all.entries()) {
  const driver = best(publish, milliseconds / 4);
  console.log(`${name}\t${((whole[i]! - driver) / chains).toFixed(3)}`);
}
