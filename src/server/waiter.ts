// Data plane: where one thread waits for kicks, completions and its mailbox.
/**
 * @module
 */
import type { ReadySource } from "../device/device.ts";
import { IORING_CQE_F_MORE } from "../ffi/abi.ts";
import { Epoll } from "../io/epoll.ts";
import type { IoUring } from "../io/io_uring.ts";
import { log } from "../log.ts";

const POLLIN = Epoll.IN;
const POLLOUT = Epoll.OUT;
const MAILBOX = 0xffffffff;
/** The low bits of a slot are the ring, the others tell its lives apart. */
const INDEX_BITS = 16;

/** Watched descriptors, by number. */
type Sources = Map<number, ReadySource>;

/** One place to wait at. */
export interface Waiter extends Disposable {
  /** Readable when `wait` would return at once: for the inline plane. */
  readonly fd: number;
  /** The mailbox was written to; whoever reads it clears this. */
  mailboxSignalled: boolean;
  /** Wakes for kicks of ring `index` on `fd`. */
  watch(index: number, fd: number): void;
  /** No longer wakes for ring `index`. */
  unwatch(index: number): void;
  /** Wakes for the mailbox's eventfd. */
  watchMailbox(fd: number): void;
  /** Tells `source` when `fd` becomes readable, or also when writable. */
  watchSource(fd: number, source: ReadySource, writable: boolean): void;
  /** No longer tells who watches `fd`. */
  unwatchSource(fd: number): void;
  /** Blocks until there is something. */
  wait(): void;
  /** Takes note of what is there, without blocking. */
  poll(): void;
}

/** Kicks as multishot polls, next to the thread's I/O requests. */
export class UringWaiter implements Waiter {
  readonly fd: number;
  mailboxSignalled = false;
  readonly #uring: IoUring;
  readonly #consumer: number;
  readonly #fds: Int32Array;
  readonly #lives: Uint16Array;
  readonly #watches: UringWatches;
  #mailboxFd = -1;

  /** Waits on `uring` for up to `ringCount` rings. */
  constructor(uring: IoUring, ringCount: number) {
    this.#uring = uring;
    this.fd = uring.fd.number;
    this.#consumer = uring.addConsumer(this);
    this.#watches = new UringWatches(uring);
    this.#fds = new Int32Array(ringCount).fill(-1);
    this.#lives = new Uint16Array(ringCount);
  }

  watch(index: number, fd: number): void {
    this.#fds[index] = fd;
    this.#lives[index] = this.#lives[index]! + 1;
    this.#arm(index);
  }

