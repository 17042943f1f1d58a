/**
 * A stream of bytes that has an end: what one process writes and another reads.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import { EAGAIN, EINTR, O_CLOEXEC } from "../ffi/abi.ts";
import { check, errno, systemError } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { fileStatus } from "../ffi/status.ts";
import { Fd, setNonBlocking } from "./fd.ts";
import type { Reactor } from "./reactor.ts";

/** Bytes that are read at a time. */
const CHUNK_SIZE = 65536;

/**
 * One end of a pipe or of a stream socket. Nothing here blocks the thread: who
 * has to wait for the other end does so by the reactor.
 */
export class ByteStream implements Disposable {
  readonly #fd: Fd;
  readonly #reactor: Reactor;

  /**
   * Takes over `fd`. Throws a UsageError where it is neither a pipe nor a
   * socket, and leaves it open: a file may block whoever reads or writes it.
   */
  constructor(fd: Fd, reactor: Reactor) {
    const { kind } = fileStatus(fd.number);
    if (kind !== "FIFO" && kind !== "socket") {
      throw new UsageError(
        `It is of the kind "${kind}", a pipe or a socket is wanted`,
      );
    }
    setNonBlocking(fd.number);
    this.#fd = fd;
    this.#reactor = reactor;
  }

  /** The two ends of a new pipe. */
  static pipe(): { reading: Fd; writing: Fd } {
    const fds = new Int32Array(2);
    check(libc.pipe2(fds, O_CLOEXEC), "pipe2");
    return { reading: new Fd(fds[0]!), writing: new Fd(fds[1]!) };
  }

  /**
   * The next bytes, none where the stream is at its end, or null where there
   * are none yet. Throws a SystemError.
   */
  readNow(): Uint8Array<ArrayBuffer> | null {
    const chunk = new Uint8Array(CHUNK_SIZE);
    for (;;) {
      const size = libc.read(this.#fd.number, chunk, chunk.length);
      if (size >= 0) return chunk.subarray(0, size);
      const failure = errno();
      if (failure === EAGAIN) return null;
      if (failure !== EINTR) throw systemError("read", failure);
    }
  }

  /**
   * Resolves when there is something to read, or the end. Rejects with a
   * CancelledError once it is closed, or with a SystemError.
   */
  readable(): Promise<void> {
    return this.#reactor.readable(this.#fd.number);
  }

  /**
   * All up to the end, at most `sizeMax` bytes. Rejects as `readable` does, and
   * with a RangeError where there are more.
   */
  async readAll(sizeMax: number): Promise<Uint8Array<ArrayBuffer>> {
    const chunks = new ByteChunks(sizeMax);
    for (;;) {
      const chunk = this.readNow();
      if (chunk === null) await this.readable();
      else if (chunk.length === 0) return chunks.join();
      else chunks.add(chunk);
    }
  }

  /**
   * Resolves when the stream took all of `bytes`. Rejects with a CancelledError
   * once it is closed, or with a SystemError, as EPIPE where nobody reads.
   */
  async writeAll(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      const { number } = this.#fd;
      const size = libc.write(number, rest, Math.min(rest.length, CHUNK_SIZE));
      if (size >= 0) {
        rest = rest.subarray(size);
        continue;
      }
      const failure = errno();
      if (failure === EAGAIN) await this.#reactor.writable(number);
      else if (failure !== EINTR) throw systemError("write", failure);
    }
  }

  /** Closes it: the other end reads the end, or fails to write. */
  [Symbol.dispose](): void {
    if (this.#fd.number < 0) return;
    this.#reactor.cancel(this.#fd.number);
    this.#fd.close();
  }
}

/** Bytes that came piece by piece, up to a limit. */
export class ByteChunks {
  readonly #sizeMax: number;
  #bytes = new Uint8Array(0);
  #size = 0;

  /** Takes `sizeMax` bytes in all. */
  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax;
  }

  /**
   * Adds a copy of `chunk`: kept itself, a byte at a time would hold on to the
   * room for very many. Throws a RangeError where that is too much.
   */
  add(chunk: Uint8Array): void {
    const size = this.#size + chunk.length;
    if (size > this.#sizeMax) {
      throw new RangeError(
        `There are more than ${this.#sizeMax} bytes: that many are wanted at most`,
      );
    }
    if (size > this.#bytes.length) this.#grow(size);
    this.#bytes.set(chunk, this.#size);
    this.#size = size;
  }

  /** All of them in one piece. */
  join(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#size);
  }

  /** Makes room for `size` bytes and as many again. */
  #grow(size: number): void {
    const bytes = new Uint8Array(Math.min(2 * size, this.#sizeMax));
    bytes.set(this.#bytes.subarray(0, this.#size));
    this.#bytes = bytes;
  }
}
