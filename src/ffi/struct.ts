/**
 * The C structures that cross the border, laid out by the rules of the
 * System V ABI (the same on x86-64 and aarch64) and asserted at load.
 *
 * @module
 */
import { assert } from "../assert.ts";
import { EPOLL_EVENT_PACKED } from "./abi.ts";

const SIZES = { u8: 1, u16: 2, u32: 4, i32: 4, u64: 8, pointer: 8 } as const;

/** The type of a field; `[type, count]` is an array. */
export type FieldType = keyof typeof SIZES;

/** Where the fields of a structure are. */
export interface StructLayout<K extends string> {
  /** `sizeof`, in bytes. */
  readonly size: number;
  /** `offsetof` each field, in bytes. */
  readonly at: Readonly<Record<K, number>>;
}

type Fields<K extends string> = Record<K, FieldType | [FieldType, number]>;

/**
 * Lays out `fields` in order. Fails where the size is not `expected`, which
 * comes from the C headers.
 */
export function struct<K extends string>(
  fields: Fields<K>,
  expected: number,
  packed = false,
): StructLayout<K> {
  const at = {} as Record<K, number>;
  let offset = 0;
  let largest = 1;
  for (const name in fields) {
    const field = fields[name];
    const [type, count] = typeof field === "string" ? [field, 1] : field;
    const size = SIZES[type];
    const alignment = packed ? 1 : size;
    offset = alignUp(offset, alignment);
    at[name] = offset;
    offset += size * count;
    largest = Math.max(largest, alignment);
  }
  const size = alignUp(offset, largest);
  assert(size === expected, `a structure of ${size} bytes, not ${expected}`);
  return { size, at };
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

/** `struct iovec` */
export const IOVEC = struct({ base: "pointer", size: "u64" }, 16);

/** `struct msghdr` */
export const MSGHDR = struct({
  name: "pointer",
  nameSize: "u32",
  iovecs: "pointer",
  iovecCount: "u64",
  control: "pointer",
  controlSize: "u64",
  flags: "u32",
}, 56);

/** `struct cmsghdr`; the data follow. */
export const CMSGHDR = struct({ size: "u64", level: "i32", type: "i32" }, 16);

/** `struct epoll_event` */
export const EPOLL_EVENT = struct(
  { events: "u32", data: "u64" },
  EPOLL_EVENT_PACKED ? 12 : 16,
  EPOLL_EVENT_PACKED,
);

/** `struct flock` with 64-bit offsets. */
export const FLOCK = struct(
  { type: "u16", whence: "u16", start: "u64", size: "u64", pid: "i32" },
  32,
);

/** `struct timespec` with a 64-bit time. */
export const TIMESPEC = struct({ seconds: "u64", nanoseconds: "u64" }, 16);

/** `struct itimerspec`, its two times taken apart. */
export const ITIMERSPEC = struct({
  intervalSeconds: "u64",
  intervalNanoseconds: "u64",
  seconds: "u64",
  nanoseconds: "u64",
}, 32);

/** `struct statx` */
export const STATX = struct({
  mask: "u32",
  blockSize: "u32",
  attributes: "u64",
  nlink: "u32",
  uid: "u32",
  gid: "u32",
  mode: "u16",
  spare0: "u16",
  inode: "u64",
  size: "u64",
  blocks: "u64",
  attributesMask: "u64",
  times: ["u64", 8],
  rdevMajor: "u32",
  rdevMinor: "u32",
  devMajor: "u32",
  devMinor: "u32",
  mountId: "u64",
  directMemoryAlignment: "u32",
  directOffsetAlignment: "u32",
  spare3: ["u64", 12],
}, 256);

/** `struct io_uring_params`, `io_sqring_offsets` and `io_cqring_offsets` inlined. */
export const IO_URING_PARAMS = struct({
  sqEntries: "u32",
  cqEntries: "u32",
  flags: "u32",
  sqThreadCpu: "u32",
  sqThreadIdle: "u32",
  features: "u32",
  wqFd: "u32",
  reserved: ["u32", 3],
  sqHead: "u32",
  sqTail: "u32",
  sqRingMask: "u32",
  sqRingEntries: "u32",
  sqFlags: "u32",
  sqDropped: "u32",
  sqArray: "u32",
  sqReserved: "u32",
  sqUserAddress: "u64",
  cqHead: "u32",
  cqTail: "u32",
  cqRingMask: "u32",
  cqRingEntries: "u32",
  cqOverflow: "u32",
  cqCqes: "u32",
  cqFlags: "u32",
  cqReserved: "u32",
  cqUserAddress: "u64",
}, 120);

/** `struct io_uring_sqe`, the members of its unions by their first use here. */
export const IO_URING_SQE = struct({
  opcode: "u8",
  flags: "u8",
  ioprio: "u16",
  fd: "i32",
  offset: "u64",
  address: "u64",
  size: "u32",
  operationFlags: "u32",
  userData: "u64",
  bufferIndex: "u16",
  personality: "u16",
  fileIndex: "u32",
  address3: "u64",
  padding: "u64",
}, 64);

/** `struct io_uring_cqe` */
export const IO_URING_CQE = struct(
  { userData: "u64", result: "i32", flags: "u32" },
  16,
);

/** `struct io_uring_getevents_arg` */
export const IO_URING_GETEVENTS_ARG = struct({
  sigmask: "u64",
  sigmaskSize: "u32",
  minWait: "u32",
  timespec: "u64",
}, 24);

/** `struct io_uring_files_update` */
export const IO_URING_FILES_UPDATE = struct(
  { offset: "u32", reserved: "u32", fds: "pointer" },
  16,
);

/** `struct ifreq`, with the members that are used here. */
export const IFREQ = struct({
  name: ["u8", 16],
  value: "u32",
  rest: ["u8", 20],
}, 40);

/** `struct vgetrandom_opaque_params`: what a state of `__vdso_getrandom` takes. */
export const GETRANDOM_PARAMS = struct({
  stateSize: "u32",
  protection: "u32",
  flags: "u32",
  reserved: ["u32", 13],
}, 64);
