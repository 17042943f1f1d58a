// Data plane: one running ring and its notifiers.
/**
 * @module
 */
import { signalEventFd } from "../io/event_fd.ts";
import { about, log } from "../log.ts";
import type { DirtyLog } from "../memory/dirty_log.ts";
import type { Virtqueue } from "../virtqueue/virtqueue.ts";

/** A virtqueue with what the front-end attached to it. */
export class LiveRing {
  readonly queue: Virtqueue;
  enabled = false;
  /** How often the driver was called. */
  calls = 0;
  callFd: number;
  errFd: number;
  /** It has no kick descriptor: its thread never parks. */
  polled = false;
  /** Set while a stop waits for the requests in flight. */
  stopped: ((base: number) => void) | null = null;
  readonly #discards: boolean;
  readonly #name: string;
  #reported = false;

  /**
   * Wraps an open virtqueue; `discards`: chains are popped while disabled; the
   * log calls its device `name`.
   */
  constructor(
    queue: Virtqueue,
    callFd: number,
    errFd: number,
    discards: boolean,
    name = "",
  ) {
    this.queue = queue;
    this.callFd = callFd;
    this.errFd = errFd;
    this.#discards = discards;
    this.#name = name;
  }

  /** Whether chains may be popped: to be served, or discarded while disabled. */
  get isServed(): boolean {
    return (this.enabled || this.#discards) &&
      (this.stopped === null || this.queue.recovered > 0) &&
      this.queue.broken === "";
  }

  /**
   * Whether nothing is left to do before it stops. What an earlier process had
   * in flight is done first, unless the ring is disabled.
   */
  get isDrained(): boolean {
    return this.queue.inFlight === 0 &&
      (this.queue.recovered === 0 || !this.isServed);
  }

  /** Publishes what was pushed, calls the driver where it wants that. */
  flush(): void {
    if (this.queue.flush()) this.call();
    const dirty = this.queue.chain.memory.log;
    if (dirty !== null && dirty.touched) this.#tellOfLog(dirty);
    if (this.queue.broken !== "" && !this.#reported) this.#report();
  }

  /** Signals the call eventfd. */
  call(): void {
    this.calls++;
    if (this.callFd >= 0) signalEventFd(this.callFd);
  }

  #tellOfLog(dirty: DirtyLog): void {
    dirty.touched = false;
    if (dirty.eventFd >= 0) signalEventFd(dirty.eventFd);
    if (dirty.lost === 0) return;
    dirty.lost = 0;
    const who = about(this.#name);
    log.warn(
      `${who}Ring ${this.queue.index} wrote to pages that the log has no room ` +
        "for: they are not moved with the guest",
    );
  }

  #report(): void {
    this.#reported = true;
    const { index, broken } = this.queue;
    log.warn(`${about(this.#name)}Ring ${index} is broken: ${broken}`);
    if (this.errFd >= 0) signalEventFd(this.errFd);
  }
}
