/**
 * In-band notifications: calls and errors of rings as messages to the front-end
 * (specification, "In-band notifications"). The data plane does not know of
 * them: it signals an eventfd, as ever, and here that becomes a message.
 *
 * @module
 */
import { FatalProtocolError } from "../errors.ts";
import { EventFd } from "../io/event_fd.ts";
import { CancelledError, type Reactor } from "../io/reactor.ts";
import { log } from "../log.ts";
import type { BackendChannel } from "./backend_channel.ts";
import {
  protocolBit,
  protocolBits,
  VHOST_USER_BACKEND,
  VHOST_USER_PROTOCOL_F,
} from "./protocol.ts";

/** What a ring can say by itself. */
export type NoticeKind = "call" | "err";

const REQUESTS: Record<NoticeKind, number> = {
  call: VHOST_USER_BACKEND.VRING_CALL,
  err: VHOST_USER_BACKEND.VRING_ERR,
};

/** The features that in-band notifications can't do without. */
const IN_BAND_NEEDS = protocolBits([
  VHOST_USER_PROTOCOL_F.BACKEND_REQ,
  VHOST_USER_PROTOCOL_F.REPLY_ACK,
]);

/**
 * SET_PROTOCOL_FEATURES: the specification has the connection closed where
 * in-band notifications lack what they need, whatever was asked for.
 */
export function checkInBand(features: bigint): void {
  const inBand = protocolBit(VHOST_USER_PROTOCOL_F.INBAND_NOTIFICATIONS);
  if ((features & inBand) === 0n) return;
  if ((features & IN_BAND_NEEDS) === IN_BAND_NEEDS) return;
  throw new FatalProtocolError(
    "INBAND_NOTIFICATIONS came without BACKEND_REQ and REPLY_ACK: all three " +
      "are wanted, or not it",
  );
}

/** An eventfd of our own: whenever it is signalled, somebody is told. */
export class Bridge implements Disposable {
  readonly #eventFd = EventFd.open();
  readonly #reactor: Reactor;
  readonly #tell: () => void;
  #closed = false;

  /** Calls `tell` for each time that it finds the eventfd signalled. */
  constructor(reactor: Reactor, tell: () => void) {
    this.#reactor = reactor;
    this.#tell = tell;
    void this.#watch();
  }

  /** The descriptor to signal. */
  get number(): number {
    return this.#eventFd.fd.number;
  }

  /** Tells at once where it is signalled. */
  flush(): void {
    if (this.#eventFd.clear()) this.#tell();
  }

  /** Closes the eventfd; nobody is told any more. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#reactor.cancel(this.number);
    this.#eventFd[Symbol.dispose]();
  }

  async #watch(): Promise<void> {
    try {
      while (!this.#closed) {
        await this.#reactor.readable(this.number);
        if (!this.#closed) this.flush();
      }
    } catch (error) {
      if (error instanceof CancelledError) return;
      log.warn(`Nobody hears the in-band notifications of a ring: ${error}`);
    }
  }
}

/** The notices of a session's rings, on their way to the front-end. */
export class Notices {
  readonly #reactor: Reactor;
  #channel: BackendChannel | null = null;
  /** Told while there was no way to the front-end. */
  readonly #kept = new Map<string, readonly [NoticeKind, number]>();

  /** Waits by `reactor`. */
  constructor(reactor: Reactor) {
    this.#reactor = reactor;
  }

  /** Where the calls, or the errors, of vring `index` become messages. */
  bridge(kind: NoticeKind, index: number): Bridge {
    return new Bridge(this.#reactor, () => this.#tell(kind, index));
  }

  /**
   * The way to the front-end. What was not told is told there, and what the
   * last one was told and did not answer once more.
   */
  set channel(channel: BackendChannel | null) {
    const old = this.#channel;
    this.#channel = channel;
    if (channel === null) return;
    const kept = [...this.#kept.values()];
    this.#kept.clear();
    for (const [kind, index] of kept) this.#tell(kind, index);
    for (const { request, index } of old?.openNotices ?? []) {
      channel.notify(request, index);
    }
  }

  #tell(kind: NoticeKind, index: number): void {
    const channel = this.#channel;
    if (channel === null) this.#kept.set(`${kind} ${index}`, [kind, index]);
    else channel.notify(REQUESTS[kind], index);
  }
}
