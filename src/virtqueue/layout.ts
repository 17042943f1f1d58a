// Data plane: rings in memory.
/**
 * Constants keep the spelling of virtio 1.3 §2.7 and §2.8. Sizes and alignments are in
 * bytes; all fields are little-endian.
 *
 * @module
 */

/** The largest ring of either kind, in entries (§2.7, §2.8). */
export const QUEUE_SIZE_MAX = 32768;

/** The chain goes on at `next` (§2.7.5). */
export const VIRTQ_DESC_F_NEXT = 1;
/** The device writes the buffer (otherwise it reads it). */
export const VIRTQ_DESC_F_WRITE = 2;
/** The buffer holds a table of descriptors (§2.7.5.3). */
export const VIRTQ_DESC_F_INDIRECT = 4;
/** Of a packed ring: as the driver's wrap counter when it is made available. */
export const VIRTQ_DESC_F_AVAIL = 1 << 7;
/** Of a packed ring: as the device's wrap counter once it is used (§2.8.1). */
export const VIRTQ_DESC_F_USED = 1 << 15;

// Modes of the event suppression of a packed ring (§2.8.10).

/** Every notification is wanted. */
export const RING_EVENT_FLAGS_ENABLE = 0;
/** None is. */
export const RING_EVENT_FLAGS_DISABLE = 1;
/** The one for a certain descriptor is; only with EVENT_IDX. */
export const RING_EVENT_FLAGS_DESC = 2;
/** The bits that hold the mode. */
export const RING_EVENT_FLAGS_MASK = 3;

/** Bytes of each event area of a packed ring. */
export const EVENT_AREA_SIZE = 4;
/** Each starts at a multiple of this. */
export const EVENT_ALIGNMENT = 4;

/** The driver wants no calls; only without EVENT_IDX (§2.7.6). */
export const VIRTQ_AVAIL_F_NO_INTERRUPT = 1;
/** The device wants no kicks; only without EVENT_IDX (§2.7.8). */
export const VIRTQ_USED_F_NO_NOTIFY = 1;

/** Bytes of one descriptor: address, size, flags, next. */
export const DESCRIPTOR_SIZE = 16;
/** The descriptor table starts at a multiple of this (§2.7). */
export const DESCRIPTOR_ALIGNMENT = 16;
/** The available ring starts at a multiple of this. */
export const AVAIL_ALIGNMENT = 2;
/** The used ring starts at a multiple of this. */
export const USED_ALIGNMENT = 4;

// Fields of the two rings, as indexes into an array of 16-bit words.

/** `flags` of either ring. */
export const RING_FLAGS = 0;
/** `idx` of either ring. */
export const RING_INDEX = 1;
/** The first head of the available ring. */
export const AVAIL_RING = 2;
/** The first element of the used ring, in 32-bit words: `id`, then `len`. */
export const USED_RING_WORD = 1;

/**
 * Bytes of the descriptor table of a ring of `size` entries.
 *
 * @example A ring of 256
 * ```ts
 * import { descriptorAreaSize } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(descriptorAreaSize(256), 4096);
 * ```
 */
export function descriptorAreaSize(size: number): number {
  return DESCRIPTOR_SIZE * size;
}

/**
 * Bytes of the available ring, `used_event` only where it is negotiated.
 *
 * @example A ring of 256, with and without EVENT_IDX
 * ```ts
 * import { driverAreaSize } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([driverAreaSize(256, true), driverAreaSize(256, false)], [518, 516]);
 * ```
 */
export function driverAreaSize(size: number, eventIndex: boolean): number {
  return 4 + 2 * size + (eventIndex ? 2 : 0);
}

/**
 * Bytes of the used ring, `avail_event` only where it is negotiated.
 *
 * @example A ring of 256, with and without EVENT_IDX
 * ```ts
 * import { deviceAreaSize } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(
 *   [deviceAreaSize(256, true), deviceAreaSize(256, false)],
 *   [2054, 2052],
 * );
 * ```
 */
export function deviceAreaSize(size: number, eventIndex: boolean): number {
  return 4 + 8 * size + (eventIndex ? 2 : 0);
}

/**
 * Where `used_event` is in the available ring, in 16-bit words.
 *
 * @example The last word of the available ring
 * ```ts
 * import { driverAreaSize, usedEventIndex } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(2 * usedEventIndex(256), driverAreaSize(256, true) - 2);
 * ```
 */
export function usedEventIndex(size: number): number {
  return AVAIL_RING + size;
}

/**
 * Where `avail_event` is in the used ring, in 16-bit words.
 *
 * @example The last word of the used ring
 * ```ts
 * import { availEventIndex, deviceAreaSize } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(2 * availEventIndex(256), deviceAreaSize(256, true) - 2);
 * ```
 */
export function availEventIndex(size: number): number {
  return 2 + 4 * size;
}

/**
 * Whether `size` is one that a split ring can have.
 *
 * @example Powers of two
 * ```ts
 * import { isQueueSize } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([1, 256, 300, 65536].filter(isQueueSize), [1, 256]);
 * ```
 */
export function isQueueSize(size: number): boolean {
  return Number.isInteger(size) && size >= 1 && size <= QUEUE_SIZE_MAX &&
    (size & (size - 1)) === 0;
}

/**
 * Whether `size` is one that a packed ring can have.
 *
 * @example Any number up to the largest
 * ```ts
 * import { isPackedQueueSize } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([0, 1, 300, 65536].filter(isPackedQueueSize), [1, 300]);
 * ```
 */
export function isPackedQueueSize(size: number): boolean {
  return Number.isInteger(size) && size >= 1 && size <= QUEUE_SIZE_MAX;
}
