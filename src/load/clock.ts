// Data plane: nanoseconds of the monotonic clock, without an object for them.
/**
 * @module
 */
import { CLOCK_MONOTONIC } from "../ffi/abi.ts";
import { libc } from "../ffi/libc.ts";

const NANOSECONDS = 1_000_000_000;
/** struct timespec: seconds and nanoseconds, of 64 bits each. */
const time = new Int32Array(4);

/** Reads the clock, for `seconds`, `nanoseconds` and `since`. */
export function readClock(): void {
  libc.clockGettime(CLOCK_MONOTONIC, time);
}

/** The whole seconds that were read: small, as a host's uptime is. */
export function seconds(): number {
  return time[0]!;
}

/** The nanoseconds beyond them. */
export function nanoseconds(): number {
  return time[2]!;
}

/** Nanoseconds from a time that was read before to the one read last. */
export function since(startSeconds: number, startNanoseconds: number): number {
  return (time[0]! - startSeconds) * NANOSECONDS + time[2]! - startNanoseconds;
}

/** The same in milliseconds, fractions included, however long it is. */
export function millisecondsSince(
  startSeconds: number,
  startNanoseconds: number,
): number {
  return (time[0]! - startSeconds) * 1000 +
    (time[2]! - startNanoseconds) / 1e6;
}
