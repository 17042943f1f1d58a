/**
 * Laying out a ring of either kind.
 *
 * @module
 */
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
} from "../device/features.ts";
import type { DriverMemory } from "./driver_memory.ts";
import { PackedDriver } from "./packed_driver.ts";
import type { RingDriver } from "./ring_driver.ts";
import { SplitDriver } from "./split_driver.ts";

/** How {@linkcode openRing} lays a ring out. */
export interface RingOptions {
  /**
   * Where the ring starts: the available index of a split one, the position of
   * a packed one with its wrap counter in bit 15; else at its beginning.
   */
  base?: number;
  /** The region of the memory to lay the ring out in, else any. */
  region?: number;
}

/**
 * A ring of the kind that the negotiated `features` ask for.
 *
 * @example A ring of the kind that was agreed on
 * ```ts
 * import { VIRTIO_F_RING_PACKED } from "@ringside/ringside/device";
 * import { DriverMemory, openRing, PackedDriver } from "@ringside/ringside/testing";
 * import { assert, assertEquals } from "@std/assert";
 *
 * using memory = DriverMemory.plain(1 << 16);
 * const ring = openRing(memory, 8, VIRTIO_F_RING_PACKED);
 * assert(ring instanceof PackedDriver);
 * const address = memory.allocate(64);
 * ring.add([{ address, size: 64, writable: true }]);
 * assertEquals([ring.publish(), ring.freeCount], [true, 7]);
 * ```
 */
export function openRing(
  memory: DriverMemory,
  size: number,
  features: bigint,
  options: RingOptions = {},
): RingDriver {
  const negotiated = {
    ...options,
    eventIndex: (features & VIRTIO_F_EVENT_IDX) !== 0n,
    indirect: (features & VIRTIO_F_INDIRECT_DESC) !== 0n,
    inOrder: (features & VIRTIO_F_IN_ORDER) !== 0n,
  };
  return (features & VIRTIO_F_RING_PACKED) === 0n
    ? new SplitDriver(memory, size, negotiated)
    : new PackedDriver(memory, size, negotiated);
}
