/**
 * Names and numbers of the network device, virtio 1.3 §5.1, as the
 * specification spells them.
 *
 * @module
 */
import type { FeatureNames } from "../../src/device/features.ts";

/** The device id, §5. */
export const VIRTIO_ID_NET = 1;

// Feature bits, §5.1.3
/** The device takes frames whose checksum is partial. */
export const VIRTIO_NET_F_CSUM = 1n << 0n;
/** The driver takes frames whose checksum is partial. */
export const VIRTIO_NET_F_GUEST_CSUM = 1n << 1n;
/** The MTU is in the configuration. */
export const VIRTIO_NET_F_MTU = 1n << 3n;
/** The MAC address is in the configuration. */
export const VIRTIO_NET_F_MAC = 1n << 5n;
/** The driver takes TCP segments over IPv4 that are to be cut. */
export const VIRTIO_NET_F_GUEST_TSO4 = 1n << 7n;
/** The same over IPv6. */
export const VIRTIO_NET_F_GUEST_TSO6 = 1n << 8n;
/** The same with congestion marks. */
export const VIRTIO_NET_F_GUEST_ECN = 1n << 9n;
/** The driver takes UDP datagrams that are to be fragmented. */
export const VIRTIO_NET_F_GUEST_UFO = 1n << 10n;
/** The device takes TCP segments over IPv4 that are to be cut. */
export const VIRTIO_NET_F_HOST_TSO4 = 1n << 11n;
/** The same over IPv6. */
export const VIRTIO_NET_F_HOST_TSO6 = 1n << 12n;
/** The same with congestion marks. */
export const VIRTIO_NET_F_HOST_ECN = 1n << 13n;
/** The device takes UDP datagrams that are to be fragmented. */
export const VIRTIO_NET_F_HOST_UFO = 1n << 14n;
/** A received frame may be spread over several buffers. */
export const VIRTIO_NET_F_MRG_RXBUF = 1n << 15n;
/** The state of the link is in the configuration. */
export const VIRTIO_NET_F_STATUS = 1n << 16n;
/** More than one queue pair. */
export const VIRTIO_NET_F_MQ = 1n << 22n;
/** The driver takes runs of UDP datagrams over IPv4 that are to be cut. */
export const VIRTIO_NET_F_GUEST_USO4 = 1n << 54n;
/** The same over IPv6. */
export const VIRTIO_NET_F_GUEST_USO6 = 1n << 55n;
/** The device takes runs of UDP datagrams that are to be cut. */
export const VIRTIO_NET_F_HOST_USO = 1n << 56n;
/** All of them by name. */
export const FEATURE_NAMES: FeatureNames = {
  CSUM: VIRTIO_NET_F_CSUM,
  GUEST_CSUM: VIRTIO_NET_F_GUEST_CSUM,
  MTU: VIRTIO_NET_F_MTU,
  MAC: VIRTIO_NET_F_MAC,
  GUEST_TSO4: VIRTIO_NET_F_GUEST_TSO4,
  GUEST_TSO6: VIRTIO_NET_F_GUEST_TSO6,
  GUEST_ECN: VIRTIO_NET_F_GUEST_ECN,
  GUEST_UFO: VIRTIO_NET_F_GUEST_UFO,
  HOST_TSO4: VIRTIO_NET_F_HOST_TSO4,
  HOST_TSO6: VIRTIO_NET_F_HOST_TSO6,
  HOST_ECN: VIRTIO_NET_F_HOST_ECN,
  HOST_UFO: VIRTIO_NET_F_HOST_UFO,
  MRG_RXBUF: VIRTIO_NET_F_MRG_RXBUF,
  STATUS: VIRTIO_NET_F_STATUS,
  MQ: VIRTIO_NET_F_MQ,
  GUEST_USO4: VIRTIO_NET_F_GUEST_USO4,
  GUEST_USO6: VIRTIO_NET_F_GUEST_USO6,
  HOST_USO: VIRTIO_NET_F_HOST_USO,
};

/** The one bit of `status` in the configuration: the link is up. */
export const VIRTIO_NET_S_LINK_UP = 1;

/** Bytes of `struct virtio_net_hdr` before each frame, §5.1.6. */
export const HEADER_SIZE = 12;
/** Where `num_buffers` is in it, 16 bits. */
export const NUM_BUFFERS = 10;
/** The checksum is partial: from `csum_start`, to be put at `csum_offset`. */
export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
/** The frame is whole. */
export const VIRTIO_NET_HDR_GSO_NONE = 0;
/** The frame is TCP over IPv4, to be cut. */
export const VIRTIO_NET_HDR_GSO_TCPV4 = 1;
/** The frame is UDP, to be fragmented. */
export const VIRTIO_NET_HDR_GSO_UDP = 3;
/** The frame is TCP over IPv6, to be cut. */
export const VIRTIO_NET_HDR_GSO_TCPV6 = 4;
/** The frame is UDP, to be cut into datagrams. */
export const VIRTIO_NET_HDR_GSO_UDP_L4 = 5;
/** With a type for TCP: there are congestion marks. */
export const VIRTIO_NET_HDR_GSO_ECN = 0x80;

/** Bytes of the Ethernet header: two addresses and a type. */
export const ETHERNET_SIZE = 14;
/** The largest frame: an IP packet of 65535 bytes in a tagged Ethernet frame. */
export const FRAME_MAX = 65535 + ETHERNET_SIZE + 4;
/** The smallest MTU, §5.1.4. */
export const MTU_MIN = 68;
/** The largest one. */
export const MTU_MAX = 65535;
