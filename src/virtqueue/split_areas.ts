// Data plane: the parts of a split ring in memory.
/**
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";
import { findArea, viewOf, words16 } from "./area.ts";
import * as layout from "./layout.ts";
import type { VirtqueueConfig } from "./virtqueue.ts";

/** Views of the three areas, small and made once. */
export interface SplitAreas {
  /** The descriptor table (virtio 1.3 §2.7.5). */
  readonly descriptors: DataView;
  /** The available ring (§2.7.6). */
  readonly avail: Uint16Array;
  /** The used ring (§2.7.8). */
  readonly used: Uint16Array;
  /** The same by 32-bit words, up to its last element. */
  readonly usedElements: Uint32Array;
}

/** Finds the areas that `config` describes in `memory`, or says why not. */
export function findSplitAreas(
  config: VirtqueueConfig,
  memory: GuestMemory,
): SplitAreas | string {
  const { index, size, eventIndex } = config;
  const table = findArea(
    memory,
    `descriptor table of ring ${index}`,
    config.descriptorArea,
    layout.descriptorAreaSize(size),
    layout.DESCRIPTOR_ALIGNMENT,
  );
  if (typeof table === "string") return table;
  const avail = findArea(
    memory,
    `available ring of ring ${index}`,
    config.driverArea,
    layout.driverAreaSize(size, eventIndex),
    layout.AVAIL_ALIGNMENT,
  );
  if (typeof avail === "string") return avail;
  const used = findArea(
    memory,
    `used ring of ring ${index}`,
    config.deviceArea,
    layout.deviceAreaSize(size, eventIndex),
    layout.USED_ALIGNMENT,
  );
  if (typeof used === "string") return used;
  const { buffer, byteOffset } = used;
  return {
    descriptors: viewOf(table),
    avail: words16(avail),
    used: words16(used),
    usedElements: new Uint32Array(buffer, byteOffset, 1 + 2 * size),
  };
}
