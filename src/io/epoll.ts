// Data plane: waiting for several descriptors at once.
/**
 * @module
 */
import {
  EINTR,
  ENOENT,
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
  EPOLLRDHUP,
} from "../ffi/abi.ts";
import { check, errno, systemError } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { Mapping } from "../ffi/mapping.ts";
import { pointerTo } from "../ffi/pointer.ts";
import { EPOLL_EVENT } from "../ffi/struct.ts";
import { Fd } from "./fd.ts";

/** Events that one wait reports. */
const CAPACITY = 256;

/** An epoll set. Each descriptor in it carries 32 bits of data, by default itself. */
export class Epoll implements Disposable {
  /** There is something to read, or an end. */
  static readonly IN = EPOLLIN;
  /** There is room to write. */
  static readonly OUT = EPOLLOUT;
  /** Something is wrong; reported unasked. */
  static readonly ERROR = EPOLLERR;
  /** The peer is gone; reported unasked. */
  static readonly HANGUP = EPOLLHUP;
  /** The peer will not write any more. */
  static readonly READ_HANGUP = EPOLLRDHUP;
  /** Report changes, not states. */
  static readonly EDGE = EPOLLET;
  /** Report once, until modified. */
  static readonly ONE_SHOT = EPOLLONESHOT;

  /** The set itself: readable when a wait would not block. */
  readonly fd: Fd;
  readonly #events: Mapping;
  readonly #view: DataView;
  readonly #pointer: Deno.PointerObject;
  readonly #event: Uint8Array<ArrayBuffer>;
  readonly #eventView: DataView;

  private constructor(fd: Fd) {
    this.fd = fd;
    // Not of the JavaScript heap: a pool thread writes here while we go on.
    this.#events = Mapping.anonymous(CAPACITY * EPOLL_EVENT.size);
    this.#view = new DataView(this.#events.buffer);
    this.#pointer = pointerTo(this.#events.address);
    this.#event = new Uint8Array(EPOLL_EVENT.size);
    this.#eventView = new DataView(this.#event.buffer);
  }

  /** A new, empty set. Throws a SystemError. */
  static open(): Epoll {
    const number = check(libc.epollCreate1(EPOLL_CLOEXEC), "epoll_create1");
    return new Epoll(new Fd(number));
  }

  /** Adds `fd` or throws a SystemError: EPERM for what can't be waited for, as a regular file. */
  add(fd: number, events: number, data: number = fd): void {
    const result = this.tryAdd(fd, events, data);
    if (result < 0) throw systemError("epoll_ctl", -result);
  }

  /** Adds `fd`: 0 or a negative errno. */
  tryAdd(fd: number, events: number, data: number): number {
    return this.#control(EPOLL_CTL_ADD, fd, events, data);
  }

  /** Changes what is wanted of `fd`, adding it where it is not in the set. */
  modify(fd: number, events: number, data: number = fd): void {
    const result = this.tryModify(fd, events, data);
    if (result < 0) throw systemError("epoll_ctl", -result);
  }

  /** As `modify`: 0 or a negative errno. */
  tryModify(fd: number, events: number, data: number): number {
    const result = this.#control(EPOLL_CTL_MOD, fd, events, data);
    return result === -ENOENT ? this.tryAdd(fd, events, data) : result;
  }

  /** Removes `fd`. Harmless where it is not in the set or closed. */
  remove(fd: number): void {
    this.#control(EPOLL_CTL_DEL, fd, 0, 0);
  }

  /**
   * Waits up to `timeoutMs` (-1: for ever): how many descriptors are ready,
   * for `dataAt` and `eventsAt`. 0 also when a signal interrupted the wait.
   */
  wait(timeoutMs: number): number {
    const fd = this.fd.number;
    const count = libc.epollWait(fd, this.#pointer, CAPACITY, timeoutMs);
    if (count >= 0) return count;
    const failure = errno();
    return failure === EINTR ? 0 : -failure;
  }

  /**
   * As `wait`, on a pool thread. One at a time, and no `wait` meanwhile.
   * Descriptors may be added and removed during it; closing the set does not
   * end it.
   */
  waitAsync(timeoutMs: number): Promise<number> {
    const fd = this.fd.number;
    // errno stays on the pool thread: asking again, without waiting, has it.
    return libc.epollWaitAsync(fd, this.#pointer, CAPACITY, timeoutMs)
      .then((count) => count >= 0 ? count : this.wait(0));
  }

  /** The data of ready descriptor `index` of the last wait. */
  dataAt(index: number): number {
    const at = index * EPOLL_EVENT.size + EPOLL_EVENT.at.data;
    return this.#view.getUint32(at, true);
  }

  /** The events of ready descriptor `index` of the last wait. */
  eventsAt(index: number): number {
    const at = index * EPOLL_EVENT.size + EPOLL_EVENT.at.events;
    return this.#view.getUint32(at, true);
  }

  /** Closes the set. No wait may be under way. */
  [Symbol.dispose](): void {
    this.fd.close();
    this.#events[Symbol.dispose]();
  }

  #control(
    operation: number,
    fd: number,
    events: number,
    data: number,
  ): number {
    const { at } = EPOLL_EVENT;
    this.#eventView.setUint32(at.events, events, true);
    this.#eventView.setUint32(at.data, data, true);
    const result = libc.epollCtl(
      this.fd.number,
      operation,
      fd,
      this.#event,
    );
    return result < 0 ? -errno() : 0;
  }
}
