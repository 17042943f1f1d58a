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
 *
 * @example Both ends of a ring by hand
 * ```ts
 * import { DriverMemory, openRing } from "@ringside/ringside/testing";
 * import { openVirtqueue } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * const memory = DriverMemory.plain(1 << 16);
 * const driver = openRing(memory, 8, 0n);
 * const queue = openVirtqueue(driver.config(), memory.guestMemory());
 * const address = memory.allocate(4);
 * const head = driver.add([{ address, size: 4, writable: true }]);
 * driver.publish();
 * assertEquals(queue.pop(), true);
 * queue.chain.writer.writeU32(0x01020304);
 * queue.push(queue.chain.head, 4);
 * queue.flush();
 * assertEquals(driver.nextUsed(), { head, written: 4 });
 * assertEquals([...memory.read(address, 4)], [4, 3, 2, 1]);
 * ```
 */
export function openVirtqueue(
  config: VirtqueueConfig,
  memory: GuestMemory,
): Virtqueue {
  return config.packed === true
    ? PackedVirtqueue.open(config, memory)
    : SplitVirtqueue.open(config, memory);
}
