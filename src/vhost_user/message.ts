/**
 * The payloads of vhost-user, both directions, each named and laid out as in
 * the specification. Numbers are in host byte order: both ends share the host.
 *
 * Addresses and sizes are numbers; one of 2^53 or more arrives inexact and
 * above every limit, so that whoever checks it refuses it.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import { HEADER_SIZE } from "./protocol.ts";

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** The header of every message. */
export interface MessageHeader {
  /** The number of the request. */
  request: number;
  /** Version, REPLY and NEED_REPLY. */
  flags: number;
  /** Bytes of payload that follow. */
  size: number;
}

/** A 64-bit number: feature bits, counts, acknowledgements. */
export interface U64 {
  /** The number. */
  value: bigint;
}

/** A vring state description. */
export interface VringState {
  /** The vring. */
  index: number;
  /** Size, base or 0/1, by the request. */
  num: number;
}

/** A vring address description: user addresses. */
export interface VringAddress {
  /** The vring. */
  index: number;
  /** Bit 0: the used ring is logged. */
  flags: number;
  /** The descriptor table. */
  descriptor: number;
  /** The used ring; on the wire it comes before the available ring. */
  used: number;
  /** The available ring. */
  available: number;
  /** Where the used ring is logged, a guest address. */
  log: number;
}

/** A memory region description. */
export interface MemoryRegion {
  /** Where the guest sees the region. */
  guestAddress: number;
  /** Bytes. */
  size: number;
  /** Where the front-end sees the region. */
  userAddress: number;
  /** Where the region starts in its descriptor. */
  mmapOffset: number;
}

/** SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR. */
export interface VringFd {
  /** The vring: what is left of the 64 bits without bit 8. */
  index: bigint;
  /** Bit 8: no descriptor comes along. */
  noFd: boolean;
}

/** Virtio device config space: the fixed part; `size` bytes follow. */
export interface ConfigHeader {
  /** Where in the config space. */
  offset: number;
  /** Bytes. */
  size: number;
  /** 0: a write of the driver; 1: live migration. */
  flags: number;
}

/** Log description. */
export interface LogDescription {
  /** Bytes of the log. */
  size: number;
  /** Where the log starts in its descriptor. */
  offset: number;
}

/** An IOTLB message, padded to 32 bytes. */
export interface IotlbMessage {
  /** I/O virtual address. */
  iova: number;
  /** Bytes. */
  size: number;
  /** User address. */
  userAddress: number;
  /** 1: read, 2: write. */
  permissions: number;
  /** 1: miss, 2: update, 3: invalidate, 4: access fail. */
  type: number;
}

/** Vring area description. */
export interface VringArea {
  /** The vring and bit 8, as in {@linkcode VringFd}. */
  vring: bigint;
  /** Bytes. */
  size: number;
  /** Where the area starts in its descriptor. */
  offset: number;
}

/** Inflight description. */
export interface InflightDescription {
  /** Bytes of the area. */
  mmapSize: number;
  /** Where the area starts in its descriptor. */
  mmapOffset: number;
  /** Virtqueues. */
  queueCount: number;
  /** Entries of a virtqueue. */
  queueSize: number;
}

/** Device state transfer parameters. */
export interface DeviceStateTransfer {
  /** 0: save, 1: load. */
  direction: number;
  /** 0: stopped. */
  phase: number;
}

/** MMAP request: SHMEM_MAP and SHMEM_UNMAP. */
export interface SharedMemoryMap {
  /** The shared memory region. */
  id: number;
  /** Where the area starts in its descriptor. */
  fdOffset: number;
  /** Where the area starts in the region. */
  regionOffset: number;
  /** Bytes. */
  size: number;
  /** Bit 0: writable. */
  flags: bigint;
}

/** A payload of fixed size. */
export interface Payload<T> {
  /** Bytes. */
  readonly size: number;
  /** The bytes of `value`, padding zero. */
  encode(value: T): Uint8Array<ArrayBuffer>;
  /** The value in the first `size` of `bytes`; a ProtocolError where they are fewer. */
  decode(bytes: Uint8Array): T;
}

/** `address` and `u64` are 64 bits, as a number and as a bigint; `pad`s are skipped. */
type FieldType = "u8" | "u16" | "u32" | "u64" | "address" | "pad56" | "pad64";

