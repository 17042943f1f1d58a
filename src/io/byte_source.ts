// Data plane: a file that is read from its start to its end.
/**
 * @module
 */
import { UsageError } from "../errors.ts";
import {
  EINTR,
  EISDIR,
  ENXIO,
  IOV_MAX,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
} from "../ffi/abi.ts";
import { errno } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { cString } from "../ffi/pointer.ts";
import { fileStatus } from "../ffi/status.ts";
import { Epoll } from "./epoll.ts";
import { Fd } from "./fd.ts";
import type { IovecList } from "./iovec.ts";
import { pathError } from "./path_error.ts";

/** A regular file, a FIFO or a character device, read without waiting. */
export class ByteSource implements Disposable {
  /** The descriptor. */
  readonly fd: Fd;

  /** Takes over `fd`, which is non-blocking where that means something. */
  constructor(fd: Fd) {
    this.fd = fd;
  }

  /**
   * Opens `path`. A FIFO is opened for writing too: so it has no end when a
   * writer leaves, and is readable when the next one has written. Throws a
   * SystemError or a UsageError.
   */
  static open(path: string): ByteSource {
    const name = cString(path);
    const flags = O_NONBLOCK | O_CLOEXEC;
    const number = libc.open(name, flags | O_RDONLY, 0);
    if (number < 0) throw openError(path, errno());
    const fd = new Fd(number);
    try {
      const { kind } = fileStatus(number);
      if (kind === "FIFO") {
        const both = libc.open(name, flags | O_RDWR, 0);
        if (both < 0) throw pathError("open", errno(), path, "read and write");
        fd.close();
        return new ByteSource(new Fd(both));
      }
      if (kind === "regular file" || kind === "character device") {
        return new ByteSource(fd);
      }
      throw kindError(path, kind);
    } catch (error) {
      fd.close();
      throw error;
    }
  }

  /** Whether it can be watched: a regular file and some devices can't. */
  isWatchable(): boolean {
    using epoll = Epoll.open();
    const { number } = this.fd;
    return epoll.tryAdd(number, Epoll.IN, number) === 0;
  }

  /**
   * Reads into `count` elements of `list` from `first`: bytes, 0 at the end, or
   * a negative errno: -EAGAIN where there is nothing yet.
   */
  read(list: IovecList, first: number, count: number): number {
    const bytes = list.bytes(first);
    const used = count < IOV_MAX ? count : IOV_MAX;
    for (;;) {
      const done = libc.readv(this.fd.number, bytes, used);
      if (done >= 0) return done;
      const failure = errno();
      if (failure !== EINTR) return -failure;
    }
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.fd.close();
  }
}

function openError(path: string, failure: number): Error {
  if (failure === EISDIR) return kindError(path, "directory");
  if (failure === ENXIO) return kindError(path, "socket or a dead device node");
  return pathError("open", failure, path, "read");
}

function kindError(path: string, kind: string): UsageError {
  return new UsageError(
    `${path} is a ${kind}, wanted a regular file, a FIFO or a character ` +
      "device: name one that bytes can be read from",
  );
}
