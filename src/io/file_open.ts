/**
 * What the data plane does not need of a disk's file: finding out about it, and
 * saying what is wrong with it.
 *
 * @module
 */
import { assert } from "../assert.ts";
import { type SystemError, UsageError } from "../errors.ts";
import {
  BLKGETSIZE64,
  EACCES,
  EINVAL,
  EISDIR,
  ENOENT,
  ENXIO,
  EPERM,
  EROFS,
  ETXTBSY,
} from "../ffi/abi.ts";
import { check, systemError } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { Mapping } from "../ffi/mapping.ts";
import type { FileStatus } from "../ffi/status.ts";
import { IovecList } from "./iovec.ts";
import { missingDirectory, pathError, shellWord } from "./path_error.ts";

/** What a transfer past the page cache must be aligned to, in bytes. */
export interface Alignment {
  /** Of offsets and sizes. */
  readonly offset: number;
  /** Of addresses. */
  readonly memory: number;
}

/** The size of a regular file or a block device, in bytes. Throws a SystemError. */
export function sizeOf(fd: number, path: string, status: FileStatus): number {
  if (status.kind !== "block device") return status.size;
  const size = new BigUint64Array(1);
  check(libc.ioctl(fd, BLKGETSIZE64, size), "BLKGETSIZE64", { path });
  return Number(size[0]);
}

/** The 32-bit answer of an ioctl, which `name` names. Throws a SystemError. */
export function ioctlU32(
  fd: number,
  request: number,
  name: string,
  path: string,
): number {
  const value = new Uint32Array(1);
  check(libc.ioctl(fd, request, value), name, { path });
  return value[0]!;
}

/** How transfers past the page cache are to be aligned. Throws a SystemError. */
export function directAlignment(
  fd: number,
  path: string,
  status: FileStatus,
  logicalBlockSize: number,
): Alignment {
  const { directOffsetAlignment, directMemoryAlignment } = status;
  if (directOffsetAlignment > 0) {
    return { offset: directOffsetAlignment, memory: directMemoryAlignment };
  }
  // An older kernel, or a file system that does not say: try.
  for (const size of [512, 4096, 65536]) {
    if (size >= logicalBlockSize && canReadDirect(fd, size)) {
      return { offset: size, memory: size };
    }
  }
  throw systemError("preadv2", EINVAL, { path, remedy: WITHOUT_DIRECT });
}

function canReadDirect(fd: number, size: number): boolean {
  // Mappings are page-aligned; one page more makes room for alignments above.
  using memory = Mapping.anonymous(2 * 65536);
  using iovecs = new IovecList(1);
  const address = Math.ceil(memory.address / size) * size;
  assert(address + size <= memory.address + memory.size, "room to align in");
  iovecs.set(0, address, size);
  return libc.preadv2(fd, iovecs.bytes(0), 1, 0n, 0) >= 0;
}

const WITHOUT_DIRECT =
  "the file system can't do direct I/O, leave out --direct";

/** Why open() of a disk's file failed, and what to do. */
export function openError(
  path: string,
  failure: number,
  readOnly: boolean,
  direct: boolean,
): SystemError | UsageError {
  if (failure === EISDIR) return kindError(path, "directory");
  // A socket can't be opened, nor a device node without a device.
  if (failure === ENXIO) return kindError(path, "socket or a dead device node");
  const use = readOnly ? "read" : "write";
  const remedy = remedyFor(failure, readOnly, direct, path);
  return pathError("open", failure, path, use, remedy);
}

/** What a disk can have done that other files can't. */

function remedyFor(
  failure: number,
  readOnly: boolean,
  direct: boolean,
  path: string,
): string | undefined {
  if (failure === EINVAL && direct) return WITHOUT_DIRECT;
  if (readOnly) return undefined;
  switch (failure) {
    case ENOENT:
      return missingDirectory(path) ??
        `make it first, as with truncate -s 1G ${shellWord(path)}`;
    case EROFS:
    case ETXTBSY:
      return "add --read-only";
    case EACCES:
    case EPERM:
      return "give this user the permission to write it, or add --read-only";
    default:
      return undefined;
  }
}

/** That `path` is something that no disk is made of. */
export function kindError(path: string, kind: string): UsageError {
  return new UsageError(
    `${path} is a ${kind}, wanted a regular file or a block device: ` +
      "name a disk image or a disk",
  );
}
