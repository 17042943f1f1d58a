// Data plane: one ring under load.
/**
 * @module
 */
import { EventFd } from "../io/event_fd.ts";
import { nanoseconds, seconds, since } from "./clock.ts";
import { LoadError } from "./errors.ts";
import type { Histogram } from "./histogram.ts";
import { type LoadRing, NONE, UNKNOWN } from "./load_ring.ts";

/** What the requests of a lane are about. */
export interface Work {
  /** Makes slot `slot` the next request: its shape. */
  prepare(slot: number): number;

  /** Slot `slot` came back, with so many bytes written. */
  finish(slot: number, written: number): void;
}

/** What all lanes of a run may still begin. */
export class Budget {
  /** No more are to be begun. */
  isSpent = false;
  /** How many may be begun yet. */
  readonly left: Float64Array = new Float64Array(1);

  /** Takes one: whether there was one. */
  take(): boolean {
    if (this.isSpent) return false;
    this.left[0] = this.left[0]! - 1;
    if (this.left[0] <= 0) this.isSpent = true;
    return true;
  }
}

/** A ring, what notifies on it, and what is out on it. */
export abstract class Lane implements Disposable {
  /** The ring. */
  readonly ring: LoadRing;
  /** Kicks the device. */
  readonly kickFd: EventFd = EventFd.open();
  /** What the device calls: not read before the end, so that it counts. */
  readonly callFd: EventFd = EventFd.open();
  /** Kicks that were sent. */
  kicks = 0;
  /** What the device has. */
  outCount = 0;

  /** A lane on `ring`. */
  constructor(ring: LoadRing) {
    this.ring = ring;
  }

  /** Begins: all slots that there may be. */
  abstract begin(budget: Budget): void;

  /** Takes back what there is and begins anew: how many came back. */
  abstract turn(): number;

  /** Whether there is nothing more to wait for. */
  get isDone(): boolean {
    return this.outCount === 0;
  }

  /** Shows what is staged, with a kick where it is wanted. */
  publish(): void {
    if (!this.ring.publish()) return;
    this.kicks++;
    this.kickFd.signal();
  }

  /** The next slot that came back, or NONE. Throws a LoadError. */
  takeSlot(): number {
    const slot = this.ring.take();
    if (slot === UNKNOWN) {
      throw new LoadError(
        "The back-end gave back a request that it did not have, wanted one " +
          "that is out: ringside check says more",
      );
    }
    if (slot !== NONE) this.outCount--;
    return slot;
  }

  /** Closes the eventfds. */
  [Symbol.dispose](): void {
    this.kickFd[Symbol.dispose]();
    this.callFd[Symbol.dispose]();
  }
}

/** Requests that are made again as soon as they come back. */
export class RequestLane extends Lane {
  /** How long they took. */
  readonly histogram: Histogram;
  readonly #work: Work;
  readonly #startSeconds: Int32Array;
  readonly #startNanoseconds: Int32Array;
  #budget = new Budget();

  /** `depth` slots of `ring`, whose times go to `histogram`. */
  constructor(
    ring: LoadRing,
    depth: number,
    work: Work,
    histogram: Histogram,
  ) {
    super(ring);
    this.#work = work;
    this.histogram = histogram;
    this.#startSeconds = new Int32Array(depth);
    this.#startNanoseconds = new Int32Array(depth);
  }

  override begin(budget: Budget): void {
    this.#budget = budget;
    const depth = this.#startSeconds.length;
    for (let slot = 0; slot < depth && budget.take(); slot++) this.#add(slot);
    this.publish();
  }

  override turn(): number {
    const { ring, histogram } = this;
    const work = this.#work;
    const startSeconds = this.#startSeconds;
    const startNanoseconds = this.#startNanoseconds;
    if (!ring.look()) return 0;
    let count = 0;
    while (count < startSeconds.length) {
      const slot = this.takeSlot();
      if (slot === NONE) break;
      count++;
      histogram.add(since(startSeconds[slot]!, startNanoseconds[slot]!));
      work.finish(slot, ring.written);
      if (this.#budget.take()) this.#add(slot);
    }
    this.publish();
    return count;
  }

  #add(slot: number): void {
    this.#startSeconds[slot] = seconds();
    this.#startNanoseconds[slot] = nanoseconds();
    this.outCount++;
    this.ring.add(slot, this.#work.prepare(slot));
  }
}
