/**
 * One front-end on one socket, from its first message to its last.
 *
 * Messages are processed strictly in order, and nothing more is read before
 * the answer of the last one is in the socket: a front-end that does not read
 * its answers holds up itself and nobody else.
 *
 * @module
 */
import { FatalProtocolError, ProtocolError, SystemError } from "../errors.ts";
import { EPIPE } from "../ffi/abi.ts";
import { CancelledError, type Reactor } from "../io/reactor.ts";
import type { UnixSocket } from "../io/unix_socket.ts";
import { about, log } from "../log.ts";
import type { Backend } from "./backend.ts";
import { Channel, closeFds, type Message } from "./channel.ts";
import {
  checkMessage,
  type Handler,
  handlerOf,
  type ReplyWithFd,
} from "./handlers.ts";
import { u64 } from "./message.ts";
import {
  requestName,
  VHOST_USER_NEED_REPLY_MASK,
  VHOST_USER_PROTOCOL_F,
  VHOST_USER_REPLY_MASK,
  VHOST_USER_VERSION,
} from "./protocol.ts";
import { SessionState } from "./session_state.ts";

/** The flags of every reply: QEMU and DPDK compare with exactly 5. */
const REPLY_FLAGS = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK;

const ACK = u64.encode({ value: 0n });
const NACK = u64.encode({ value: 1n });
/**
 * Of a request that has a reply of its own: no vring, no count and no status
 * is all ones, so that it can't pass for an answer.
 */
const REFUSAL = u64.encode({ value: 0xffff_ffff_ffff_ffffn });

/** Refusals that are logged for one session; a hostile one could go on for ever. */
const LOGGED_REFUSALS = 16;

/** How a session ended. */
export interface SessionEnd {
  /**
   * `hang-up`: the front-end left between two messages. `stopped`: we were
   * asked to stop. `protocol`: the front-end broke the protocol. `failed`: the
   * socket, or the back-end at the end, failed.
   */
  readonly kind: "hang-up" | "stopped" | "protocol" | "failed";
  /** In words. */
  readonly reason: string;
  /** What was thrown, if anything. */
  readonly error: Error | null;
}

/** A ring as a front-end set it up. */
export interface SessionRing {
  /** Of the ring in its device. */
  readonly index: number;
  /** Entries. */
  readonly size: number;
  /** Whether it runs. */
  readonly started: boolean;
  /** Whether its requests are processed while it runs. */
  readonly enabled: boolean;
}

/**
 * Serves one front-end.
 *
 * @example A back-end without a device
 * ```ts
 * import {
 *   type Backend,
 *   Frontend,
 *   Reactor,
 *   Session,
 *   UnixSocket,
 * } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const nothing = () => Promise.resolve();
 * const backend: Backend = {
 *   features: 1n << 32n,
 *   queueCount: 1,
 *   queueSizeMax: 256,
 *   setFeatures: nothing,
 *   setMemory: nothing,
 *   startVring: nothing,
 *   stopVring: () => Promise.resolve(0),
 *   enableVring: nothing,
 *   setCall: nothing,
 *   setErr: nothing,
 *   setUsedLog: nothing,
 *   getConfig: () => null,
 *   setConfig: nothing,
 *   reset: nothing,
 *   onConfigChange: () => {},
 * };
 * const [ours, theirs] = UnixSocket.pair();
 * const ended = new Session(theirs, backend, Reactor.main).run();
 * {
 *   using frontend = Frontend.fromSocket(ours);
 *   assertEquals((await frontend.negotiate()).queueCount, 1);
 * }
 * assertEquals((await ended).kind, "hang-up");
 * ```
 */
export class Session {
  readonly #name: string;
  readonly #channel: Channel;
  readonly #backend: Backend;
  readonly #state: SessionState;
  readonly #ended = Promise.withResolvers<void>();
  #running = false;
  #stopping = false;
  #refusals = 0;

  /** Takes over `socket`, a connected one; the log calls the device `name`. */
  constructor(
    socket: UnixSocket,
    backend: Backend,
    reactor: Reactor,
    name = "",
  ) {
    this.#name = name;
    this.#channel = new Channel(socket, reactor);
    this.#backend = backend;
    this.#state = new SessionState(backend, reactor, name);
  }

