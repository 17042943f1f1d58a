/**
 * The device side of virtqueues: rings, the chains that are popped from them,
 * and cursors over what a chain holds.
 *
 * @module
 */
export { IovecList } from "../io/iovec.ts";
export { GuestMemory, type MemoryLayout } from "../memory/guest_memory.ts";
export { Region, type RegionLayout } from "../memory/region.ts";
export { Chain } from "./chain.ts";
export { Cursor } from "./cursor.ts";
export * from "./layout.ts";
export { openVirtqueue } from "./open.ts";
export { PackedVirtqueue } from "./packed.ts";
export { RING_START, RING_WRAP } from "./packed_state.ts";
export { Reader } from "./reader.ts";
export { Segments } from "./segments.ts";
export { SplitVirtqueue } from "./split.ts";
export type { Virtqueue, VirtqueueConfig } from "./virtqueue.ts";
export { Writer } from "./writer.ts";
export { DirtyLog, type LogArea } from "../memory/dirty_log.ts";
export { Iotlb, IOTLB_READ, IOTLB_WRITE } from "../memory/iotlb.ts";
export { IovaMemory } from "../memory/iova_memory.ts";
export type { InflightArea } from "./inflight.ts";
