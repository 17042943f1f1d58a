/**
 * Owned file descriptors.
 *
 * @module
 */
import {
  F_DUPFD_CLOEXEC,
  F_GETFL,
  F_SETFL,
  O_NONBLOCK,
  POLLOUT,
} from "../ffi/abi.ts";
import { check } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";

/** Standard error. */
export const STDERR = 2;

/**
 * A file descriptor with exactly one owner.
 *
 * @example Closed once, and known to be
 * ```ts
 * import { EventFd, Fd } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * using eventFd = EventFd.open();
 * const twin: Fd = eventFd.fd.duplicate();
 * twin.close();
 * assertEquals(twin.number, -1);
 * ```
 */
export class Fd implements Disposable {
  #number: number;

  /** Takes over the open descriptor `number`. */
  constructor(number: number) {
    this.#number = number;
  }

  /** The descriptor, or -1 once closed or released. */
  get number(): number {
    return this.#number;
  }

  /** Closes it. Harmless when done already. */
  close(): void {
    const number = this.#number;
    if (number < 0) return;
    this.#number = -1;
    // Linux frees the number whatever close() answers, so it is never retried.
    libc.close(number);
  }

  /** Gives the descriptor away: the caller owns the number that is returned. */
  release(): number {
    const number = this.#number;
    this.#number = -1;
    return number;
  }

  /** A second descriptor of the same open file, close-on-exec. */
  duplicate(): Fd {
    return duplicateFd(this.#number);
  }

  /** As `close`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** A descriptor of our own for the open file of `number`. Throws a SystemError. */
export function duplicateFd(number: number): Fd {
  // From 3 up, so that a closed standard stream is never replaced.
  return new Fd(check(libc.fcntl(number, F_DUPFD_CLOEXEC, 3), "fcntl"));
}

/**
 * Makes the open file of `number` non-blocking. That is a property of the open
 * file, so whoever shares it sees it too.
 */
export function setNonBlocking(number: number): void {
  const flags = check(libc.fcntl(number, F_GETFL, 0), "fcntl");
  if ((flags & O_NONBLOCK) !== 0) return;
  check(libc.fcntl(number, F_SETFL, flags | O_NONBLOCK), "fcntl");
}

/**
 * Whether a line written to `number` now would not wait for a reader: a file
 * always has room, a pipe or a terminal unless it is full.
 */
export function hasRoom(number: number): boolean {
  // struct pollfd { int fd; short events; short revents; }. What can't be asked
  // fails when it is written.
  return libc.poll(Int32Array.of(number, POLLOUT), 1n, 0) !== 0;
}