  /**
   * Serves until the front-end leaves, breaks the protocol or `stop` is called.
   * Never rejects. When it resolves, all rings are drained and stopped, the
   * memory is unmapped and every descriptor is closed.
   */
  async run(): Promise<SessionEnd> {
    this.#running = true;
    this.#backend.onConfigChange(() => this.#state.configChanged());
    let end: SessionEnd;
    try {
      end = await this.#serve();
    } catch (error) {
      end = endOf(error);
    }
    this.#backend.onConfigChange(null);
    try {
      await this.#state.close();
    } catch (error) {
      end = {
        kind: "failed",
        reason: `The end failed: ${error}`,
        error: asError(error),
      };
    }
    this.#channel[Symbol.dispose]();
    this.#ended.resolve();
    return end;
  }

  /** The rings that the front-end has set up. */
  get rings(): SessionRing[] {
    return this.#state.vrings.filter(({ size }) => size > 0)
      .map(({ index, size, started, enabled }) => ({
        index,
        size,
        started,
        enabled,
      }));
  }

  /** The virtio features that were negotiated, or null before that. */
  get features(): bigint | null {
    return this.#state.features;
  }

  /** Ends the session after the request that is under way; resolves when `run` does. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#channel.interrupt();
    if (this.#running) await this.#ended.promise;
  }

  async #serve(): Promise<SessionEnd> {
    while (!this.#stopping) {
      const message = await this.#channel.receive();
      if (message === null) {
        return HUNG_UP;
      }
      try {
        await this.#answer(message);
      } finally {
        closeFds(message.fds);
      }
      this.#state.sendConfigChange();
    }
    return STOPPED;
  }

  async #answer(message: Message): Promise<void> {
    const row = handlerOf(message.request);
    const asked = this.#mustAck(message);
    let reply: Uint8Array | ReplyWithFd | void;
    try {
      if ((message.flags & VHOST_USER_REPLY_MASK) !== 0) {
        throw new ProtocolError(
          `${requestName(message.request)} has the reply flag set, a request ` +
            "is wanted",
        );
      }
      checkMessage(row, this.#state, message);
      reply = await row.run(this.#state, message);
    } catch (error) {
      return await this.#refuse(row, message, asError(error));
    }
    if (row.reply === "own") {
      await this.#reply(message.request, reply!);
    } else if (asked || this.#mustAck(message)) {
      await this.#channel.send(message.request, REPLY_FLAGS, ACK);
    }
  }

  async #reply(
    request: number,
    reply: Uint8Array | ReplyWithFd,
  ): Promise<void> {
    if (reply instanceof Uint8Array) {
      return await this.#channel.send(request, REPLY_FLAGS, reply);
    }
    const { payload, fd } = reply;
    try {
      await this.#channel.send(request, REPLY_FLAGS, payload, [fd]);
    } finally {
      fd.close();
    }
  }

  /** Says no where the front-end listens; else only the end of the session says it. */
  async #refuse(
    row: Handler | null,
    message: Message,
    error: Error,
  ): Promise<void> {
    if (this.#refusals++ < LOGGED_REFUSALS) {
      const who = about(this.#name);
      const what = requestName(message.request);
      log.warn(`${who}${what} refused: ${error.message}`);
    }
    if (error instanceof FatalProtocolError) throw error;
    if (row?.refusal !== undefined) {
      return await this.#channel.send(
        message.request,
        REPLY_FLAGS,
        row.refusal,
      );
    }
    if (this.#mustAck(message)) {
      const no = row?.reply === "own" ? REFUSAL : NACK;
      return await this.#channel.send(message.request, REPLY_FLAGS, no);
    }
    if (row?.lenient) return;
    throw error instanceof ProtocolError
      ? error
      : new ProtocolError(error.message, { cause: error });
  }

  /**
   * Asked of the state before the request and after it: SET_PROTOCOL_FEATURES
   * that brings REPLY_ACK is itself acknowledged, as rust-vmm and crosvm expect,
   * and so is one that takes it away, whose sender still waits for an answer.
   */
  #mustAck({ flags }: Message): boolean {
    return (flags & VHOST_USER_NEED_REPLY_MASK) !== 0 &&
      this.#state.hasProtocolFeature(VHOST_USER_PROTOCOL_F.REPLY_ACK);
  }
}

const HUNG_UP: SessionEnd = {
  kind: "hang-up",
  reason: "It hung up",
  error: null,
};
const STOPPED: SessionEnd = {
  kind: "stopped",
  reason: "We stop",
  error: null,
};

function endOf(error: unknown): SessionEnd {
  if (error instanceof CancelledError) return STOPPED;
  // It left without reading our last answer.
  if (error instanceof SystemError && error.errno === EPIPE) return HUNG_UP;
  const kind = error instanceof ProtocolError ? "protocol" : "failed";
  const known = asError(error);
  return { kind, reason: known.message, error: known };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
