/**
 * What a session has to know of the two kinds of rings: how large they can be,
 * how much memory they take, and where they go on.
 *
 * @module
 */
import { splitInflightSize } from "../virtqueue/inflight.ts";
import * as layout from "../virtqueue/layout.ts";
import { packedInflightSize } from "../virtqueue/packed_inflight.ts";
import { isRingState, RING_START } from "../virtqueue/packed_state.ts";
import { VIRTIO_F_RING_PACKED } from "./protocol.ts";

/** A kind of ring. */
export interface RingKind {
  /** As messages call it. */
  readonly name: string;
  /** What its size has to be, for messages. */
  readonly sizes: string;
  /** Where a ring starts of which nothing was said. */
  readonly start: number;
  /** The alignment of the driver area in bytes. */
  readonly driverAlignment: number;
  /** Whether a ring can have `size` entries. */
  isSize(size: number): boolean;
  /** Whether a ring of `size` entries can go on at `base` (SET_VRING_BASE). */
  isBase(base: number, size: number): boolean;
  /** Bytes of the driver area of a ring of `size` entries. */
  driverSize(size: number): number;
  /** Bytes of the device area. */
  deviceSize(size: number): number;
  /** Bytes of the record of what is in flight. */
  inflightSize(size: number): number;
}

/** virtio 1.3 §2.7 */
export const SPLIT: RingKind = {
  name: "split",
  sizes: "a power of two",
  start: 0,
  driverAlignment: layout.AVAIL_ALIGNMENT,
  isSize: layout.isQueueSize,
  isBase: (base) => base <= 0xffff,
  driverSize: (size) => layout.driverAreaSize(size, true),
  deviceSize: (size) => layout.deviceAreaSize(size, true),
  inflightSize: splitInflightSize,
};

/** virtio 1.3 §2.8 */
export const PACKED: RingKind = {
  name: "packed",
  sizes: "any number",
  start: RING_START,
  driverAlignment: layout.EVENT_ALIGNMENT,
  isSize: layout.isPackedQueueSize,
  isBase: isRingState,
  driverSize: () => layout.EVENT_AREA_SIZE,
  deviceSize: () => layout.EVENT_AREA_SIZE,
  inflightSize: packedInflightSize,
};

/** The kind that `features` ask for. */
export function ringKind(features: bigint): RingKind {
  return (features & VIRTIO_F_RING_PACKED) === 0n ? SPLIT : PACKED;
}
