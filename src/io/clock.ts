// Data plane: what time it is, without an object for the answer.
/**
 * @module
 */
import { CLOCK_MONOTONIC } from "../ffi/abi.ts";
import { libc } from "../ffi/libc.ts";

/** Milliseconds that are told apart: they wrap around after this many. */
const WRAP = 2 ** 31;
/** struct timespec: seconds and nanoseconds, of 64 bits each. */
const time = new Int32Array(4);

/**
 * Milliseconds of the monotonic clock, modulo 2^31: a small integer, where
 * `performance.now()` allocates a number. Compare by `elapsed`.
 */
export function milliseconds(): number {
  libc.clockGettime(CLOCK_MONOTONIC, time);
  return (Math.imul(time[0]!, 1000) + (time[2]! / 1e6 | 0)) & (WRAP - 1);
}

/** Milliseconds from `since` to now, below 2^31. */
export function elapsed(since: number): number {
  return (milliseconds() - since) & (WRAP - 1);
}
