// Data plane: the parts of a packed ring in memory.
/**
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";
import { findArea, integers, viewOf } from "./area.ts";
import * as layout from "./layout.ts";
import type { VirtqueueConfig } from "./virtqueue.ts";

/** Views of the three areas, small and made once. */
export interface PackedAreas {
  /** The descriptor ring (virtio 1.3 §2.8.5). */
  readonly ring: DataView;
  /** The same by 32-bit words. */
  readonly descriptors: Int32Array;
  /** The driver event area (§2.8.10). */
  readonly driverEvent: Int32Array;
  /** The device event area. */
  readonly deviceEvent: Int32Array;
}

/** Finds the areas that `config` describes in `memory`, or says why not. */
export function findPackedAreas(
  config: VirtqueueConfig,
  memory: GuestMemory,
): PackedAreas | string {
  const { index, size } = config;
  const ring = findArea(
    memory,
    `descriptor ring of ring ${index}`,
    config.descriptorArea,
    layout.descriptorAreaSize(size),
    layout.DESCRIPTOR_ALIGNMENT,
  );
  if (typeof ring === "string") return ring;
  const driver = findArea(
    memory,
    `driver event area of ring ${index}`,
    config.driverArea,
    layout.EVENT_AREA_SIZE,
    layout.EVENT_ALIGNMENT,
  );
  if (typeof driver === "string") return driver;
  const device = findArea(
    memory,
    `device event area of ring ${index}`,
    config.deviceArea,
    layout.EVENT_AREA_SIZE,
    layout.EVENT_ALIGNMENT,
  );
  if (typeof device === "string") return device;
  return {
    ring: viewOf(ring),
    descriptors: integers(ring),
    driverEvent: integers(driver),
    deviceEvent: integers(device),
  };
}
