// Data plane: a file that several threads append to.
/**
 * @module
 */
import {
  EINTR,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_NONBLOCK,
  O_TRUNC,
  O_WRONLY,
} from "../ffi/abi.ts";
import { check, errno } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { cString } from "../ffi/pointer.ts";
import { fileStatus } from "../ffi/status.ts";
import { UsageError } from "../errors.ts";
import { duplicateFd, Fd } from "./fd.ts";
import type { IovecList } from "./iovec.ts";
import { pathError } from "./path_error.ts";

const FLAGS = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NONBLOCK;
/** Readable by its owner only: it holds what a guest says and hears. */
const MODE = 0o600;

/** A regular file that is only ever made longer. What is appended stays whole. */
export class AppendFile implements Disposable {
  /** The descriptor, our own. */
  readonly fd: Fd;
  /** As it was opened. */
  readonly path: string;

  /** A second descriptor of the file that `number` is open on. */
  constructor(number: number, path: string) {
    this.fd = duplicateFd(number);
    this.path = path;
  }

  /**
   * Makes the file at `path`, or empties it. Throws a SystemError, or a
   * UsageError where it is no regular file.
   */
  static create(path: string): AppendFile {
    const number = libc.open(cString(path), FLAGS, MODE);
    if (number < 0) throw pathError("open", errno(), path, "make");
    using fd = new Fd(number);
    const { kind } = fileStatus(number);
    if (kind !== "regular file") {
      throw new UsageError(
        `${path} is a ${kind}, wanted a regular file: name another`,
      );
    }
    return new AppendFile(fd.number, path);
  }

  /** Appends `count` elements of `list`: bytes, or a negative errno. */
  append(list: IovecList, count: number): number {
    const fd = this.fd.number;
    const bytes = list.bytes(0);
    for (;;) {
      const result = libc.writev(fd, bytes, count);
      if (result >= 0) return result;
      const failure = errno();
      if (failure !== EINTR) return -failure;
    }
  }

  /** Appends all of `bytes`, or throws a SystemError. */
  appendBytes(bytes: Uint8Array<ArrayBuffer>): void {
    const { path } = this;
    check(libc.write(this.fd.number, bytes, bytes.length), "write", { path });
  }

  /** Closes the descriptor. */
  [Symbol.dispose](): void {
    this.fd.close();
  }
}
