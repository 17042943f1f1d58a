/**
 * The front-end's end of the second socket: requests of the back-end.
 *
 * @module
 */
import { CancelledError, type Reactor } from "../io/reactor.ts";
import type { UnixSocket } from "../io/unix_socket.ts";
import { log } from "../log.ts";
import { Channel, closeFds, type Message } from "./channel.ts";
import { u64 } from "./message.ts";
import {
  backendRequestName,
  VHOST_USER_BACKEND,
  VHOST_USER_NEED_REPLY_MASK,
  VHOST_USER_REPLY_MASK,
  VHOST_USER_VERSION,
} from "./protocol.ts";

/** Serves the requests of a back-end until it hangs up. */
export class FrontendRequests implements Disposable {
  readonly #channel: Channel;
  readonly #onConfigChange: () => void;

  /** Takes over `socket` and serves it. */
  constructor(
    socket: UnixSocket,
    reactor: Reactor,
    onConfigChange: () => void,
  ) {
    this.#channel = new Channel(socket, reactor);
    this.#onConfigChange = onConfigChange;
    void this.#serve();
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    this.#channel[Symbol.dispose]();
  }

  async #serve(): Promise<void> {
    try {
      for (;;) {
        const message = await this.#channel.receive();
        if (message === null) break;
        await this.#answer(message);
      }
    } catch (error) {
      if (!(error instanceof CancelledError)) {
        log.warn(`The channel from the back-end failed: ${error}`);
      }
    }
    this[Symbol.dispose]();
  }

  async #answer(message: Message): Promise<void> {
    const { request, flags, fds } = message;
    closeFds(fds);
    const known = request === VHOST_USER_BACKEND.CONFIG_CHANGE_MSG;
    if (known) this.#onConfigChange();
    else log.warn(`${backendRequestName(request)} is not served`);
    if ((flags & VHOST_USER_NEED_REPLY_MASK) === 0) return;
    await this.#channel.send(
      request,
      VHOST_USER_VERSION | VHOST_USER_REPLY_MASK,
      u64.encode({ value: known ? 0n : 1n }),
    );
  }
}
