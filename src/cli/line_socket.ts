/**
 * Lines of text over a Unix socket, in both directions.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import { EAGAIN } from "../ffi/abi.ts";
import type { Reactor } from "../io/reactor.ts";
import type { UnixSocket } from "../io/unix_socket.ts";

const NEWLINE = 10;
const PIECE = 4096;

/** A connected socket that carries lines. Owns the socket. */
export class LineSocket implements Disposable {
  readonly #socket: UnixSocket;
  readonly #reactor: Reactor;
  readonly #limit: number;
  /** What was received and not read, and room for more. */
  #pending = new Uint8Array(PIECE);
  #size = 0;
  /** Bytes of what is pending that have no newline. */
  #searched = 0;

  /** Takes over `socket`; a line has `limit` bytes at most. */
  constructor(socket: UnixSocket, reactor: Reactor, limit: number) {
    this.#socket = socket;
    this.#reactor = reactor;
    this.#limit = limit;
  }

  /**
   * The next line without its end, or null where the peer hung up. What is
   * behind the last end of a line is no line.
   *
   * @throws {UsageError} A line that is too long, or no UTF-8.
   * @throws {SystemError} The socket fails.
   */
  async read(): Promise<string | null> {
    for (;;) {
      const pending = this.#pending.subarray(0, this.#size);
      const end = pending.indexOf(NEWLINE, this.#searched);
      const size = end < 0 ? pending.length : end;
      if (size > this.#limit) {
        throw new UsageError(
          `A line has more than ${this.#limit} bytes: make it shorter`,
        );
      }
      if (end >= 0) {
        const line = pending.slice(0, end);
        pending.copyWithin(0, end + 1);
        this.#size -= end + 1;
        this.#searched = 0;
        return decode(line);
      }
      this.#searched = size;
      if (!await this.#receive()) return null;
    }
  }

  /** Sends `line`, which has no end of its own. Throws a SystemError. */
  async write(line: string): Promise<void> {
    let rest = new TextEncoder().encode(`${line}\n`);
    while (rest.length > 0) {
      const size = this.#socket.send(rest);
      if (size >= 0) rest = rest.subarray(size);
      else if (size === -EAGAIN) {
        await this.#reactor.writable(this.#socket.fd.number);
      }
    }
  }

  /** Hangs up; whoever waits for a line is rejected. */
  [Symbol.dispose](): void {
    if (this.#socket.fd.number < 0) return;
    this.#reactor.cancel(this.#socket.fd.number);
    this.#socket[Symbol.dispose]();
  }

  /** Waits for more; false where the peer hung up. */
  async #receive(): Promise<boolean> {
    const piece = new Uint8Array(PIECE);
    for (;;) {
      const { size, fds } = this.#socket.receive(piece);
      // Nobody asked for any.
      for (const fd of fds) fd.close();
      if (size === 0) return false;
      if (size === -EAGAIN) {
        await this.#reactor.readable(this.#socket.fd.number);
        continue;
      }
      const total = this.#size + size;
      if (total > this.#pending.length) this.#grow(total);
      this.#pending.set(piece.subarray(0, size), this.#size);
      this.#size = total;
      return true;
    }
  }

  /** Makes room for `size` bytes, and for as many again: a line may be long. */
  #grow(size: number): void {
    const pending = new Uint8Array(2 * size);
    pending.set(this.#pending.subarray(0, this.#size));
    this.#pending = pending;
  }
}

function decode(line: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(line);
  } catch {
    throw new UsageError("A line is no UTF-8 text: send JSON in UTF-8");
  }
}
