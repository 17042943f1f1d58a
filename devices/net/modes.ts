/**
 * From negotiated features to what the data side does.
 *
 * @module
 */
import {
  ALLOW_CSUM,
  ALLOW_ECN,
  ALLOW_TSO4,
  ALLOW_TSO6,
  ALLOW_UFO,
  ALLOW_USO,
} from "./offload.ts";
import {
  ETHERNET_SIZE,
  FRAME_MAX,
  VIRTIO_NET_F_CSUM,
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_GUEST_UFO,
  VIRTIO_NET_F_GUEST_USO4,
  VIRTIO_NET_F_GUEST_USO6,
  VIRTIO_NET_F_HOST_ECN,
  VIRTIO_NET_F_HOST_TSO4,
  VIRTIO_NET_F_HOST_TSO6,
  VIRTIO_NET_F_HOST_UFO,
  VIRTIO_NET_F_HOST_USO,
  VIRTIO_NET_F_MRG_RXBUF,
} from "./protocol.ts";
import type { NetModes } from "./queue.ts";

const ALLOWED: readonly (readonly [feature: bigint, bit: number])[] = [
  [VIRTIO_NET_F_CSUM, ALLOW_CSUM],
  [VIRTIO_NET_F_HOST_TSO4, ALLOW_TSO4],
  [VIRTIO_NET_F_HOST_TSO6, ALLOW_TSO6],
  [VIRTIO_NET_F_HOST_ECN, ALLOW_ECN],
  [VIRTIO_NET_F_HOST_UFO, ALLOW_UFO],
  [VIRTIO_NET_F_HOST_USO, ALLOW_USO],
];

/** With any of these the host hands over frames larger than the MTU. */
const LARGE = VIRTIO_NET_F_GUEST_TSO4 | VIRTIO_NET_F_GUEST_TSO6 |
  VIRTIO_NET_F_GUEST_UFO | VIRTIO_NET_F_GUEST_USO4 | VIRTIO_NET_F_GUEST_USO6;

/** What `features` mean to a device whose network has this MTU. */
export function modesOf(features: bigint, mtu: number): NetModes {
  const has = (feature: bigint) => (features & feature) !== 0n;
  let allowed = 0;
  for (const [feature, bit] of ALLOWED) if (has(feature)) allowed |= bit;
  return {
    mergeable: has(VIRTIO_NET_F_MRG_RXBUF),
    checksums: has(VIRTIO_NET_F_GUEST_CSUM),
    allowed,
    // With a VLAN tag.
    frameSize: has(LARGE) ? FRAME_MAX : mtu + ETHERNET_SIZE + 4,
  };
}
