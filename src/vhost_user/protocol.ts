/**
 * The numbers of the vhost-user protocol, in the spelling of its specification
 * (QEMU, docs/interop/vhost-user.rst): `VHOST_USER.SET_MEM_TABLE` is
 * `VHOST_USER_SET_MEM_TABLE` there.
 *
 * @module
 */

/** Bytes of the header: request, flags and payload size, 32 bits each. */
export const HEADER_SIZE = 12;

/** The protocol version, in bits 0 and 1 of the flags of a header. */
export const VHOST_USER_VERSION = 0x1;
/** The bits of the flags that hold the version. */
export const VHOST_USER_VERSION_MASK = 0x3;
/** Set on every reply. */
export const VHOST_USER_REPLY_MASK = 0x4;
/** Asks for an acknowledgement, see REPLY_ACK. */
export const VHOST_USER_NEED_REPLY_MASK = 0x8;

/** Bits 0 to 7 of SET_VRING_KICK, CALL and ERR: the vring. */
export const VHOST_USER_VRING_IDX_MASK = 0xff;
/** Bit 8 of SET_VRING_KICK, CALL and ERR: no descriptor comes along. */
export const VHOST_USER_VRING_NOFD_MASK = 0x100;

/** Regions that one SET_MEM_TABLE can carry. */
export const VHOST_MEMORY_BASELINE_NREGIONS = 8;
/** Memory slots in all, as QEMU and rust-vmm cap them. */
export const MAX_MEM_SLOTS = 509;
/** Bytes of the config space that one message can carry. */
export const VHOST_USER_MAX_CONFIG_SIZE = 256;
/** Bytes that the state of a device may have on its way into a back-end. */
export const MAX_DEVICE_STATE_SIZE: number = 16 << 20;
/** Which way the state of a device goes, in SET_DEVICE_STATE_FD. */
export const DEVICE_STATE_DIRECTION = { SAVE: 0, LOAD: 1 } as const;
/** The only phase of a migration that there is: all rings are stopped. */
export const DEVICE_STATE_PHASE_STOPPED = 0;
/** Bits 0 to 7 of the answer to SET_DEVICE_STATE_FD: an error. */
export const DEVICE_STATE_ERROR_MASK = 0xff;
/** Bit 8 of the same: no descriptor comes along, the front-end's is used. */
export const DEVICE_STATE_NOFD_MASK = 0x100;
/** No payload of the protocol is larger; what claims to be ends the session. */
export const MAX_PAYLOAD_SIZE = 4096;

/** Bit 0 of the flags of SET_VRING_ADDR: writes of the used ring are logged. */
export const VHOST_VRING_F_LOG = 0x1;

/** Virtio feature bit 26: writes to guest memory are logged. */
export const VHOST_F_LOG_ALL: bigint = 1n << 26n;
/** Virtio feature bit 33: the device reaches memory through an IOMMU. */
export const VIRTIO_F_ACCESS_PLATFORM: bigint = 1n << 33n;
/** Virtio feature bit 34: the rings are packed (virtio 1.3 §2.8). */
export const VIRTIO_F_RING_PACKED: bigint = 1n << 34n;
/** Virtio feature bit 35: requests are given back in their order. */
export const VIRTIO_F_IN_ORDER: bigint = 1n << 35n;
/** Virtio feature bit 30: the protocol features can be negotiated. */
export const VHOST_USER_F_PROTOCOL_FEATURES: bigint = 1n << 30n;

/** The requests of a front-end, by the specification's name. */
export const VHOST_USER = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  RESET_OWNER: 4,
  SET_MEM_TABLE: 5,
  SET_LOG_BASE: 6,
  SET_LOG_FD: 7,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SEND_RARP: 19,
  NET_SET_MTU: 20,
  SET_BACKEND_REQ_FD: 21,
  IOTLB_MSG: 22,
  SET_VRING_ENDIAN: 23,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  CREATE_CRYPTO_SESSION: 26,
  CLOSE_CRYPTO_SESSION: 27,
  POSTCOPY_ADVISE: 28,
  POSTCOPY_LISTEN: 29,
  POSTCOPY_END: 30,
  GET_INFLIGHT_FD: 31,
  SET_INFLIGHT_FD: 32,
  GPU_SET_SOCKET: 33,
  RESET_DEVICE: 34,
  VRING_KICK: 35,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_STATUS: 39,
  GET_STATUS: 40,
  GET_SHARED_OBJECT: 41,
  SET_DEVICE_STATE_FD: 42,
  CHECK_DEVICE_STATE: 43,
  GET_SHMEM_CONFIG: 44,
  GET_VRING_BASE_SKIP_DRAIN: 45,
} as const;

