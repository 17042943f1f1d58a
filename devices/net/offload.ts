// Data plane: the header that a driver puts before a frame.
/**
 * The fields are the driver's word: each is checked against the frame and
 * against what was negotiated before the host sees it.
 *
 * @module
 */
import {
  ETHERNET_SIZE,
  HEADER_SIZE,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_TCPV6,
  VIRTIO_NET_HDR_GSO_UDP,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from "./protocol.ts";

// The HOST_* features that concern a header, as bits of one small number.
/** Partial checksums. */
export const ALLOW_CSUM = 1;
/** TCP over IPv4. */
export const ALLOW_TSO4 = 2;
/** TCP over IPv6. */
export const ALLOW_TSO6 = 4;
/** Congestion marks. */
export const ALLOW_ECN = 8;
/** UDP fragments. */
export const ALLOW_UFO = 16;
/** UDP datagrams. */
export const ALLOW_USO = 32;

/** The bits of flags and type that ask for anything: most headers have none. */
export const ASKS: number = VIRTIO_NET_HDR_F_NEEDS_CSUM | 0xff00;

/**
 * Checks the header in the first 12 bytes of `head`, which the driver can't
 * change any more, and clears what means nothing when sending. `size` is that
 * of the frame behind it, `allowed` the ALLOW_* bits that were negotiated.
 * False: the frame can't be sent.
 */
export function checkHeader(
  head: DataView,
  size: number,
  allowed: number,
): boolean {
  if ((head.getUint16(0, true) & ASKS) === 0) {
    head.setInt32(0, 0, true);
    head.setInt32(4, 0, true);
    head.setInt32(8, 0, true);
    return true;
  }
  const needsChecksum = (head.getUint8(0) & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0;
  const type = head.getUint8(1);
  head.setUint8(0, needsChecksum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0);
  head.setUint16(HEADER_SIZE - 2, 0, true);
  if (needsChecksum) {
    if ((allowed & ALLOW_CSUM) === 0) return false;
    const start = head.getUint16(6, true);
    const offset = head.getUint16(8, true);
    if (start < ETHERNET_SIZE || start + offset + 2 > size) return false;
  } else {
    head.setUint32(6, 0, true);
  }
  if (type === VIRTIO_NET_HDR_GSO_NONE) {
    head.setUint32(2, 0, true);
    return true;
  }
  // §5.1.6.2: a frame to be cut has its checksum to be completed.
  if (!needsChecksum || !isAllowed(type, allowed)) return false;
  if (head.getUint16(4, true) === 0) return false;
  // `hdr_len` is a hint, but the kernel insists that the frame has as much.
  if (head.getUint16(2, true) > size) head.setUint16(2, size, true);
  return true;
}

function isAllowed(type: number, allowed: number): boolean {
  const hasMarks = (type & VIRTIO_NET_HDR_GSO_ECN) !== 0;
  switch (type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
      return (allowed & ALLOW_TSO4) !== 0 &&
        (!hasMarks || (allowed & ALLOW_ECN) !== 0);
    case VIRTIO_NET_HDR_GSO_TCPV6:
      return (allowed & ALLOW_TSO6) !== 0 &&
        (!hasMarks || (allowed & ALLOW_ECN) !== 0);
    case VIRTIO_NET_HDR_GSO_UDP:
      return (allowed & ALLOW_UFO) !== 0 && !hasMarks;
    case VIRTIO_NET_HDR_GSO_UDP_L4:
      return (allowed & ALLOW_USO) !== 0 && !hasMarks;
    default:
      return false;
  }
}
