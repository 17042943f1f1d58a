/**
 * Requests of the back-end to the front-end, on the second socket.
 *
 * Nothing here is waited for: a front-end that never reads, or is gone, loses
 * its notices and nothing else.
 *
 * @module
 */
import type { Reactor } from "../io/reactor.ts";
import type { UnixSocket } from "../io/unix_socket.ts";
import { log } from "../log.ts";
import { Channel, closeFds } from "./channel.ts";
import {
  VHOST_USER_BACKEND,
  VHOST_USER_NEED_REPLY_MASK,
  VHOST_USER_VERSION,
} from "./protocol.ts";

const NOTHING = new Uint8Array(0);

/** The socket of SET_BACKEND_REQ_FD. */
export class BackendChannel implements Disposable {
  readonly #channel: Channel;
  readonly #flags: number;
  #changed = false;
  #sending = false;
  #closed = false;

  /** Takes over `socket`. `replyAck`: whether REPLY_ACK was negotiated. */
  constructor(socket: UnixSocket, reactor: Reactor, replyAck: boolean) {
    this.#channel = new Channel(socket, reactor);
    this.#flags = VHOST_USER_VERSION |
      (replyAck ? VHOST_USER_NEED_REPLY_MASK : 0);
    void this.#dropReplies();
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

  /** Closes the socket. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#channel[Symbol.dispose]();
  }

  async #send(): Promise<void> {
    this.#sending = true;
    try {
      while (this.#changed) {
        this.#changed = false;
        await this.#channel.send(
          VHOST_USER_BACKEND.CONFIG_CHANGE_MSG,
          this.#flags,
          NOTHING,
        );
      }
    } catch (error) {
      this.#lost(error);
    }
    this.#sending = false;
  }

  /** The front-end answers on this socket; what it says changes nothing. */
  async #dropReplies(): Promise<void> {
    try {
      for (;;) {
        const reply = await this.#channel.receive();
        if (reply === null) break;
        closeFds(reply.fds);
      }
      this[Symbol.dispose]();
    } catch (error) {
      this.#lost(error);
    }
  }

  #lost(error: unknown): void {
    if (this.#closed) return;
    log.debug(`The channel to the front-end is closed: ${error}`);
    this[Symbol.dispose]();
  }
}
