/**
 * What the timers of the runtime can.
 *
 * @module
 */

/**
 * The longest that a timer can run, in milliseconds: more than 24 days. One of
 * more than that would be over at once.
 */
export const TIMER_MAX_MS: number = 2 ** 31 - 1;
