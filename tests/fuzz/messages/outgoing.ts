/**
 * Messages of a front-end as they are to be sent, and what may come with them.
 *
 * @module
 */
import { EventFd } from "../../../src/io/event_fd.ts";
import { ByteSource } from "../../../src/io/byte_source.ts";
import type { Fd } from "../../../src/io/fd.ts";
import { createMemfd } from "../../../src/io/memfd.ts";
import { UnixSocket } from "../../../src/io/unix_socket.ts";

/** Bytes of the large memfd. */
export const MEMORY_SIZE = 0x40_0000;
/** Bytes of the small one. */
export const SMALL_SIZE = 0x1000;

/** What can come along, by its kind. */
export type FdKind = "memory" | "small" | "event" | "socket" | "null";

/** One message. */
export interface Outgoing {
  readonly request: number;
  /** Version, REPLY, NEED_REPLY and what else. */
  readonly flags: number;
  readonly payload: Uint8Array<ArrayBuffer>;
  readonly fds: readonly FdKind[];
  /** Said to be the size of the payload; else that is true. */
  readonly claimed?: number;
  /** The header is sent before the payload, not with it. */
  readonly apart?: boolean;
}

/** Descriptors of each kind, to be lent. */
export class Supply implements Disposable {
  readonly #fds: Record<FdKind, Fd>;
  readonly #own: Disposable[];

  constructor() {
    const event = EventFd.open();
    const [one, other] = UnixSocket.pair();
    const nothing = ByteSource.open("/dev/null");
    const memory = createMemfd("ringside-fuzz", MEMORY_SIZE);
    const small = createMemfd("ringside-fuzz", SMALL_SIZE);
    this.#own = [event, one, other, nothing, memory, small];
    this.#fds = {
      memory,
      small,
      event: event.fd,
      socket: one.fd,
      null: nothing.fd,
    };
  }

  /** The descriptors of `kinds`, which stay with the supply. */
  lend(kinds: readonly FdKind[]): Fd[] {
    return kinds.map((kind) => this.#fds[kind]);
  }

  /** Closes them all. */
  [Symbol.dispose](): void {
    for (const each of this.#own) each[Symbol.dispose]();
  }
}
