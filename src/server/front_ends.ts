/**
 * Where the front-ends of a server come from: they connect to it, or it
 * connects to them, or there is one and no other.
 *
 * @module
 */
import { SystemError } from "../errors.ts";
import { EMFILE, ENFILE, ENOMEM } from "../ffi/abi.ts";
import { Fd } from "../io/fd.ts";
import type { Reactor } from "../io/reactor.ts";
import { isListening, UnixListener, UnixSocket } from "../io/unix_socket.ts";
import { log } from "../log.ts";

/** How often a connection is tried that there is a shortage for. */
const SHORTAGE_MS = 100;
/** How often a front-end is looked for that does not listen. */
const DIAL_MS = 100;

/** Which front-ends there are. */
export interface FrontEndOptions {
  /** The path of the socket; exclusive with `fd`. */
  socketPath?: string;
  /** Whether the front-end listens there, and the server connects to it. */
  connect?: boolean;
  /** A descriptor to take over: listening or connected. */
  fd?: number;
}

/** Front-ends, one after the other. */
export interface FrontEnds extends Disposable {
  /** What is done to get them, for the log; "" where they are there already. */
  readonly approach: string;
  /** The connection to the next one, or null when there will be none any more. */
  next(): Promise<UnixSocket | null>;
  /** Lets `next` resolve with null. */
  stop(): void;
}

/** Those of `options`. Throws a SystemError. */
export function openFrontEnds(
  options: FrontEndOptions,
  reactor: Reactor,
): FrontEnds {
  if (options.fd === undefined) {
    const path = options.socketPath!;
    if (options.connect) return new DialledFrontEnds(path);
    const listener = UnixListener.bind(path);
    return new ListeningFrontEnds(listener, path, reactor);
  }
  const fd = new Fd(options.fd);
  if (!isListening(fd)) return new GivenFrontEnd(UnixSocket.fromFd(fd));
  const listener = UnixListener.fromFd(fd);
  const where = `descriptor ${options.fd}`;
  return new ListeningFrontEnds(listener, where, reactor);
}

/** Whoever connects to a socket. */
class ListeningFrontEnds implements FrontEnds {
  readonly approach: string;
  readonly #listener: UnixListener;
  readonly #reactor: Reactor;
  #stopped = false;

  constructor(listener: UnixListener, where: string, reactor: Reactor) {
    this.approach = `listens on ${where}`;
    this.#listener = listener;
    this.#reactor = reactor;
  }

  async next(): Promise<UnixSocket | null> {
    while (!this.#stopped) {
      let socket: UnixSocket | null;
      try {
        socket = this.#listener.accept();
      } catch (error) {
        if (!isShortage(error)) throw error;
        // Another device's front-end may hold what is missing, and leave.
        log.warnOnce(`${error.message}: the front-end waits until there is`);
        await new Promise((resolve) => setTimeout(resolve, SHORTAGE_MS));
        continue;
      }
      if (socket !== null) return socket;
      try {
        await this.#reactor.readable(this.#listener.fd.number);
      } catch (error) {
        if (!this.#stopped) throw error;
      }
    }
    return null;
  }

  stop(): void {
    this.#stopped = true;
    this.#reactor.cancel(this.#listener.fd.number);
  }

  [Symbol.dispose](): void {
    this.stop();
    this.#listener[Symbol.dispose]();
  }
}

/** Whoever listens at a path: is connected to again when it left. */
class DialledFrontEnds implements FrontEnds {
  readonly approach: string;
  readonly #path: string;
  readonly #stop = Promise.withResolvers<void>();
  #stopped = false;
  #isFirst = true;

  constructor(path: string) {
    this.approach = `connects to ${path}`;
    this.#path = path;
  }

  async next(): Promise<UnixSocket | null> {
    // One that hangs up at once is not called without end.
    if (!this.#isFirst) await this.#pause();
    this.#isFirst = false;
    while (!this.#stopped) {
      const socket = UnixSocket.tryConnect(this.#path);
      if (socket !== null) return socket;
      log.debug(`Nobody listens on ${this.#path} yet`);
      await this.#pause();
    }
    return null;
  }

  stop(): void {
    this.#stopped = true;
    this.#stop.resolve();
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  async #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, DIAL_MS);
    await Promise.race([promise, this.#stop.promise]);
    clearTimeout(timer);
  }
}

/** One that is connected already. */
class GivenFrontEnd implements FrontEnds {
  readonly approach = "";
  #socket: UnixSocket | null;

  constructor(socket: UnixSocket) {
    this.#socket = socket;
  }

  next(): Promise<UnixSocket | null> {
    const socket = this.#socket;
    this.#socket = null;
    return Promise.resolve(socket);
  }

  stop(): void {
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#socket?.[Symbol.dispose]();
    this.#socket = null;
  }
}

/** Whether there are no descriptors or no memory for one more connection. */
function isShortage(error: unknown): error is SystemError {
  return error instanceof SystemError &&
    [EMFILE, ENFILE, ENOMEM].includes(error.errno);
}
