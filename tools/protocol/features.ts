/**
 * The protocol features, and the virtio features of rings and devices.
 *
 * @module
 */
import type { VHOST_USER_PROTOCOL_F } from "../../src/vhost_user/protocol.ts";
import { type Row, row } from "./row.ts";

const NOT_OFFERED = "protocol features that are not offered are refused";

/** By the name of a protocol feature. */
export const PROTOCOL_FEATURES: Record<
  keyof typeof VHOST_USER_PROTOCOL_F,
  Row
> = {
  MQ: row("", "yes device yes", "ENABLE is served for each ring without MQ"),
  LOG_SHMFD: row(
    "",
    "yes device yes",
    "[H14]",
    "the log has the pages that are written",
  ),
  RARP: row("net", "no no yes", "a device without MTU and RARP offers neither"),
  REPLY_ACK: row("", "yes yes yes", "[C55]"),
  NET_MTU: row(
    "net",
    "no no yes",
    "a device without MTU and RARP offers neither",
  ),
  BACKEND_REQ: row("", "yes device yes", "[H20]"),
  CROSS_ENDIAN: row(
    "legacy guests of another byte order",
    "no no no",
    NOT_OFFERED,
  ),
  CRYPTO_SESSION: row("no crypto device", "no no yes", NOT_OFFERED),
  PAGEFAULT: row(
    "[measured](decisions/0014-no-postcopy.md)",
    "yes feature no",
    NOT_OFFERED,
  ),
  CONFIG: row("", "device device block", "[C53]"),
  BACKEND_SEND_FD: row(
    "nothing is sent that has a descriptor",
    "yes device yes",
    "the offered features are those that are served",
  ),
  HOST_NOTIFIER: row(
    "[no page of hardware to kick](decisions/0017-no-host-notifier.md)",
    "yes no yes",
    NOT_OFFERED,
  ),
  INFLIGHT_SHMFD: row(
    "block, rng",
    "device no yes",
    "INFLIGHT_SHMFD is offered where requests may be run again",
  ),
  RESET_DEVICE: row("", "no device no", "[C60]"),
  INBAND_NOTIFICATIONS: row(
    "`--in-band` ([why](decisions/0015-in-band-notifications.md))",
    "device no no",
    "INBAND_NOTIFICATIONS is offered where the back-end wants it",
    "INBAND_NOTIFICATIONS without",
  ),
  CONFIGURE_MEM_SLOTS: row("", "yes device yes", "[C59]"),
  STATUS: row("", "no no yes", "the status is kept, and 0 is a reset"),
  XEN_MMAP: row(
    "Xen only",
    "no feature no",
    "XEN_MMAP: regions with its fields are refused",
  ),
  SHARED_OBJECT: row("no dma-bufs", "device device no", NOT_OFFERED),
  DEVICE_STATE: row(
    "block, net",
    "no device no",
    "a device without a state offers no DEVICE_STATE",
    "[C57]",
  ),
  GET_VRING_BASE_INFLIGHT: row(
    "[requests are done first](decisions/0019-rings-stop-drained.md)",
    "no no no",
    NOT_OFFERED,
  ),
  GPA_ADDRESSES: row(
    "other programs use this number differently",
    "no no no",
    NOT_OFFERED,
  ),
  SHMEM: row(
    "other programs use this number differently",
    "no device no",
    NOT_OFFERED,
  ),
  GET_VRING_BASE_SKIP_DRAIN: row(
    "in no released specification",
    "no no no",
    NOT_OFFERED,
  ),
};

/** A virtio feature: its bit, and what is said of it. */
export type FeatureRow = readonly [bit: number, name: string, row: Row];

const UNKNOWN = "features that were not offered are refused";

/** Of rings and the transport. */
export const RING_ROWS: readonly FeatureRow[] = [
  [24, "NOTIFY_ON_EMPTY", row("legacy", "yes device off", UNKNOWN)],
  [
    26,
    "LOG_ALL",
    row("", "yes device yes", "LOG_ALL may come before the log", "[H15]"),
  ],
  [27, "ANY_LAYOUT", row("legacy", "no device yes", UNKNOWN)],
  [28, "INDIRECT_DESC", row("", "yes device yes", "[C29]", "[C34]")],
  [29, "EVENT_IDX", row("", "yes device off", "[C36]", "[C38]")],
  [
    30,
    "PROTOCOL_FEATURES",
    row("", "yes device yes", "without bit 30 a ring starts enabled"),
  ],
  [
    32,
    "VERSION_1",
    row("", "yes device yes", "the offered features are those that are served"),
  ],
  [
    33,
    "ACCESS_PLATFORM",
    row(
      "`--iommu`",
      "no no no",
      "a disk behind an IOMMU is written and read",
    ),
  ],
  [
    34,
    "RING_PACKED",
    row("not with `--packed off`", "no no option", "[C80]", "[C83]", "[C84]"),
  ],
  [
    35,
    "IN_ORDER",
    row("`--in-order`", "no no no", "virtqueue in order", "holds back what is"),
  ],
  [36, "ORDER_PLATFORM", row("hardware only", "no no no", UNKNOWN)],
  [
    38,
    "NOTIFICATION_DATA",
    row(
      "kicks carry no data, the ring is looked at",
      "no no no",
      "NOTIFICATION_DATA makes no difference",
    ),
  ],
  [
    40,
    "RING_RESET",
    row(
      "[no request for it](decisions/0018-no-ring-reset.md)",
      "no no no",
      UNKNOWN,
    ),
  ],
];

