/**
 * A back-end with a defect: what is between a good one and its front-ends
 * changes what is said.
 *
 * @module
 */
import { SystemError } from "../../../src/errors.ts";
import { CancelledError, Reactor } from "../../../src/io/reactor.ts";
import { UnixListener, UnixSocket } from "../../../src/io/unix_socket.ts";
import {
  Channel,
  closeFds,
  type Message,
} from "../../../src/vhost_user/channel.ts";

/** A message on its way. */
export interface Passing {
  request: number;
  flags: number;
  payload: Uint8Array<ArrayBuffer>;
  fds: Message["fds"];
}

/** What a defect does, each time for one connection. */
export interface Defect {
  /**
   * Changes a request. What it returns is answered to the front-end in place
   * of the back-end, which does not see the request; null: not even that.
   */
  request?(message: Passing): Passing | null | void;
  /** Changes a reply; `null` keeps it back, a list is sent in its place. */
  reply?(message: Passing): Passing[] | null | void;
}

/** Stands between front-ends and the back-end at another socket. */
export class Proxy implements AsyncDisposable {
  readonly #listener: UnixListener;
  readonly #target: string;
  readonly #makeDefect: (dies: () => void) => Defect;
  readonly #sessions = new Set<Promise<void>>();
  readonly #channels = new Set<Channel>();
  readonly #accepting: Promise<void>;

  /** Listens at `path` for front-ends of the back-end at `target`. */
  constructor(
    path: string,
    target: string,
    makeDefect: (dies: () => void) => Defect,
  ) {
    this.#listener = UnixListener.bind(path);
    this.#target = target;
    this.#makeDefect = makeDefect;
    this.#accepting = this.#accept();
  }

  /** As a process that ends. */
  die(): void {
    Reactor.main.cancel(this.#listener.fd.number);
    this.#listener[Symbol.dispose]();
    for (const channel of this.#channels) channel[Symbol.dispose]();
  }

  /** Ends every session. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.die();
    await this.#accepting;
    await Promise.all(this.#sessions);
  }

  async #accept(): Promise<void> {
    try {
      for (;;) {
        await Reactor.main.readable(this.#listener.fd.number);
        const socket = this.#listener.accept();
        if (socket === null) continue;
        const session = this.#serve(socket)
          .finally(() => this.#sessions.delete(session));
        this.#sessions.add(session);
      }
    } catch (error) {
      if (!(error instanceof CancelledError)) throw error;
    }
  }

  async #serve(socket: UnixSocket): Promise<void> {
    const front = new Channel(socket, Reactor.main);
    this.#channels.add(front);
    const back = new Channel(await connect(this.#target), Reactor.main);
    this.#channels.add(back);
    const defect = this.#makeDefect(() => this.die());
    const end = (): void => {
      for (const channel of [front, back]) {
        this.#channels.delete(channel);
        channel[Symbol.dispose]();
      }
    };
    await Promise.all([
      pass(front, back, front, (message) => {
        const answer = defect.request?.(message);
        return { forward: answer === undefined ? [message] : [], answer };
      }).finally(end),
      pass(back, front, front, (message) => {
        const replies = defect.reply?.(message);
        return { forward: replies === undefined ? [message] : replies ?? [] };
      }).finally(end),
    ]);
  }
}

/** Connects once there is room in the queue of those who want to. */
async function connect(path: string): Promise<UnixSocket> {
  for (;;) {
    try {
      return UnixSocket.connect(path);
    } catch (error) {
      if (!(error instanceof SystemError && error.code === "EAGAIN")) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

interface Decision {
  readonly forward: readonly Passing[];
  readonly answer?: Passing | null | void;
}

/** Passes messages on until one of the two ends. */
async function pass(
  from: Channel,
  to: Channel,
  front: Channel,
  decide: (message: Passing) => Decision,
): Promise<void> {
  try {
    for (let message; (message = await from.receive()) !== null;) {
      const passing: Passing = { ...message };
      const { forward, answer } = decide(passing);
      for (const { request, flags, payload, fds } of forward) {
        await to.send(request, flags, payload, fds);
      }
      if (answer) {
        await front.send(answer.request, answer.flags, answer.payload);
      }
      closeFds(message.fds);
    }
  } catch {
    // The other side is told by the end of the connection.
  }
}
