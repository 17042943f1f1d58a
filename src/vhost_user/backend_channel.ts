/**
 * Requests of the back-end to the front-end, on the second socket.
 *
 * Nothing here is waited for: a front-end that never reads, or is gone, loses
 * its notices and nothing else. Answers come in the order of the requests.
 *
 * @module
 */
import type { Reactor } from "../io/reactor.ts";
import type { UnixSocket } from "../io/unix_socket.ts";
import { log } from "../log.ts";
import { Channel, closeFds, type Message } from "./channel.ts";
import { u64, vringState } from "./message.ts";
import {
  VHOST_USER_BACKEND,
  VHOST_USER_NEED_REPLY_MASK,
  VHOST_USER_VERSION,
} from "./protocol.ts";

const NOTHING = new Uint8Array(0);

/** Is told what the front-end answered: 0 means success. */
type OnAnswer = (value: bigint) => void;

/** A request that waits for the socket to take it. */
interface Request {
  readonly request: number;
  readonly payload: Uint8Array;
  readonly onAnswer: OnAnswer;
  /** Where no answer is asked for, being sent is enough. */
  readonly answeredWhenSent?: boolean;
}

/** A notice of a ring that was sent, or waits to be. */
interface Notice {
  /** VRING_CALL or VRING_ERR. */
  readonly request: number;
  /** The vring. */
  readonly index: number;
  /** There is something to tell of since. */
  again: boolean;
}

/** The socket of SET_BACKEND_REQ_FD. */
export class BackendChannel implements Disposable {
  readonly #channel: Channel;
  readonly #flags: number;
  #changed = false;
  #sending = false;
  /** To be sent. Whoever asks sees to it that there are not too many. */
  readonly #requests: Request[] = [];
  /** Sent, and to be answered. */
  readonly #unanswered: OnAnswer[] = [];
  /** At most one of a kind for each ring. */
  #notices: Notice[] = [];
  #closed = false;

  /** Takes over `socket`. `replyAck`: whether REPLY_ACK was negotiated. */
  constructor(socket: UnixSocket, reactor: Reactor, replyAck: boolean) {
    this.#channel = new Channel(socket, reactor);
    this.#flags = VHOST_USER_VERSION |
      (replyAck ? VHOST_USER_NEED_REPLY_MASK : 0);
    void this.#takeAnswers();
  }

  /** Whether there is still a front-end that may read. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * CONFIG_CHANGE_MSG. Several changes become one notice while the front-end
   * does not read.
   */
  configChanged(): void {
    if (this.#closed) return;
    this.#changed = true;
    if (!this.#sending) void this.#send();
  }

  /** Sends a request; `onAnswer` is called where REPLY_ACK was negotiated. */
  ask(request: number, payload: Uint8Array, onAnswer: OnAnswer): void {
    this.#ask({ request, payload, onAnswer });
  }

  /** The notices that the front-end has not answered. */
  get openNotices(): readonly Readonly<Notice>[] {
    return this.#notices;
  }

  /**
   * VRING_CALL or VRING_ERR, as `request` says. What comes while the front-end
   * has not answered the last one becomes one notice more: so they are never
   * more than the front-end takes.
   */
  notify(request: number, index: number): void {
    const open = this.#notices.find((notice) =>
      notice.request === request && notice.index === index
    );
    if (open !== undefined) {
      open.again = true;
      return;
    }
    const notice = { request, index, again: false };
    this.#notices.push(notice);
    this.#ask({
      request,
      payload: vringState.encode({ index, num: 0 }),
      onAnswer: () => {
        this.#notices = this.#notices.filter((other) => other !== notice);
        if (notice.again) this.notify(request, index);
      },
      answeredWhenSent: true,
    });
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#channel[Symbol.dispose]();
  }

  #ask(request: Request): void {
    if (this.#closed) return;
    this.#requests.push(request);
    if (!this.#sending) void this.#send();
  }

  async #send(): Promise<void> {
    this.#sending = true;
    try {
      for (let next = this.#next(); next !== null; next = this.#next()) {
        const { request, payload, onAnswer, answeredWhenSent } = next;
        const asksBack = (this.#flags & VHOST_USER_NEED_REPLY_MASK) !== 0;
        if (asksBack) this.#unanswered.push(onAnswer);
        await this.#channel.send(request, this.#flags, payload);
        if (!asksBack && answeredWhenSent) onAnswer(0n);
      }
    } catch (error) {
      this.#lost(error);
    }
    this.#sending = false;
  }

  #next(): Request | null {
    if (!this.#changed) return this.#requests.shift() ?? null;
    this.#changed = false;
    const request = VHOST_USER_BACKEND.CONFIG_CHANGE_MSG;
    return { request, payload: NOTHING, onAnswer: () => {} };
  }

  async #takeAnswers(): Promise<void> {
    try {
      for (;;) {
        const reply = await this.#channel.receive();
        if (reply === null) break;
        this.#answered(reply);
      }
      this[Symbol.dispose]();
    } catch (error) {
      this.#lost(error);
    }
  }

  /** What answers nothing, or says no number, changes nothing. */
  #answered({ fds, payload }: Message): void {
    closeFds(fds);
    const onAnswer = this.#unanswered.shift();
    if (payload.length === u64.size) onAnswer?.(u64.decode(payload).value);
  }

  #lost(error: unknown): void {
    if (this.#closed) return;
    log.debug(`The channel to the front-end is closed: ${error}`);
    this[Symbol.dispose]();
  }
}