/** One field: its name in `T`, or "" for padding, and its type. */
type Field<T> = readonly [keyof T & string | "", FieldType];

const FIELD_SIZE: Record<FieldType, number> = {
  u8: 1,
  u16: 2,
  u32: 4,
  u64: 8,
  address: 8,
  pad56: 7,
  pad64: 8,
};

function readField(
  view: DataView,
  type: FieldType,
  offset: number,
): number | bigint {
  switch (type) {
    case "u8":
      return view.getUint8(offset);
    case "u16":
      return view.getUint16(offset, LITTLE_ENDIAN);
    case "u32":
      return view.getUint32(offset, LITTLE_ENDIAN);
    case "u64":
      return view.getBigUint64(offset, LITTLE_ENDIAN);
    default:
      return Number(view.getBigUint64(offset, LITTLE_ENDIAN));
  }
}

function writeField(
  view: DataView,
  type: FieldType,
  offset: number,
  value: number | bigint,
): void {
  switch (type) {
    case "u8":
      return view.setUint8(offset, Number(value));
    case "u16":
      return view.setUint16(offset, Number(value), LITTLE_ENDIAN);
    case "u32":
      return view.setUint32(offset, Number(value), LITTLE_ENDIAN);
    default:
      return view.setBigUint64(offset, BigInt(value), LITTLE_ENDIAN);
  }
}

/** Lays `fields` out one after the other; `size` is larger where padding follows. */
function layout<T>(fields: readonly Field<T>[], size = 0): Payload<T> {
  const total = fields.reduce((sum, [, type]) => sum + FIELD_SIZE[type], 0);
  const whole = Math.max(total, size);
  return {
    size: whole,
    encode(value: T): Uint8Array<ArrayBuffer> {
      const bytes = new Uint8Array(whole);
      const view = new DataView(bytes.buffer);
      let offset = 0;
      for (const [name, type] of fields) {
        if (name !== "") {
          writeField(view, type, offset, value[name] as number | bigint);
        }
        offset += FIELD_SIZE[type];
      }
      return bytes;
    },
    decode(bytes: Uint8Array): T {
      if (bytes.length < whole) {
        throw new ProtocolError(
          `The payload has ${bytes.length} bytes, at least ${whole} are wanted`,
        );
      }
      const view = new DataView(bytes.buffer, bytes.byteOffset, whole);
      const value: Record<string, number | bigint> = {};
      let offset = 0;
      for (const [name, type] of fields) {
        if (name !== "") value[name] = readField(view, type, offset);
        offset += FIELD_SIZE[type];
      }
      return value as T;
    },
  };
}

/** The header of every message. */
export const header: Payload<MessageHeader> = layout<MessageHeader>([
  ["request", "u32"],
  ["flags", "u32"],
  ["size", "u32"],
]);

/** A single 64-bit integer. */
export const u64: Payload<U64> = layout<U64>([["value", "u64"]]);

/** SET_VRING_NUM, BASE, ENABLE, ENDIAN, GET_VRING_BASE, VRING_KICK. */
export const vringState: Payload<VringState> = layout<VringState>([
  ["index", "u32"],
  ["num", "u32"],
]);

/** SET_VRING_ADDR. */
export const vringAddress: Payload<VringAddress> = layout<VringAddress>([
  ["index", "u32"],
  ["flags", "u32"],
  ["descriptor", "address"],
  ["used", "address"],
  ["available", "address"],
  ["log", "address"],
]);

/** One region of SET_MEM_TABLE. */
export const memoryRegion: Payload<MemoryRegion> = layout<MemoryRegion>([
  ["guestAddress", "address"],
  ["size", "address"],
  ["userAddress", "address"],
  ["mmapOffset", "address"],
]);

/** ADD_MEM_REG and REM_MEM_REG: padding and one region. */
export const singleMemoryRegion: Payload<MemoryRegion> = layout<MemoryRegion>([
  ["", "pad64"],
  ["guestAddress", "address"],
  ["size", "address"],
  ["userAddress", "address"],
  ["mmapOffset", "address"],
]);

/** GET_CONFIG and SET_CONFIG without the bytes that follow. */
export const configHeader: Payload<ConfigHeader> = layout<ConfigHeader>([
  ["offset", "u32"],
  ["size", "u32"],
  ["flags", "u32"],
]);

