/**
 * The front-end's end of the main socket: one request at a time, each with its
 * own answer, in time.
 *
 * @module
 */
import { ProtocolError, SystemError } from "../errors.ts";
import { ECONNRESET, EPIPE } from "../ffi/abi.ts";
import type { Fd } from "../io/fd.ts";
import { CancelledError, type Reactor } from "../io/reactor.ts";
import { TIMER_MAX_MS } from "../io/timer.ts";
import type { UnixSocket } from "../io/unix_socket.ts";
import { Channel, closeFds, type Message } from "./channel.ts";
import {
  HangUpError,
  NackError,
  RequestTimeoutError,
} from "./frontend_errors.ts";
import { u64 } from "./message.ts";
import {
  protocolBit,
  requestName,
  VHOST_USER_NEED_REPLY_MASK,
  VHOST_USER_PROTOCOL_F,
  VHOST_USER_REPLY_MASK,
  VHOST_USER_VERSION,
} from "./protocol.ts";

const EMPTY = new Uint8Array(0);
const REPLY_FLAGS = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK;

const ALL_ONES = 0xffff_ffff_ffff_ffffn;

/** How long an answer may lie unread before the next look for a hang-up. */
const UNREAD_MS = 10;

/** A descriptor to send along; it stays the caller's. */
export type BorrowedFd = Fd | number;

/**
 * Sends requests in the order of the calls. With REPLY_ACK all are
 * acknowledged; without, those that have no reply of their own are only sent.
 *
 * Every method rejects with a {@linkcode NackError} where the back-end says no,
 * with a {@linkcode HangUpError} where it is gone, with a
 * {@linkcode RequestTimeoutError} where it is not done within `timeoutMs`, with a
 * ProtocolError where it answers nonsense, and with a CancelledError when this is
 * disposed.
 */
export class FrontendLink implements Disposable {
  /** Milliseconds that a request may take; without end by default. */
  timeoutMs = Infinity;
  /** What SET_PROTOCOL_FEATURES said last. */
  protocolFeatures = 0n;
  readonly #socket: UnixSocket;
  readonly #channel: Channel;
  readonly #reactor: Reactor;
  #turn: Promise<unknown> = Promise.resolve();
  #failure: RequestTimeoutError | null = null;

  /** Takes over `socket`. */
  constructor(socket: UnixSocket, reactor: Reactor) {
    this.#socket = socket;
    this.#channel = new Channel(socket, reactor);
    this.#reactor = reactor;
  }

  /** Whether protocol feature number `feature` was negotiated. */
  has(feature: number): boolean {
    return (this.protocolFeatures & protocolBit(feature)) !== 0n;
  }

