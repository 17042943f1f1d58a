/**
 * vhost-user messages over a socket: framing, descriptors, patience.
 *
 * @module
 */
import { assert } from "../assert.ts";
import { ProtocolError } from "../errors.ts";
import { EAGAIN } from "../ffi/abi.ts";
import type { Fd } from "../io/fd.ts";
import { CancelledError, type Reactor } from "../io/reactor.ts";
import type { UnixSocket } from "../io/unix_socket.ts";
import { encodeMessage, header } from "./message.ts";
import {
  HEADER_SIZE,
  MAX_PAYLOAD_SIZE,
  VHOST_USER_NEED_REPLY_MASK,
  VHOST_USER_REPLY_MASK,
  VHOST_USER_VERSION,
  VHOST_USER_VERSION_MASK,
} from "./protocol.ts";

/** Descriptors that one message can bring: what the kernel passes at once. */
const MAX_FDS = 253;

/**
 * Messages that are received in a row, without waiting for one. Then everybody
 * else on this thread has a turn, however fast the peer sends.
 */
const TURN_MESSAGES = 32;

const KNOWN_FLAGS = VHOST_USER_VERSION_MASK | VHOST_USER_REPLY_MASK |
  VHOST_USER_NEED_REPLY_MASK;

/** One message. */
export interface Message {
  /** The number of the request, or of the request that is answered. */
  readonly request: number;
  /** Version, REPLY and NEED_REPLY. */
  readonly flags: number;
  /** The payload, of the size that the header said. */
  readonly payload: Uint8Array<ArrayBuffer>;
  /** The descriptors that came along. Whoever wants one takes it out. */
  readonly fds: Fd[];
}

/** Closes the descriptors that nobody took out of `fds`. */
export function closeFds(fds: Fd[]): void {
  for (const fd of fds.splice(0)) fd.close();
}

/** Sends and receives messages on one socket, which it owns. */
export class Channel implements Disposable {
  readonly #socket: UnixSocket;
  readonly #reactor: Reactor;
  #interrupted = false;
  #sending = false;
  /** Since this channel last waited. */
  #messages = 0;

  /** Takes over `socket`; waits by `reactor`. */
  constructor(socket: UnixSocket, reactor: Reactor) {
    this.#socket = socket;
    this.#reactor = reactor;
  }

  /**
   * The next message, or null where the peer hung up between two messages.
   *
   * @throws {ProtocolError} Where the header is none, the peer hung up within
   * a message or descriptors were lost: the stream can't be followed further.
   * @throws {CancelledError} Once interrupted.
   * @throws {SystemError} Where the socket fails.
   */
  async receive(): Promise<Message | null> {
    const fds: Fd[] = [];
    if (++this.#messages > TURN_MESSAGES) await this.#giveWay();
    try {
      const head = new Uint8Array(HEADER_SIZE);
      if (!await this.#fill(head, fds, 0, HEADER_SIZE)) return null;
      const { request, flags, size } = header.decode(head);
      checkHeader(request, flags, size);
      const payload = new Uint8Array(size);
      await this.#fill(payload, fds, HEADER_SIZE, HEADER_SIZE + size);
      return { request, flags, payload, fds };
    } catch (error) {
      closeFds(fds);
      throw error;
    }
  }

  /**
   * Sends one message in one piece, as far as the socket takes it, and resolves
   * when it took all. The descriptors stay the caller's. One send at a time:
   * so nothing queues up for a peer that does not read.
   *
   * @throws {CancelledError} Once interrupted.
   * @throws {SystemError} Where the peer is gone.
   */
  send(
    request: number,
    flags: number,
    payload: Uint8Array,
    fds: readonly (Fd | number)[] = [],
  ): Promise<void> {
    return this.sendRaw(encodeMessage(request, flags, payload), fds);
  }

  /** As `send`, of any bytes. */
  async sendRaw(
    bytes: Uint8Array<ArrayBuffer>,
    fds: readonly (Fd | number)[] = [],
  ): Promise<void> {
    assert(!this.#sending, "two messages are sent on a channel at once");
    this.#sending = true;
    try {
      let rest = bytes;
      let pending = fds;
      while (rest.length > 0) {
        const size = this.#socket.send(rest, pending);
        if (size === -EAGAIN) {
          await this.#wait("writable");
          continue;
        }
        rest = rest.subarray(size);
        pending = [];
      }
    } finally {
      this.#sending = false;
    }
  }

  /** Fails what waits, and everything that would wait from now on. */
  interrupt(): void {
    this.#interrupted = true;
    this.#reactor.cancel(this.#socket.fd.number);
  }

  /** Ends the connection. */
  [Symbol.dispose](): void {
    if (this.#socket.fd.number < 0) return;
    this.interrupt();
    this.#socket[Symbol.dispose]();
  }

  /**
   * Receives until `into` is full; false where the peer hung up before the
   * first byte of a message. `into` starts `offset` bytes into a message that
   * is `size` bytes long, as far as is known.
   */
  async #fill(
    into: Uint8Array<ArrayBuffer>,
    fds: Fd[],
    offset: number,
    size: number,
  ): Promise<boolean> {
    let done = 0;
    while (done < into.length) {
      const received = this.#socket.receive(into.subarray(done));
      fds.push(...received.fds);
      if (received.truncated) {
        throw new ProtocolError(
          "A message lost descriptors on its way: send at most 8, and raise " +
            "the limit of open files of the back-end",
        );
      }
      if (fds.length > MAX_FDS) {
        throw new ProtocolError(
          `A message brought ${fds.length} descriptors, at most 8 are wanted`,
        );
      }
      if (received.size === -EAGAIN) {
        await this.#wait("readable");
      } else if (received.size === 0) {
        if (offset + done === 0) return false;
        throw new ProtocolError(
          `The peer hung up within a message, after ${offset + done} of ` +
            `${size} bytes`,
        );
      } else {
        done += received.size;
      }
    }
    return true;
  }

  async #wait(side: "readable" | "writable"): Promise<void> {
    const fd = this.#socket.fd.number;
    if (this.#interrupted) throw new CancelledError(fd);
    this.#messages = 0;
    await this.#reactor[side](fd);
  }

  async #giveWay(): Promise<void> {
    this.#messages = 0;
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (this.#interrupted) throw new CancelledError(this.#socket.fd.number);
  }
}

function checkHeader(request: number, flags: number, size: number): void {
  const version = flags & VHOST_USER_VERSION_MASK;
  if (version !== VHOST_USER_VERSION) {
    throw new ProtocolError(
      `Message ${request} is of protocol version ${version}, wanted version 1`,
    );
  }
  if ((flags & ~KNOWN_FLAGS) !== 0) {
    throw new ProtocolError(
      `Message ${request} has the flags 0x${(flags >>> 0).toString(16)}, ` +
        "of which only the bits 0 to 3 are known",
    );
  }
  if (size > MAX_PAYLOAD_SIZE) {
    throw new ProtocolError(
      `Message ${request} claims ${size} bytes of payload, at most ` +
        `${MAX_PAYLOAD_SIZE} are wanted`,
    );
  }
}
