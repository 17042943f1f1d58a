// Data plane: kicks and calls.
/**
 * eventfds: our own, and those that a front-end gave us.
 *
 * @module
 */
import { EAGAIN, EFD_CLOEXEC, EFD_NONBLOCK, EINTR } from "../ffi/abi.ts";
import { check, errno } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { Fd } from "./fd.ts";

/** The number 1 and a number read, of 64 bits each. */
const ONE: Uint32Array<ArrayBuffer> = Uint32Array.of(1, 0);
const counter: Uint32Array<ArrayBuffer> = new Uint32Array(2);

/**
 * An eventfd that we own, non-blocking.
 *
 * @example Signalled, and cleared
 * ```ts
 * import { EventFd } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * using kick = EventFd.open();
 * kick.signal();
 * assertEquals(kick.clear(), true);
 * assertEquals(kick.clear(), false);
 * ```
 */
export class EventFd implements Disposable {
  /** The descriptor, to be polled or passed on. */
  readonly fd: Fd;

  private constructor(fd: Fd) {
    this.fd = fd;
  }

  /** A new one that is not signalled. Throws a SystemError. */
  static open(): EventFd {
    const flags = EFD_CLOEXEC | EFD_NONBLOCK;
    return new EventFd(new Fd(check(libc.eventfd(0, flags), "eventfd")));
  }

  /** Signals whoever waits. */
  signal(): void {
    signalEventFd(this.fd.number);
  }

  /** Makes it unsignalled; whether it was signalled. */
  clear(): boolean {
    return clearEventFd(this.fd.number) > 0;
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.fd.close();
  }
}

/**
 * Adds 1 to the eventfd: 0, or a negative errno. Never blocks, provided that
 * `setNonBlocking` was applied to the descriptor once, as is done with each
 * that a front-end sends: be it an eventfd that is full or a full pipe in its
 * place. A full eventfd is signalled already, so that counts as success.
 */
export function signalEventFd(fd: number): number {
  for (;;) {
    if (libc.write(fd, ONE, 8) >= 0) return 0;
    const failure = errno();
    if (failure === EAGAIN) return 0;
    if (failure !== EINTR) return -failure;
  }
}

/**
 * Sets a non-blocking eventfd back to 0: how often it was signalled. 0 too
 * where it can't be read.
 */
export function clearEventFd(fd: number): number {
  for (;;) {
    if (libc.read(fd, counter, 8) === 8) return counter[0]!;
    if (errno() !== EINTR) return 0;
  }
}