  /** A request without a reply of its own. */
  command(
    request: number,
    payload: Uint8Array = EMPTY,
    fds: readonly BorrowedFd[] = [],
  ): Promise<void> {
    return this.#inTurn(request, async () => {
      if (!this.has(VHOST_USER_PROTOCOL_F.REPLY_ACK)) {
        return await this.send(request, payload, fds);
      }
      await this.send(request, payload, fds, VHOST_USER_NEED_REPLY_MASK);
      const reply = await this.#answer(request);
      closeFds(reply.fds);
      const { value } = u64.decode(reply.payload);
      if (value !== 0n) throw new NackError(request, value);
    });
  }

  /** A request with a reply of its own: the payload of that. */
  async request(
    request: number,
    payload: Uint8Array = EMPTY,
    fds: readonly BorrowedFd[] = [],
  ): Promise<Uint8Array> {
    const reply = await this.requestMessage(request, payload, fds);
    closeFds(reply.fds);
    return reply.payload;
  }

  /** As `request`; the descriptors of the reply are the caller's. */
  requestMessage(
    request: number,
    payload: Uint8Array = EMPTY,
    fds: readonly BorrowedFd[] = [],
  ): Promise<Message> {
    return this.#inTurn(request, async () => {
      // With it the back-end can refuse; without, it can only hang up.
      const flags = this.has(VHOST_USER_PROTOCOL_F.REPLY_ACK)
        ? VHOST_USER_NEED_REPLY_MASK
        : 0;
      await this.send(request, payload, fds, flags);
      return await this.#answer(request);
    });
  }

  /** A request that is answered by a number, of which all ones is a refusal. */
  async getU64(request: number): Promise<bigint> {
    const { value } = u64.decode(await this.request(request));
    if (value === ALL_ONES) throw new NackError(request, value);
    return value;
  }

  /** A request that brings a number. */
  setU64(request: number, value: bigint): Promise<void> {
    return this.command(request, u64.encode({ value }));
  }

  /** Sends a message as it is, waiting for nothing; `flags` are added to the version. */
  send(
    request: number,
    payload: Uint8Array = EMPTY,
    fds: readonly BorrowedFd[] = [],
    flags = 0,
  ): Promise<void> {
    const all = VHOST_USER_VERSION | flags;
    return this.#channel.send(request, all, payload, fds);
  }

  /** Sends any bytes. */
  sendRaw(
    bytes: Uint8Array<ArrayBuffer>,
    fds: readonly BorrowedFd[] = [],
  ): Promise<void> {
    return this.#channel.sendRaw(bytes, fds);
  }

  /** The next message, or null where the back-end hung up. */
  receive(): Promise<Message | null> {
    return this.#channel.receive();
  }

  /** The descriptor of the socket, which stays this one's; -1 once disposed. */
  get fd(): number {
    return this.#socket.fd.number;
  }

  /** Resolves when the back-end hung up; rejects with a CancelledError once disposed. */
  async hungUp(): Promise<void> {
    for (;;) {
      const { number } = this.#socket.fd;
      if (number < 0) throw new CancelledError(number);
      if (this.#socket.hungUp()) return;
      await this.#reactor.readable(number);
      // What there is to read is an answer: whoever asked takes it.
      if (!this.#socket.hungUp()) {
        await new Promise((resolve) => setTimeout(resolve, UNREAD_MS));
      }
    }
  }

  /** Hangs up. */
  [Symbol.dispose](): void {
    this.#channel[Symbol.dispose]();
  }

  async #answer(request: number): Promise<Message> {
    const reply = await this.#channel.receive();
    if (reply === null) throw new HangUpError(request);
    // libvhost-user leaves NEED_REPLY of the request set.
    const flags = reply.flags & ~VHOST_USER_NEED_REPLY_MASK;
    if (reply.request !== request || flags !== REPLY_FLAGS) {
      closeFds(reply.fds);
      throw new ProtocolError(
        `${requestName(request)} was answered by ` +
          `${requestName(reply.request)} with flags ` +
          `0x${reply.flags.toString(16)}, wanted a reply to it with flags 0x5`,
      );
    }
    return reply;
  }

  /** One request at a time, so that each gets its own reply. */
  #inTurn<T>(request: number, work: () => Promise<T>): Promise<T> {
    const { timeoutMs } = this;
    const done = this.#turn.then(() => this.#inTime(request, timeoutMs, work));
    this.#turn = done.catch(() => {});
    return done;
  }

  async #inTime<T>(
    request: number,
    timeoutMs: number,
    work: () => Promise<T>,
  ): Promise<T> {
    if (this.#failure !== null) throw this.#failure;
    const { number } = this.#socket.fd;
    if (number < 0) throw new CancelledError(number);
    let timer: ReturnType<typeof setTimeout> | undefined;
    if (timeoutMs !== Infinity) {
      timer = setTimeout(() => {
        this.#failure = new RequestTimeoutError(request, timeoutMs);
        this.#channel.interrupt();
      }, Math.min(timeoutMs, TIMER_MAX_MS));
    }
    try {
      return await work();
    } catch (error) {
      if (this.#failure !== null) throw this.#failure;
      if (isHangUp(error)) throw new HangUpError(request, { cause: error });
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}

function isHangUp(error: unknown): boolean {
  return error instanceof SystemError &&
    (error.errno === EPIPE || error.errno === ECONNRESET);
}
