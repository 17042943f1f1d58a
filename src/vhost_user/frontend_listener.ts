/**
 * A front-end that waits for back-ends to connect to it.
 *
 * @module
 */
import { CancelledError, type Reactor } from "../io/reactor.ts";
import type { UnixListener, UnixSocket } from "../io/unix_socket.ts";
import type { Frontend } from "./frontend.ts";

/**
 * Where back-ends connect to; see {@linkcode Frontend.listen}.
 *
 * @example A back-end that connects
 * ```ts
 * import { Frontend, UnixSocket } from "@ringside/ringside/vhost-user";
 *
 * const directory = Deno.makeTempDirSync();
 * {
 *   using listener = Frontend.listen(`${directory}/front.sock`);
 *   using _backend = UnixSocket.connect(listener.path);
 *   using frontend = await listener.accept();
 *   frontend.timeoutMs = 10_000;
 * }
 * Deno.removeSync(directory, { recursive: true });
 * ```
 */
export class FrontendListener implements Disposable {
  readonly #listener: UnixListener;
  readonly #reactor: Reactor;
  readonly #open: (socket: UnixSocket) => Frontend;

  /** Takes over `listener`; `open` makes a front-end of each connection. */
  constructor(
    listener: UnixListener,
    reactor: Reactor,
    open: (socket: UnixSocket) => Frontend,
  ) {
    this.#listener = listener;
    this.#reactor = reactor;
    this.#open = open;
  }

  /** The path of the socket. */
  get path(): string {
    return this.#listener.path;
  }

  /**
   * The next back-end that connects. Rejects with a CancelledError when this is
   * disposed, and with a SystemError.
   */
  async accept(): Promise<Frontend> {
    for (;;) {
      const { number } = this.#listener.fd;
      if (number < 0) throw new CancelledError(number);
      const socket = this.#listener.accept();
      if (socket !== null) return this.#open(socket);
      await this.#reactor.readable(number);
    }
  }

  /** Closes the socket and removes it; connections that were accepted stay. */
  [Symbol.dispose](): void {
    if (this.#listener.fd.number < 0) return;
    this.#reactor.cancel(this.#listener.fd.number);
    this.#listener[Symbol.dispose]();
  }
}