/** SET_LOG_BASE. */
export const logDescription: Payload<LogDescription> = layout<LogDescription>([
  ["size", "address"],
  ["offset", "address"],
]);

/** IOTLB_MSG in both directions. */
export const iotlbMessage: Payload<IotlbMessage> = layout<IotlbMessage>([
  ["iova", "address"],
  ["size", "address"],
  ["userAddress", "address"],
  ["permissions", "u8"],
  ["type", "u8"],
], 32);

/** VRING_HOST_NOTIFIER_MSG. */
export const vringArea: Payload<VringArea> = layout<VringArea>([
  ["vring", "u64"],
  ["size", "address"],
  ["offset", "address"],
]);

/** GET_INFLIGHT_FD and SET_INFLIGHT_FD, padded as the C structure is. */
export const inflightDescription: Payload<InflightDescription> = layout<
  InflightDescription
>([
  ["mmapSize", "address"],
  ["mmapOffset", "address"],
  ["queueCount", "u16"],
  ["queueSize", "u16"],
], 24);

/** SET_DEVICE_STATE_FD. */
export const deviceStateTransfer: Payload<DeviceStateTransfer> = layout<
  DeviceStateTransfer
>([
  ["direction", "u32"],
  ["phase", "u32"],
]);

/** SHMEM_MAP and SHMEM_UNMAP of a back-end. */
export const sharedMemoryMap: Payload<SharedMemoryMap> = layout<
  SharedMemoryMap
>([
  ["id", "u8"],
  ["", "pad56"],
  ["fdOffset", "address"],
  ["regionOffset", "address"],
  ["size", "address"],
  ["flags", "u64"],
]);

/** GET_SHARED_OBJECT and the SHARED_OBJECT requests of a back-end: a UUID. */
export const SHARED_OBJECT_SIZE = 16;
/** GET_SHMEM_CONFIG: a count, padding and the sizes of 256 regions. */
export const SHMEM_CONFIG_SIZE: number = 8 + 256 * 8;
/** SET_MEM_TABLE before its regions: a count and padding. */
export const MEMORY_TABLE_HEADER_SIZE = 8;

/** SET_VRING_KICK, CALL and ERR. */
export const vringFd: Payload<VringFd> = {
  size: u64.size,
  encode({ index, noFd }: VringFd): Uint8Array<ArrayBuffer> {
    return u64.encode({ value: index | (noFd ? 0x100n : 0n) });
  },
  decode(bytes: Uint8Array): VringFd {
    const { value } = u64.decode(bytes);
    return { index: value & ~0x100n, noFd: (value & 0x100n) !== 0n };
  },
};

/**
 * The bytes of SET_MEM_TABLE.
 *
 * @example One region
 * ```ts
 * import { encodeMemoryTable } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const region = {
 *   guestAddress: 0x10_0000,
 *   size: 4096,
 *   userAddress: 0x7000_0000,
 *   mmapOffset: 0,
 * };
 * const bytes = encodeMemoryTable([region]);
 * assertEquals([bytes.length, bytes[0], bytes[10]], [40, 1, 0x10]);
 * ```
 */
export function encodeMemoryTable(
  regions: readonly MemoryRegion[],
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(
    MEMORY_TABLE_HEADER_SIZE + regions.length * memoryRegion.size,
  );
  new DataView(bytes.buffer).setUint32(0, regions.length, LITTLE_ENDIAN);
  regions.forEach((region, i) => {
    const offset = MEMORY_TABLE_HEADER_SIZE + i * memoryRegion.size;
    bytes.set(memoryRegion.encode(region), offset);
  });
  return bytes;
}

/**
 * The regions of SET_MEM_TABLE; their count must be what the size says. There
 * may be room for more, of zeros: User Mode Linux always sends room for two.
 *
 * @example There and back
 * ```ts
 * import { decodeMemoryTable, encodeMemoryTable } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const region = {
 *   guestAddress: 0x10_0000,
 *   size: 4096,
 *   userAddress: 0x7000_0000,
 *   mmapOffset: 0,
 * };
 * assertEquals(decodeMemoryTable(encodeMemoryTable([region])), [region]);
 * ```
 */