  unwatch(index: number): void {
    if (this.#fds[index]! < 0) return;
    this.#fds[index] = -1;
    this.#uring.pollRemove(this.#consumer, this.#slotOf(index));
    // The kernel holds the eventfd until the removal is submitted.
    this.#uring.submit();
  }

  watchMailbox(fd: number): void {
    this.#mailboxFd = fd;
    this.#uring.pollAdd(this.#consumer, MAILBOX, fd, POLLIN, true);
  }

  watchSource(fd: number, source: ReadySource, writable: boolean): void {
    this.#watches.add(fd, source, writable ? POLLIN | POLLOUT : POLLIN);
  }

  unwatchSource(fd: number): void {
    this.#watches.remove(fd);
  }

  wait(): void {
    this.#uring.submitAndWait(1);
  }

  poll(): void {
    this.#uring.reap(0xffff);
  }

  /** Called by the uring: a kick, or the end of a multishot poll. */
  complete(slot: number, result: number, flags: number): void {
    const more = (flags & IORING_CQE_F_MORE) !== 0;
    if (slot === MAILBOX) {
      this.mailboxSignalled = true;
      if (!more && this.#mailboxFd >= 0) this.watchMailbox(this.#mailboxFd);
      return;
    }
    if (more) return;
    const index = slot & 0xffff;
    // A removed poll ends too, perhaps after its ring was started anew.
    if (slot !== this.#slotOf(index) || this.#fds[index]! < 0) return;
    if (result >= 0) this.#arm(index);
    else unpollable(index, result);
  }

  [Symbol.dispose](): void {
    for (let index = 0; index < this.#fds.length; index++) this.unwatch(index);
    this.#mailboxFd = -1;
  }

  #slotOf(index: number): number {
    return (this.#lives[index]! << INDEX_BITS | index) >>> 0;
  }

  #arm(index: number): void {
    const fd = this.#fds[index]!;
    this.#uring.pollAdd(this.#consumer, this.#slotOf(index), fd, POLLIN, true);
  }
}

/** What a device watches, as multishot polls; the slot is the descriptor. */
class UringWatches {
  readonly #uring: IoUring;
  readonly #consumer: number;
  readonly #sources: Sources = new Map();
  readonly #events = new Map<number, number>();
  /** By descriptor: removals whose last completion is still to come. */
  readonly #ending = new Map<number, number>();

  constructor(uring: IoUring) {
    this.#uring = uring;
    this.#consumer = uring.addConsumer(this);
  }

  add(fd: number, source: ReadySource, events: number): void {
    this.#sources.set(fd, source);
    this.#events.set(fd, events);
    this.#arm(fd);
  }

  remove(fd: number): void {
    if (!this.#sources.delete(fd)) return;
    this.#ending.set(fd, (this.#ending.get(fd) ?? 0) + 1);
    this.#uring.pollRemove(this.#consumer, fd);
    // The kernel holds the descriptor until the removal is submitted.
    this.#uring.submit();
  }

  complete(fd: number, result: number, flags: number): void {
    if ((flags & IORING_CQE_F_MORE) === 0) {
      const ending = this.#ending.get(fd);
      if (ending !== undefined) {
        if (ending === 1) this.#ending.delete(fd);
        else this.#ending.set(fd, ending - 1);
        return;
      }
      if (result >= 0 && this.#sources.has(fd)) this.#arm(fd);
    }
    this.#sources.get(fd)?.ready();
  }

  #arm(fd: number): void {
    const events = this.#events.get(fd)!;
    this.#uring.pollAdd(this.#consumer, fd, fd, events, true);
  }
}

/** Kicks as edge-triggered epoll events, where there is no io_uring. */
export class EpollWaiter implements Waiter {
  mailboxSignalled = false;
  readonly #epoll: Epoll;
  readonly #fds: Int32Array;
  readonly #sources: Sources = new Map();
  #mailboxFd = -1;

  /** Waits for up to `ringCount` rings. */
  constructor(ringCount: number) {
    this.#epoll = Epoll.open();
    this.#fds = new Int32Array(ringCount).fill(-1);
  }

  get fd(): number {
    return this.#epoll.fd.number;
  }

  watch(index: number, fd: number): void {
    const errno = this.#epoll.tryAdd(fd, Epoll.IN | Epoll.EDGE, fd);
    if (errno < 0) unpollable(index, errno);
    else this.#fds[index] = fd;
  }

  unwatch(index: number): void {
    const fd = this.#fds[index]!;
    if (fd < 0) return;
    this.#fds[index] = -1;
    this.#epoll.remove(fd);
  }

  watchMailbox(fd: number): void {
    this.#mailboxFd = fd;
    this.#epoll.add(fd, Epoll.IN | Epoll.EDGE, fd);
  }

  watchSource(fd: number, source: ReadySource, writable: boolean): void {
    const out = writable ? Epoll.OUT : 0;
    this.#sources.set(fd, source);
    this.#epoll.add(fd, Epoll.IN | Epoll.EDGE | out);
  }

  unwatchSource(fd: number): void {
    if (this.#sources.delete(fd)) this.#epoll.remove(fd);
  }

  wait(): void {
    this.#note(this.#epoll.wait(-1));
  }

  poll(): void {
    this.#note(this.#epoll.wait(0));
  }

  [Symbol.dispose](): void {
    this.#epoll[Symbol.dispose]();
  }

  #note(count: number): void {
    for (let i = 0; i < count; i++) {
      const fd = this.#epoll.dataAt(i);
      if (fd === this.#mailboxFd) this.mailboxSignalled = true;
      else this.#sources.get(fd)?.ready();
    }
  }
}

function unpollable(index: number, result: number): void {
  log.warn(
    `The kick descriptor of ring ${index} can't be polled (errno ${-result}): ` +
      "the ring is served only while others keep its thread awake; " +
      "the front-end should pass an eventfd",
  );
}
