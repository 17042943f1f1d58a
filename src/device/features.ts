/**
 * Feature bits of the ring and the transport, virtio 1.3 §6.
 *
 * @module
 */

/** The device may ask for no notifications when it ran out of buffers (legacy). */
export const VIRTIO_F_NOTIFY_ON_EMPTY = 1n << 24n;
/** Descriptors in any layout (legacy; implied by VERSION_1). */
export const VIRTIO_F_ANY_LAYOUT = 1n << 27n;
/** Descriptors that refer to tables of descriptors, §2.7.5.3. */
export const VIRTIO_F_INDIRECT_DESC = 1n << 28n;
/** Notifications asked for by index, §2.7.7 and §2.7.10. */
export const VIRTIO_F_EVENT_IDX = 1n << 29n;
/** vhost-user has protocol features. Belongs to the session, not to virtio. */
export const VHOST_USER_F_PROTOCOL_FEATURES = 1n << 30n;
/** Not a legacy device, §6.1. */
export const VIRTIO_F_VERSION_1 = 1n << 32n;
/** The device reaches memory through an IOMMU. */
export const VIRTIO_F_ACCESS_PLATFORM = 1n << 33n;
/** Packed virtqueues, §2.8. */
export const VIRTIO_F_RING_PACKED = 1n << 34n;
/** Buffers are used in the order in which they were made available. */
export const VIRTIO_F_IN_ORDER = 1n << 35n;
/** Memory is ordered as by the platform. */
export const VIRTIO_F_ORDER_PLATFORM = 1n << 36n;
/**
 * Kicks carry the available index. Those of vhost-user are eventfds, which carry
 * nothing: the device looks at the ring, as ever, and any driver may have this.
 */
export const VIRTIO_F_NOTIFICATION_DATA = 1n << 38n;
/** A virtqueue can be reset alone. */
export const VIRTIO_F_RING_RESET = 1n << 40n;
/** vhost: log the pages that are written (live migration). */
export const VHOST_F_LOG_ALL = 1n << 26n;

/** What the house offers for every device: the virtqueues serve these. */
export const RING_FEATURES: bigint = VIRTIO_F_VERSION_1 |
  VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED |
  VIRTIO_F_NOTIFICATION_DATA;

const NAMES: readonly (readonly [bigint, string])[] = [
  [VIRTIO_F_NOTIFY_ON_EMPTY, "NOTIFY_ON_EMPTY"],
  [VHOST_F_LOG_ALL, "LOG_ALL"],
  [VIRTIO_F_ANY_LAYOUT, "ANY_LAYOUT"],
  [VIRTIO_F_INDIRECT_DESC, "INDIRECT_DESC"],
  [VIRTIO_F_EVENT_IDX, "EVENT_IDX"],
  [VHOST_USER_F_PROTOCOL_FEATURES, "PROTOCOL_FEATURES"],
  [VIRTIO_F_VERSION_1, "VERSION_1"],
  [VIRTIO_F_ACCESS_PLATFORM, "ACCESS_PLATFORM"],
  [VIRTIO_F_RING_PACKED, "RING_PACKED"],
  [VIRTIO_F_IN_ORDER, "IN_ORDER"],
  [VIRTIO_F_ORDER_PLATFORM, "ORDER_PLATFORM"],
  [VIRTIO_F_NOTIFICATION_DATA, "NOTIFICATION_DATA"],
  [VIRTIO_F_RING_RESET, "RING_RESET"],
];

/** Feature bits of a device by name, without the prefix that all share. */
export type FeatureNames = Readonly<Record<string, bigint>>;

/**
 * The bits of `features` by name, lowest first, for messages: ring and
 * transport bits and those of `own` as in the specification, all others as
 * `bit N`.
 *
 * @example Names, as far as there are any
 * ```ts
 * import { featureNames, VIRTIO_F_VERSION_1 } from "@ringside/ringside/device";
 * import { assertEquals } from "@std/assert";
 *
 * const features = VIRTIO_F_VERSION_1 | 3n;
 * const names = featureNames(features, { CSUM: 1n });
 * assertEquals(names, ["CSUM", "bit 1", "VERSION_1"]);
 * ```
 */
export function featureNames(
  features: bigint,
  own: FeatureNames = {},
): string[] {
  const all = new Map(NAMES);
  for (const [name, mask] of Object.entries(own)) all.set(mask, name);
  const names: string[] = [];
  for (let bit = 0n; bit < 64n; bit++) {
    const mask = 1n << bit;
    if ((features & mask) === 0n) continue;
    names.push(all.get(mask) ?? `bit ${bit}`);
  }
  return names;
}
