// Data plane: where a packed ring goes on.
/**
 * The number that SET_VRING_BASE and GET_VRING_BASE carry for a packed ring
 * (vhost-user, "Ring state"): bits 0 to 14 are the position of the next
 * available descriptor, bit 15 its wrap counter, bits 16 to 30 and 31 those of
 * the next used one.
 *
 * @module
 */

/** The wrap counter beside a position. */
export const RING_WRAP = 0x8000;

/** Where a packed ring starts: both at 0, both wrap counters 1 (§2.8.1). */
export const RING_START = 0x8000_8000;

/**
 * `state` with both halves. DPDK's virtio-user sends the lower one only: with
 * nothing in flight the upper is the same.
 */
export function ringState(state: number): number {
  return state > 0xffff ? state : (state | state << 16) >>> 0;
}

/** Whether a ring of `size` entries can have `state`. */
export function isRingState(state: number, size: number): boolean {
  const position = RING_WRAP - 1;
  return Number.isInteger(state) && state >= 0 && state <= 0xffff_ffff &&
    (state & position) < size && ((state >>> 16) & position) < size;
}
