/**
 * Opens a ring of either kind.
 *
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";
import { PackedVirtqueue } from "./packed.ts";
import { SplitVirtqueue } from "./split.ts";
import type { Virtqueue, VirtqueueConfig } from "./virtqueue.ts";

/**
 * Opens the ring that `config` describes in `memory`.
 *
 * @throws {GuestError} Where its size, its alignment, its place or the state it
 * is to go on from is impossible.
 */
export function openVirtqueue(
  config: VirtqueueConfig,
  memory: GuestMemory,
): Virtqueue {
  return config.packed === true
    ? PackedVirtqueue.open(config, memory)
    : SplitVirtqueue.open(config, memory);
}
