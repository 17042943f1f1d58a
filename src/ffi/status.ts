/**
 * What the kernel knows of a file, by `statx`.
 *
 * @module
 */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  STATX_BASIC_STATS,
  STATX_DIOALIGN,
} from "./abi.ts";
import { check } from "./errno.ts";
import { libc } from "./libc.ts";
import { cString } from "./pointer.ts";
import { STATX } from "./struct.ts";

/** The kind of a file. */
export type FileKind =
  | "regular file"
  | "block device"
  | "character device"
  | "directory"
  | "FIFO"
  | "socket"
  | "anonymous file";

/** A file as it was when asked. */
export interface FileStatus {
  /** What it is. An eventfd and its like are anonymous files. */
  readonly kind: FileKind;
  /** In bytes; 0 for a block device. */
  readonly size: number;
  /** Bytes allocated on the medium. */
  readonly allocatedBytes: number;
  /** `st_blksize`: for huge-page-backed memory the size of a page. */
  readonly blockSize: number;
  /** Tells one file from another, together with the inode. */
  readonly device: string;
  /** Tells one file from another on its device. */
  readonly inode: bigint;
  /** For O_DIRECT: how memory is to be aligned, 0 where the kernel can't say. */
  readonly directMemoryAlignment: number;
  /** For O_DIRECT: how offsets and sizes are to be aligned, or 0. */
  readonly directOffsetAlignment: number;
}

const KINDS: Readonly<Record<number, FileKind>> = {
  [S_IFREG]: "regular file",
  [S_IFBLK]: "block device",
  [S_IFCHR]: "character device",
  [S_IFDIR]: "directory",
  [S_IFIFO]: "FIFO",
  [S_IFSOCK]: "socket",
};

/** The file that `fd` is open on. Throws a SystemError. */
export function fileStatus(fd: number): FileStatus {
  return status(fd, "", AT_EMPTY_PATH);
}

/** The file at `path`, of a symbolic link the link itself. Throws a SystemError. */
export function pathStatus(path: string): FileStatus {
  return status(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW);
}

function status(directory: number, path: string, flags: number): FileStatus {
  const bytes = new Uint8Array(STATX.size);
  const wanted = STATX_BASIC_STATS | STATX_DIOALIGN;
  check(
    libc.statx(directory, cString(path), flags, wanted, bytes),
    "statx",
    path === "" ? {} : { path },
  );
  const view = new DataView(bytes.buffer);
  const u32 = (offset: number) => view.getUint32(offset, true);
  const { at } = STATX;
  const direct = (u32(at.mask) & STATX_DIOALIGN) !== 0;
  return {
    kind: KINDS[view.getUint16(at.mode, true) & S_IFMT] ?? "anonymous file",
    size: Number(view.getBigUint64(at.size, true)),
    allocatedBytes: Number(view.getBigUint64(at.blocks, true)) * 512,
    blockSize: u32(at.blockSize),
    device: `${u32(at.devMajor)}:${u32(at.devMinor)}`,
    inode: view.getBigUint64(at.inode, true),
    directMemoryAlignment: direct ? u32(at.directMemoryAlignment) : 0,
    directOffsetAlignment: direct ? u32(at.directOffsetAlignment) : 0,
  };
}