export function decodeMemoryTable(bytes: Uint8Array): MemoryRegion[] {
  const { index: count } = vringState.decode(bytes);
  const wanted = MEMORY_TABLE_HEADER_SIZE + count * memoryRegion.size;
  const room = bytes.length - wanted;
  const isBlank = () => bytes.subarray(wanted).every((byte) => byte === 0);
  if (room < 0 || room % memoryRegion.size !== 0 || !isBlank()) {
    throw new ProtocolError(
      `The memory table names ${count} regions in ${bytes.length} bytes, ` +
        `${wanted} are wanted`,
    );
  }
  return Array.from({ length: count }, (_, i) => {
    const offset = MEMORY_TABLE_HEADER_SIZE + i * memoryRegion.size;
    return memoryRegion.decode(bytes.subarray(offset));
  });
}

/**
 * The bytes of GET_CONFIG or SET_CONFIG.
 *
 * @example Two bytes at offset 8, written by the driver
 * ```ts
 * import { configHeader, encodeConfig } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const payload = encodeConfig(8, 0, Uint8Array.of(1, 2));
 * assertEquals(configHeader.decode(payload), { offset: 8, size: 2, flags: 0 });
 * assertEquals([...payload.subarray(configHeader.size)], [1, 2]);
 * ```
 */
export function encodeConfig(
  offset: number,
  flags: number,
  bytes: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const payload = new Uint8Array(configHeader.size + bytes.length);
  payload.set(configHeader.encode({ offset, size: bytes.length, flags }));
  payload.set(bytes, configHeader.size);
  return payload;
}

/**
 * The sizes of the shared memory regions, in the order of their ids.
 *
 * @example A region 1, and no region 0
 * ```ts
 * import { encodeSharedMemoryConfig } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const bytes = encodeSharedMemoryConfig([0, 4096]);
 * const view = new DataView(bytes.buffer);
 * assertEquals(view.getUint32(0, true), 1);
 * assertEquals(view.getBigUint64(16, true), 4096n);
 * ```
 */
export function encodeSharedMemoryConfig(
  sizes: readonly number[],
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(SHMEM_CONFIG_SIZE);
  const view = new DataView(bytes.buffer);
  const count = sizes.filter((size) => size !== 0).length;
  view.setUint32(0, count, LITTLE_ENDIAN);
  sizes.forEach((size, id) => {
    view.setBigUint64(8 + id * 8, BigInt(size), LITTLE_ENDIAN);
  });
  return bytes;
}

/**
 * The sizes of the shared memory regions, by their ids; 0 where there is none.
 *
 * @example There and back
 * ```ts
 * import {
 *   decodeSharedMemoryConfig,
 *   encodeSharedMemoryConfig,
 * } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const sizes = decodeSharedMemoryConfig(encodeSharedMemoryConfig([0, 4096]));
 * assertEquals([sizes.length, sizes[0], sizes[1]], [256, 0, 4096]);
 * ```
 */
export function decodeSharedMemoryConfig(bytes: Uint8Array): number[] {
  if (bytes.length < SHMEM_CONFIG_SIZE) {
    throw new ProtocolError(
      `The shared memory config has ${bytes.length} bytes, at least ` +
        `${SHMEM_CONFIG_SIZE} are wanted`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return Array.from(
    { length: 256 },
    (_, id) => Number(view.getBigUint64(8 + id * 8, LITTLE_ENDIAN)),
  );
}

/**
 * A whole message: header and payload in one piece.
 *
 * @example GET_FEATURES
 * ```ts
 * import {
 *   encodeMessage,
 *   header,
 *   HEADER_SIZE,
 *   VHOST_USER,
 *   VHOST_USER_VERSION,
 * } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const request = VHOST_USER.GET_FEATURES;
 * const bytes = encodeMessage(request, VHOST_USER_VERSION, new Uint8Array(0));
 * assertEquals(bytes.length, HEADER_SIZE);
 * assertEquals(header.decode(bytes), { request, flags: 1, size: 0 });
 * ```
 */
export function encodeMessage(
  request: number,
  flags: number,
  payload: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER_SIZE + payload.length);
  bytes.set(header.encode({ request, flags, size: payload.length }));
  bytes.set(payload, HEADER_SIZE);
  return bytes;
}
