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
const STRIDE = 16;
/**
 * The time is cut into windows as short as a turn on the processor, and the best
 * one counts: what else the machine does is in the others.
 */
const WINDOW_MS = 2;
const WINDOWS_MIN = 16;

/** Nanoseconds a call of `run`. */
function each(run: () => void, milliseconds: number): number {
  const start = performance.now();
  let count = 0;
  let now = start;
  while (now - start < milliseconds) {
    for (let i = 0; i < STRIDE; i++) run();
    count += STRIDE;
    now = performance.now();
  }
  return (now - start) * 1e6 / count;
}

/** The best window, once a quarter of the time has gone to warm up. */
function best(run: () => void, milliseconds: number): number {
  each(run, milliseconds / 4);
  const start = performance.now();
  let least = Infinity;
  for (
    let i = 0;
    i < WINDOWS_MIN || performance.now() - start < milliseconds;
    i++
  ) {
    least = Math.min(least, each(run, WINDOW_MS));
  }
  return least;
}

const [kind, time] = Deno.args;
const milliseconds = Number(time);
const all = shapes(kind === "packed");
// All of them first, so that none is measured before the next one is known.
for (const { run } of all) each(run, milliseconds / 4);
const whole = all.map(({ run }) => best(run, milliseconds));
// Last: a ring whose driver goes on alone is of no use any more.
for (const [i, { name, chains, publish }] of all.entries()) {
  const driver = best(publish, milliseconds / 4);
  console.log(`${name}\t${((whole[i]! - driver) / chains).toFixed(3)}`);
}
