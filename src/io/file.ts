// Data plane: the files and block devices that disks are made of.
/**
 * @module
 */
import { UsageError } from "../errors.ts";
import {
  BLKDISCARD,
  BLKPBSZGET,
  BLKSSZGET,
  BLKZEROOUT,
  EINTR,
  EOPNOTSUPP,
  F_GETFL,
  F_SETFL,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  IOV_MAX,
  O_ACCMODE,
  O_CLOEXEC,
  O_DIRECT,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  RWF_DSYNC,
} from "../ffi/abi.ts";
import { check, errno } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { cString } from "../ffi/pointer.ts";
import { type FileStatus, fileStatus } from "../ffi/status.ts";
import { Fd } from "./fd.ts";
import {
  directAlignment,
  ioctlU32,
  kindError,
  openError,
  sizeOf,
} from "./file_open.ts";
import { isLocal } from "./file_watch.ts";
import type { IovecList } from "./iovec.ts";

const TWO_32 = 0x1_0000_0000;
const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
const ZERO = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

/** How a disk's file is opened. */
export interface DiskFileOptions {
  /** Never written to. */
  readOnly?: boolean;
  /** Past the page cache (O_DIRECT): see `alignment`. */
  direct?: boolean;
}

/** A regular file or a block device. */
export class DiskFile implements Disposable {
  /** The descriptor. */
  readonly fd: Fd;
  /** As it was opened. */
  readonly path: string;
  /** Whether it is a block device; if not, it is a regular file. */
  readonly isBlockDevice: boolean;
  /** Whether it is never written to. */
  readonly readOnly: boolean;
  /** Offsets and sizes of transfers are multiples of this; 1 unless direct. */
  readonly alignment: number;
  /** Addresses of transfers are multiples of this; 1 unless direct. */
  readonly memoryAlignment: number;
  /** The smallest unit that the medium writes; 512 for a regular file. */
  readonly logicalBlockSize: number;
  /** The unit that the medium likes to write. */
  readonly physicalBlockSize: number;
  #size: number;
  readonly #offsets = new Float64Array(1);
  // A 64-bit argument is loaded from memory, see libc.ts.
  readonly #words: Uint32Array;
  readonly #arguments: BigInt64Array;
  readonly #range: Uint32Array<ArrayBuffer>;

  private constructor(
    fd: Fd,
    path: string,
    status: FileStatus,
    readOnly: boolean,
    direct: boolean,
  ) {
    this.fd = fd;
    this.path = path;
    this.isBlockDevice = status.kind === "block device";
    this.readOnly = readOnly;
    this.#size = sizeOf(fd.number, path, status);
    this.logicalBlockSize = this.isBlockDevice
      ? ioctlU32(fd.number, BLKSSZGET, "BLKSSZGET", path)
      : 512;
    this.physicalBlockSize = this.isBlockDevice
      ? ioctlU32(fd.number, BLKPBSZGET, "BLKPBSZGET", path)
      : status.blockSize;
    const alignment = direct
      ? directAlignment(fd.number, path, status, this.logicalBlockSize)
      : { offset: 1, memory: 1 };
    this.alignment = alignment.offset;
    this.memoryAlignment = alignment.memory;
    this.#words = new Uint32Array(4);
    this.#arguments = new BigInt64Array(this.#words.buffer);
    this.#range = new Uint32Array(4);
  }

  /** Opens `path`. Throws a SystemError or a UsageError that says what to do. */
  static open(path: string, options: DiskFileOptions = {}): DiskFile {
    const { readOnly = false, direct = false } = options;
    // O_NONBLOCK: a FIFO would wait for a writer before we see what it is.
    const flags = (readOnly ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0) |
      O_CLOEXEC | O_NONBLOCK;
    const number = libc.open(cString(path), flags, 0);
    if (number < 0) throw openError(path, errno(), readOnly, direct);
    const fd = new Fd(number);
    try {
      return DiskFile.fromFd(fd, path, options);
    } catch (error) {
      fd.close();
      throw error;
    }
  }

  /**
   * Takes over `fd`, which was opened as `options` say; `path` is for messages.
   * Throws as `open` does, and leaves `fd` open then.
   */
  static fromFd(
    fd: Fd,
    path: string,
    options: DiskFileOptions = {},
  ): DiskFile {
    const { readOnly = false, direct = false } = options;
    const status = fileStatus(fd.number);
    if (status.kind !== "regular file" && status.kind !== "block device") {
      throw kindError(path, status.kind);
    }
    const flags = check(libc.fcntl(fd.number, F_GETFL, 0), "fcntl", { path });
    if (!readOnly && (flags & O_ACCMODE) !== O_RDWR) {
      throw new UsageError(
        `${path} is open for reading only, wanted for writing too: ` +
          "add --read-only",
      );
    }
    // With O_NONBLOCK io_uring answers EAGAIN where it should wait.
    check(libc.fcntl(fd.number, F_SETFL, flags & ~O_NONBLOCK), "fcntl");
    return new DiskFile(fd, path, status, readOnly, direct);
  }

  /**
   * The same file, opened once more for writing. The kernel tells each open file
   * of data that it could not write back, and tells it once: of two `dataSync`
   * at the same time one does not hear of it. Null where it can't be opened, and
   * on another host's file system, which may know each open file's writes only.
   */
  openAgain(): DiskFile | null {
    if (this.readOnly || !isLocal(this.fd.number)) return null;
    // The file that is open, whatever its path leads to by now.
    const path = cString(`/proc/self/fd/${this.fd.number}`);
    const number = libc.open(path, O_RDWR | O_CLOEXEC, 0);
    if (number < 0) return null;
    const fd = new Fd(number);
    try {
      return DiskFile.fromFd(fd, this.path);
    } catch {
      fd.close();
      return null;
    }
  }

