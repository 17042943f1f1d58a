// Data plane: the flushes of one ring, many by one call.
/**
 * A flush is to cover the writes that were answered before it came, so one that
 * begins later than several of them came does for all: what comes while one is
 * under way waits for the next, however many they are.
 *
 * @module
 */
import { assert } from "../../src/assert.ts";
import type { IoUring, UringConsumer } from "../../src/io/io_uring.ts";
import { QUEUE_SIZE_MAX } from "../../src/virtqueue/layout.ts";

/** Calls under way at once: more write the same pages out twice. */
export const CALLS = 2;
/** No slot. */
const NONE = 0xffff;

/** Flushes the file for one ring, which gets a completion for each slot. */
export class Flushes implements UringConsumer {
  readonly #uring: IoUring;
  /** By call. */
  readonly #fds: readonly number[];
  readonly #ring: UringConsumer;
  readonly #consumer: number;
  /** By slot: the one behind it in the same list. */
  readonly #next = new Uint16Array(QUEUE_SIZE_MAX);
  /** By call: the slots that it is for, and its entry. */
  readonly #first = new Uint16Array(CALLS).fill(NONE);
  readonly #last = new Uint16Array(CALLS);
  readonly #entry = new Int32Array(CALLS);
  /** The slots that the next call is for. */
  #firstWaiting = NONE;
  #lastWaiting = NONE;

  /**
   * Flushes by `uring`, and tells `ring`. Each call takes another one of `fds`,
   * open or registered: see `DiskFile.openAgain`.
   */
  constructor(uring: IoUring, fds: readonly number[], ring: UringConsumer) {
    assert(fds.length === CALLS, "each call of a flush has a descriptor");
    this.#uring = uring;
    this.#fds = fds;
    this.#ring = ring;
    this.#consumer = uring.addConsumer(this);
  }

  /** Makes durable what was written until now; then `slot` completes. */
  flush(slot: number): void {
    this.#next[slot] = NONE;
    let free = -1;
    for (let call = 0; call < CALLS; call++) {
      if (this.#first[call] === NONE) free = call;
      else if (this.#uring.isPending(this.#entry[call]!)) {
        // The kernel does not know of it yet.
        this.#next[this.#last[call]!] = slot;
        this.#last[call] = slot;
        return;
      }
    }
    if (free >= 0) return this.#begin(free, slot, slot);
    if (this.#firstWaiting === NONE) this.#firstWaiting = slot;
    else this.#next[this.#lastWaiting] = slot;
    this.#lastWaiting = slot;
  }

  /** A call is done: so are the slots that it was for. */
  complete(call: number, result: number, flags: number): void {
    let slot = this.#first[call]!;
    this.#first[call] = NONE;
    if (this.#firstWaiting !== NONE) {
      this.#begin(call, this.#firstWaiting, this.#lastWaiting);
      this.#firstWaiting = NONE;
    }
    while (slot !== NONE) {
      // Where it failed the ring may want it once more.
      const next = this.#next[slot]!;
      this.#ring.complete(slot, result, flags);
      slot = next;
    }
  }

  #begin(call: number, first: number, last: number): void {
    this.#first[call] = first;
    this.#last[call] = last;
    this.#entry[call] = this.#uring.nextEntry;
    this.#uring.fsync(this.#consumer, call, this.#fds[call]!, true);
  }
}
