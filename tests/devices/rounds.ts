/**
 * Rounds of requests with marks between them, for tests that look at what V8
 * prints in each.
 *
 * @module
 */

/** A line before the first round and after each. */
export const MARK = "-- mark --";
/** How many rounds. */
export const ROUNDS = 4;

/** Runs the rounds of `count` requests each, marked on standard output. */
export function measureRounds(
  name: string,
  count: number,
  run: () => void,
): void {
  // With --expose-gc, so that what comes now is from now.
  (globalThis as { gc?: () => void }).gc?.();
  console.log(MARK);
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    run();
    const ns = (performance.now() - start) * 1e6 / count;
    console.log(MARK);
    console.error(`${name}: ${ns.toFixed(0)} ns a request`);
  }
}