/** Of disks. The crate has no disk of its own. */
export const BLOCK_ROWS: readonly FeatureRow[] = [
  [1, "SIZE_MAX", row("segments of any size", "yes - yes", "almost 4 GiB")],
  [2, "SEG_MAX", row("", "yes - yes", "more segments than the kernel takes")],
  [4, "GEOMETRY", row("of no use", "no - off", UNKNOWN)],
  [5, "RO", row("`--read-only`", "yes - yes", "[C63]")],
  [
    6,
    "BLK_SIZE",
    row("", "yes - yes", "configuration space tells of the disk"),
  ],
  [9, "FLUSH", row("", "yes - yes", "FLUSH takes no notice of the sector")],
  [
    10,
    "TOPOLOGY",
    row("", "yes - yes", "configuration space tells of the disk"),
  ],
  [
    11,
    "CONFIG_WCE",
    row("", "yes - off", "the driver switches the write cache"),
  ],
  [12, "MQ", row("", "device - yes", "two rings on one thread")],
  [13, "DISCARD", row("not read-only", "yes - yes", "[C64]")],
  [14, "WRITE_ZEROES", row("not read-only", "yes - yes", "[C64]")],
  [15, "LIFETIME", row("a file has none", "no - no", UNKNOWN)],
  [16, "SECURE_ERASE", row("a file can't promise it", "no - no", UNKNOWN)],
  [17, "ZONED", row("no zoned disks", "no - no", UNKNOWN)],
];

const OFFLOADED = "the kernel hands over what the driver negotiated";
const TAP = "`tap`, as the kernel can";
const CONTROL = "the front-end's own queue";
const FRONT = "no - -";

/** Of network cards. Neither the crate nor SPDK has one. */
export const NET_ROWS: readonly FeatureRow[] = [
  [0, "CSUM", row(TAP, FRONT, "a checksum lies within the frame", OFFLOADED)],
  [1, "GUEST_CSUM", row(TAP, FRONT, OFFLOADED)],
  [2, "CTRL_GUEST_OFFLOADS", row(CONTROL, FRONT, UNKNOWN)],
  [3, "MTU", row("", FRONT, "the configuration tells address, link")],
  [5, "MAC", row("", FRONT, "the configuration tells address, link")],
  [7, "GUEST_TSO4", row(TAP, FRONT, OFFLOADED)],
  [8, "GUEST_TSO6", row(TAP, FRONT, OFFLOADED)],
  [9, "GUEST_ECN", row(TAP, FRONT, OFFLOADED)],
  [10, "GUEST_UFO", row(TAP, FRONT, OFFLOADED)],
  [11, "HOST_TSO4", row(TAP, FRONT, "what is to be cut says how")],
  [12, "HOST_TSO6", row(TAP, FRONT, "what is to be cut says how")],
  [13, "HOST_ECN", row(TAP, FRONT, "what is to be cut says how")],
  [14, "HOST_UFO", row(TAP, FRONT, "what is to be cut says how")],
  [
    15,
    "MRG_RXBUF",
    row("", "yes - -", "loopback: frames come back swapped", "[H28]"),
  ],
  [16, "STATUS", row("", FRONT, "the configuration tells address, link")],
  [17, "CTRL_VQ", row(CONTROL, FRONT, UNKNOWN)],
  [18, "CTRL_RX", row(CONTROL, FRONT, UNKNOWN)],
  [19, "CTRL_VLAN", row(CONTROL, FRONT, UNKNOWN)],
  [21, "GUEST_ANNOUNCE", row(CONTROL, FRONT, UNKNOWN)],
  [22, "MQ", row("two pairs or more", FRONT, "two pairs keep to themselves")],
  [23, "CTRL_MAC_ADDR", row(CONTROL, FRONT, UNKNOWN)],
  [54, "GUEST_USO4", row(TAP, FRONT, OFFLOADED)],
  [55, "GUEST_USO6", row(TAP, FRONT, OFFLOADED)],
  [56, "HOST_USO", row(TAP, FRONT, "what is to be cut says how")],
  [57, "HASH_REPORT", row("no receive-side scaling", FRONT, UNKNOWN)],
  [60, "RSS", row("no receive-side scaling", FRONT, UNKNOWN)],
];