/** The requests of a back-end, on the socket of SET_BACKEND_REQ_FD. */
export const VHOST_USER_BACKEND = {
  IOTLB_MSG: 1,
  CONFIG_CHANGE_MSG: 2,
  VRING_HOST_NOTIFIER_MSG: 3,
  VRING_CALL: 4,
  VRING_ERR: 5,
  SHARED_OBJECT_ADD: 6,
  SHARED_OBJECT_REMOVE: 7,
  SHARED_OBJECT_LOOKUP: 8,
  SHMEM_MAP: 9,
  SHMEM_UNMAP: 10,
} as const;

/**
 * The protocol features, as bit numbers. crosvm and the rust-vmm crates have
 * used 21 and 22 for other things: offer those two only where asked to.
 */
export const VHOST_USER_PROTOCOL_F = {
  MQ: 0,
  LOG_SHMFD: 1,
  RARP: 2,
  REPLY_ACK: 3,
  NET_MTU: 4,
  BACKEND_REQ: 5,
  CROSS_ENDIAN: 6,
  CRYPTO_SESSION: 7,
  PAGEFAULT: 8,
  CONFIG: 9,
  BACKEND_SEND_FD: 10,
  HOST_NOTIFIER: 11,
  INFLIGHT_SHMFD: 12,
  RESET_DEVICE: 13,
  INBAND_NOTIFICATIONS: 14,
  CONFIGURE_MEM_SLOTS: 15,
  STATUS: 16,
  XEN_MMAP: 17,
  SHARED_OBJECT: 18,
  DEVICE_STATE: 19,
  GET_VRING_BASE_INFLIGHT: 20,
  GPA_ADDRESSES: 21,
  SHMEM: 22,
  GET_VRING_BASE_SKIP_DRAIN: 23,
} as const;

/**
 * The bit of protocol feature number `feature`.
 *
 * @example What GET_PROTOCOL_FEATURES has for REPLY_ACK
 * ```ts
 * import { protocolBit, VHOST_USER_PROTOCOL_F } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(protocolBit(VHOST_USER_PROTOCOL_F.REPLY_ACK), 8n);
 * ```
 */
export function protocolBit(feature: number): bigint {
  return 1n << BigInt(feature);
}

/**
 * The bits of the protocol features with the numbers `features`.
 *
 * @example Two of them
 * ```ts
 * import { protocolBits, VHOST_USER_PROTOCOL_F } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const { MQ, CONFIG } = VHOST_USER_PROTOCOL_F;
 * assertEquals(protocolBits([MQ, CONFIG]), 0x201n);
 * ```
 */
export function protocolBits(features: readonly number[]): bigint {
  return features.reduce((bits, feature) => bits | protocolBit(feature), 0n);
}

const requestNames = namesOf(VHOST_USER);
const backendRequestNames = namesOf(VHOST_USER_BACKEND);

/**
 * The name of a front-end's request, or "request N" where N has none.
 *
 * @example For a log
 * ```ts
 * import { requestName } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([5, 2000].map(requestName), ["SET_MEM_TABLE", "request 2000"]);
 * ```
 */
export function requestName(request: number): string {
  return requestNames.get(request) ?? `request ${request}`;
}

/**
 * The name of a back-end's request, or "back-end request N".
 *
 * @example For a log
 * ```ts
 * import { backendRequestName } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(backendRequestName(2), "CONFIG_CHANGE_MSG");
 * ```
 */
export function backendRequestName(request: number): string {
  return backendRequestNames.get(request) ?? `back-end request ${request}`;
}

function namesOf(numbers: Record<string, number>): Map<number, string> {
  return new Map(Object.entries(numbers).map(([name, n]) => [n, name]));
}
