// Data plane: time as something to be waited for.
/**
 * @module
 */
import {
  CLOCK_MONOTONIC,
  EINTR,
  TFD_CLOEXEC,
  TFD_NONBLOCK,
} from "../ffi/abi.ts";
import { check, errno } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { ITIMERSPEC } from "../ffi/struct.ts";
import { Fd } from "./fd.ts";

const MILLION = 1_000_000;
const INTERVAL = ITIMERSPEC.at.intervalSeconds / 4;
const INTERVAL_NS = ITIMERSPEC.at.intervalNanoseconds / 4;
const FIRST = ITIMERSPEC.at.seconds / 4;
const FIRST_NS = ITIMERSPEC.at.nanoseconds / 4;

/** A timer whose descriptor becomes readable when it expires. Stopped at first. */
export class TimerFd implements Disposable {
  /** The descriptor, to be watched. */
  readonly fd: Fd;
  readonly #setting: Uint32Array<ArrayBuffer>;
  readonly #counter: Uint32Array<ArrayBuffer>;

  private constructor(fd: Fd) {
    this.fd = fd;
    this.#setting = new Uint32Array(ITIMERSPEC.size / 4);
    this.#counter = new Uint32Array(2);
  }

  /** A new one, by the clock that nobody sets. Throws a SystemError. */
  static open(): TimerFd {
    const flags = TFD_NONBLOCK | TFD_CLOEXEC;
    const number = libc.timerfdCreate(CLOCK_MONOTONIC, flags);
    return new TimerFd(new Fd(check(number, "timerfd_create")));
  }

  /**
   * Expires in `firstMs` milliseconds, at least 1 and below 2^32, and then
   * every `intervalMs`, unless that is 0. Forgets what it was started with.
   */
  start(firstMs: number, intervalMs: number): void {
    this.#set(firstMs, intervalMs);
  }

  /** Expires no more; expirations that were not taken are forgotten. */
  stop(): void {
    this.#set(0, 0);
  }

  /** How often it expired since this was asked last. */
  expirations(): number {
    for (;;) {
      if (libc.read(this.fd.number, this.#counter, 8) === 8) {
        return this.#counter[0]!;
      }
      if (errno() !== EINTR) return 0;
    }
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.fd.close();
  }

  #set(firstMs: number, intervalMs: number): void {
    const setting = this.#setting;
    setting[FIRST] = firstMs / 1000;
    setting[FIRST_NS] = firstMs % 1000 * MILLION;
    setting[INTERVAL] = intervalMs / 1000;
    setting[INTERVAL_NS] = intervalMs % 1000 * MILLION;
    libc.timerfdSettime(this.fd.number, 0, setting, null);
  }
}
