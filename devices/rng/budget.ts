// Data plane: how many bytes may be given in a period.
/**
 * @module
 */
import type {
  DataPlaneServices,
  ReadySource,
} from "../../src/device/device.ts";
import { TimerFd } from "../../src/io/timer_fd.ts";

/**
 * So many bytes each period. What is left over at the end of a period is lost,
 * and a period begins with the first byte after an idle one: so nothing ticks
 * while nothing is taken.
 */
export class Budget implements ReadySource, Disposable {
  /** Bytes that may be taken now. */
  left: number;
  readonly #maxBytes: number;
  readonly #periodMs: number;
  readonly #services: DataPlaneServices;
  readonly #timer: TimerFd = TimerFd.open();
  #ticking = false;

  /** `maxBytes` every `periodMs` milliseconds. Throws a SystemError. */
  constructor(
    maxBytes: number,
    periodMs: number,
    services: DataPlaneServices,
  ) {
    this.left = maxBytes;
    this.#maxBytes = maxBytes;
    this.#periodMs = periodMs;
    this.#services = services;
    services.watch(this.#timer.fd.number, this);
  }

  /** Takes `size` bytes, which were left. */
  spend(size: number): void {
    this.left -= size;
    if (this.#ticking || size === 0) return;
    this.#ticking = true;
    this.#timer.start(this.#periodMs, this.#periodMs);
  }

  /** The timer expired: the next period begins. */
  ready(): void {
    if (this.#timer.expirations() === 0) return;
    if (this.left === this.#maxBytes) {
      this.#ticking = false;
      this.#timer.stop();
    }
    this.left = this.#maxBytes;
  }

  /** Closes the timer. */
  [Symbol.dispose](): void {
    this.#services.unwatch(this.#timer.fd.number);
    this.#timer[Symbol.dispose]();
  }
}
