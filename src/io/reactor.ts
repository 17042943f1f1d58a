/**
 * Waiting for descriptors without holding the thread.
 *
 * @module
 */
import { EPERM } from "../ffi/abi.ts";
import { systemError } from "../ffi/errno.ts";
import { Epoll } from "./epoll.ts";
import { EventFd } from "./event_fd.ts";

/** Who waits for one descriptor. */
interface Interest {
  readers: PromiseWithResolvers<void>[];
  writers: PromiseWithResolvers<void>[];
}

/**
 * A wait was cancelled, because its descriptor is about to be closed.
 *
 * @example A wait that is given up before its descriptor is closed
 * ```ts
 * import { EventFd } from "@ringside/ringside/testing";
 * import { CancelledError, Reactor } from "@ringside/ringside/vhost-user";
 * import { assertRejects } from "@std/assert";
 *
 * await using reactor = new Reactor();
 * using call = EventFd.open();
 * const called = assertRejects(
 *   () => reactor.readable(call.fd.number),
 *   CancelledError,
 * );
 * reactor.cancel(call.fd.number);
 * await called;
 * ```
 */
export class CancelledError extends Error {
  /** As of every error of this class. */
  override readonly name = "CancelledError";

  /** The wait for descriptor `fd` was cancelled. */
  constructor(fd: number) {
    super(`The wait for descriptor ${fd} was cancelled`);
  }
}

let main: Reactor | null = null;

/**
 * Promises for descriptors to become readable or writable. While there are
 * waiters, one `epoll_wait` is under way on a pool thread; without waiters
 * nothing keeps the process alive.
 *
 * Whoever closes a descriptor cancels it first: the kernel forgets a closed
 * descriptor without a word, and its number is reused. A wait may end too early,
 * as when the number was another descriptor's a moment ago: try, and wait anew.
 *
 * @example A descriptor that becomes readable
 * ```ts
 * import { EventFd } from "@ringside/ringside/testing";
 * import { Reactor } from "@ringside/ringside/vhost-user";
 *
 * await using reactor = new Reactor();
 * using call = EventFd.open();
 * const called = reactor.readable(call.fd.number);
 * call.signal();
 * await called;
 * ```
 */
export class Reactor implements AsyncDisposable {
  readonly #epoll = Epoll.open();
  readonly #wake = EventFd.open();
  readonly #interests = new Map<number, Interest>();
  /** The loop that waits, while there are waiters. */
  #parked: Promise<void> | null = null;
  /** Whether the pool thread is in `epoll_wait`. */
  #waiting = false;

  /** A reactor of its own, for a test; else see `Reactor.main`. */
  constructor() {
    this.#epoll.add(this.#wake.fd.number, Epoll.IN);
  }

  /** The one of this thread, made at first use. */
  static get main(): Reactor {
    return main ??= new Reactor();
  }

  /**
   * Resolves when `fd` has something to read, is at its end or has failed; at
   * once for what can't be waited for, as a regular file. Rejects with a
   * CancelledError or a SystemError.
   */
  readable(fd: number): Promise<void> {
    return this.#wait(fd, "readers");
  }

  /** Resolves when `fd` has room to write or has failed, likewise. */
  writable(fd: number): Promise<void> {
    return this.#wait(fd, "writers");
  }

  /** Rejects all who wait for `fd` with a CancelledError. */
  cancel(fd: number): void {
    this.#reject(fd, new CancelledError(fd));
  }

  /** Resolves when no wait is under way on the pool thread any more. */
  async idle(): Promise<void> {
    while (this.#parked !== null) await this.#parked;
  }

  /** Cancels every wait and closes what it holds. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const fd of [...this.#interests.keys()]) this.cancel(fd);
    await this.idle();
    this.#epoll[Symbol.dispose]();
    this.#wake[Symbol.dispose]();
    if (main === this) main = null;
  }

  #wait(fd: number, side: keyof Interest): Promise<void> {
    const known = this.#interests.get(fd);
    const interest = known ?? { readers: [], writers: [] };
    const waiter = Promise.withResolvers<void>();
    interest[side].push(waiter);
    const events = eventsOf(interest);
    if (known !== undefined) {
      this.#change(fd, interest);
    } else {
      const result = this.#epoll.tryAdd(fd, events, fd);
      // EPERM: a file of a kind that is always ready.
      if (result === -EPERM) return Promise.resolve();
      if (result < 0) return Promise.reject(systemError("epoll_ctl", -result));
      this.#interests.set(fd, interest);
    }
    if (this.#interests.size > 0) this.#parked ??= this.#park();
    return waiter.promise;
  }

  /** Tells the kernel what is waited for now. */
  #change(fd: number, interest: Interest): void {
    const events = eventsOf(interest);
    if (events === 0) return this.#forget(fd);
    const result = this.#epoll.tryModify(fd, events, fd);
    if (result < 0) this.#reject(fd, systemError("epoll_ctl", -result));
  }

  /** Rejects all who wait for `fd`. */
  #reject(fd: number, error: Error): void {
    const interest = this.#interests.get(fd);
    if (interest === undefined) return;
    this.#forget(fd);
    for (const waiter of interest.readers) waiter.reject(error);
    for (const waiter of interest.writers) waiter.reject(error);
  }

  #forget(fd: number): void {
    this.#interests.delete(fd);
    this.#epoll.remove(fd);
    // A wait under way would keep the process alive for nobody.
    if (this.#interests.size === 0 && this.#waiting) this.#wake.signal();
  }

  async #park(): Promise<void> {
    while (this.#interests.size > 0) {
      this.#waiting = true;
      const count = await this.#epoll.waitAsync(-1);
      this.#waiting = false;
      if (count < 0) this.#fail(-count);
      for (let i = 0; i < count; i++) {
        this.#dispatch(this.#epoll.dataAt(i), this.#epoll.eventsAt(i));
      }
      // Lets those who were woken wait anew, so that they are parked with.
      await Promise.resolve();
    }
    this.#parked = null;
  }

  #fail(errno: number): void {
    const error = systemError("epoll_wait", errno);
    for (const fd of [...this.#interests.keys()]) this.#reject(fd, error);
  }

  #dispatch(fd: number, events: number): void {
    if (fd === this.#wake.fd.number) {
      this.#wake.clear();
      return;
    }
    const interest = this.#interests.get(fd);
    if (interest === undefined) return;
    const failed = (events & (Epoll.ERROR | Epoll.HANGUP)) !== 0;
    const woken: PromiseWithResolvers<void>[] = [];
    if (failed || (events & (Epoll.IN | Epoll.READ_HANGUP)) !== 0) {
      woken.push(...interest.readers.splice(0));
    }
    if (failed || (events & Epoll.OUT) !== 0) {
      woken.push(...interest.writers.splice(0));
    }
    this.#change(fd, interest);
    for (const waiter of woken) waiter.resolve();
  }
}

function eventsOf(interest: Interest): number {
  let events = 0;
  if (interest.readers.length > 0) events |= Epoll.IN | Epoll.READ_HANGUP;
  if (interest.writers.length > 0) events |= Epoll.OUT;
  return events;
}