  /** In bytes, as last looked at. */
  get size(): number {
    return this.#size;
  }

  /** Looks at the size again: in bytes. Throws a SystemError. */
  refreshSize(): number {
    const { number } = this.fd;
    this.#size = sizeOf(number, this.path, fileStatus(number));
    return this.#size;
  }

  /**
   * Makes a regular file `size` bytes long: what is new reads as zeros, what
   * was behind is gone. Throws a SystemError.
   */
  truncate(size: number): void {
    const { path } = this;
    this.#aim(size, 0);
    check(libc.ftruncate(this.fd.number, this.#arguments[0]!), "ftruncate", {
      path,
    });
    this.#size = size;
  }

  /** Bytes that are allocated on the medium. Throws a SystemError. */
  allocatedBytes(): number {
    return fileStatus(this.fd.number).allocatedBytes;
  }

  /**
   * Reads from byte `offset` into `count` iovecs from `first`: bytes, which
   * may be fewer than wanted (0 at the end), or a negative errno.
   */
  readv(
    iovecs: IovecList,
    first: number,
    count: number,
    offset: number,
  ): number {
    this.#offsets[0] = offset;
    return this.readList(iovecs, first, count, this.#offsets, 0);
  }

  /**
   * As `readv`, from byte `offsets[at]`. For hot code: an offset that is a
   * parameter is allocated wherever V8 does not inline the call.
   */
  readList(
    iovecs: IovecList,
    first: number,
    count: number,
    offsets: Float64Array,
    at: number,
  ): number {
    const fd = this.fd.number;
    const bytes = iovecs.bytes(first);
    const used = count < IOV_MAX ? count : IOV_MAX;
    this.#aimList(offsets, at);
    for (;;) {
      const done = libc.preadv2(fd, bytes, used, this.#arguments[0]!, 0);
      if (done >= 0) return done;
      const failure = errno();
      if (failure !== EINTR) return -failure;
    }
  }

  /** Writes likewise; `durable`: it is on the medium on return (RWF_DSYNC). */
  writev(
    iovecs: IovecList,
    first: number,
    count: number,
    offset: number,
    durable: boolean,
  ): number {
    this.#offsets[0] = offset;
    return this.writeList(iovecs, first, count, this.#offsets, 0, durable);
  }

  /** As `writev`, from byte `offsets[at]`. */
  writeList(
    iovecs: IovecList,
    first: number,
    count: number,
    offsets: Float64Array,
    at: number,
    durable: boolean,
  ): number {
    const fd = this.fd.number;
    const bytes = iovecs.bytes(first);
    const used = count < IOV_MAX ? count : IOV_MAX;
    const flags = durable ? RWF_DSYNC : 0;
    this.#aimList(offsets, at);
    for (;;) {
      const done = libc.pwritev2(fd, bytes, used, this.#arguments[0]!, flags);
      if (done >= 0) return done;
      const failure = errno();
      if (failure !== EINTR) return -failure;
    }
  }

  /** Puts on the medium what was written: 0 or a negative errno. */
  dataSync(): number {
    for (;;) {
      if (libc.fdatasync(this.fd.number) === 0) return 0;
      const failure = errno();
      if (failure !== EINTR) return -failure;
    }
  }

  /**
   * Gives back `size` bytes at `offset`: 0 or a negative errno, -EOPNOTSUPP
   * where the medium can't. A regular file then reads as zeros there, a block
   * device as anything.
   */
  punchHole(offset: number, size: number): number {
    if (this.isBlockDevice) return this.#ioctlRange(BLKDISCARD, offset, size);
    return this.#fallocate(PUNCH, offset, size);
  }

  /**
   * Makes `size` bytes at `offset` read as zeros, without the space being given
   * back unless `mayUnmap`: 0 or a negative errno, -EOPNOTSUPP where that takes
   * writing zeros.
   */
  zeroRange(offset: number, size: number, mayUnmap: boolean): number {
    if (!this.isBlockDevice) {
      return this.#fallocate(mayUnmap ? PUNCH : ZERO, offset, size);
    }
    if (mayUnmap) {
      const result = this.#fallocate(PUNCH, offset, size);
      if (result !== -EOPNOTSUPP) return result;
    }
    return this.#ioctlRange(BLKZEROOUT, offset, size);
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.fd.close();
  }

  #aim(offset: number, size: number): void {
    const words = this.#words;
    words[0] = offset;
    words[1] = offset / TWO_32;
    words[2] = size;
    words[3] = size / TWO_32;
  }

  /** The same with `offsets[at]`, and no size. */
  #aimList(offsets: Float64Array, at: number): void {
    const words = this.#words;
    const offset = offsets[at]!;
    words[0] = offset;
    words[1] = offset / TWO_32;
  }

  #fallocate(mode: number, offset: number, size: number): number {
    const fd = this.fd.number;
    const words = this.#arguments;
    this.#aim(offset, size);
    for (;;) {
      if (libc.fallocate(fd, mode, words[0]!, words[1]!) === 0) return 0;
      const failure = errno();
      if (failure !== EINTR) return -failure;
    }
  }

  #ioctlRange(request: number, offset: number, size: number): number {
    const range = this.#range;
    range[0] = offset;
    range[1] = offset / TWO_32;
    range[2] = size;
    range[3] = size / TWO_32;
    for (;;) {
      if (libc.ioctl(this.fd.number, request, range) === 0) return 0;
      const failure = errno();
      if (failure !== EINTR) return -failure;
    }
  }
}
