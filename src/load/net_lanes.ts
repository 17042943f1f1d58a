// Data plane: the rings of a network card under load.
/**
 * @module
 */
import { nanoseconds, seconds, since } from "./clock.ts";
import { type Frames, NET_HEADER_SIZE } from "./frames.ts";
import type { Histogram } from "./histogram.ts";
import { Budget, Lane } from "./lane.ts";
import { type LoadRing, NONE } from "./load_ring.ts";

/** A frame that did not come back for so long is lost, nanoseconds. */
const LOST_NS = 1e9;

/** What a frame that is out has yet to do, as bits. */
const TO_BE_TAKEN = 1;
const TO_BE_RECEIVED = 2;

/** Receives frames into buffers that are posted again at once. */
export class ReceiveLane extends Lane {
  /** Frames that came. */
  received = 0;
  /** Buffers that came back with less than a header, or more than they have. */
  errors = 0;
  readonly #bytes = new Float64Array(1);
  readonly #buffers: readonly Uint32Array[];
  readonly #echo: EchoLane | null;
  readonly #isLimit: boolean;
  #budget = new Budget();
  #isPosted = false;

  /**
   * One slot of `ring` for each of `buffers`; frames go to `echo`, or, where
   * `isLimit`, are what the budget counts.
   */
  constructor(
    ring: LoadRing,
    buffers: readonly Uint32Array[],
    echo: EchoLane | null,
    isLimit: boolean,
  ) {
    super(ring);
    this.#buffers = buffers;
    this.#echo = echo;
    this.#isLimit = isLimit;
  }

  /** Bytes of the frames that came. */
  get bytes(): number {
    return this.#bytes[0]!;
  }

  /** Buffers are never all back: frames count, or nothing. */
  override get isDone(): boolean {
    return !this.#isLimit || this.#budget.isSpent;
  }

  /** Forgets what was counted. */
  clear(): void {
    this.received = 0;
    this.errors = 0;
    this.#bytes[0] = 0;
  }

  override begin(budget: Budget): void {
    this.#budget = budget;
    if (this.#isPosted) return;
    this.#isPosted = true;
    for (let slot = 0; slot < this.#buffers.length; slot++) {
      this.outCount++;
      this.ring.add(slot, 0);
    }
    this.publish();
  }

  override turn(): number {
    const { ring } = this;
    const most = this.#buffers.length;
    if (!ring.look()) return 0;
    let count = 0;
    while (count < most && !(this.#isLimit && this.#budget.isSpent)) {
      const slot = this.takeSlot();
      if (slot === NONE) break;
      count++;
      this.#take(slot, ring.written);
      this.outCount++;
      ring.add(slot, 0);
    }
    this.publish();
    return count;
  }

  #take(slot: number, written: number): void {
    const buffer = this.#buffers[slot]!;
    if (written <= NET_HEADER_SIZE || written > buffer.byteLength) {
      this.errors++;
      return;
    }
    if (this.#isLimit) this.#budget.take();
    this.received++;
    this.#bytes[0] = this.#bytes[0]! + written - NET_HEADER_SIZE;
    this.#echo?.received(buffer, written);
  }
}

/** Sends frames that come back: the next one once one is back. */
export class EchoLane extends Lane {
  /** Frames that did not come back. */
  lost = 0;
  readonly #frames: Frames;
  readonly #histogram: Histogram;
  readonly #startSeconds: Int32Array;
  readonly #startNanoseconds: Int32Array;
  /** By slot. */
  readonly #waits: Uint8Array;
  #waiting = 0;
  #budget = new Budget();

  /** `depth` frames on `ring`, whose times go to `histogram`. */
  constructor(
    ring: LoadRing,
    depth: number,
    frames: Frames,
    histogram: Histogram,
  ) {
    super(ring);
    this.#frames = frames;
    this.#histogram = histogram;
    this.#startSeconds = new Int32Array(depth);
    this.#startNanoseconds = new Int32Array(depth);
    this.#waits = new Uint8Array(depth);
  }

  override get isDone(): boolean {
    return this.outCount === 0 && this.#waiting === 0;
  }

  override begin(budget: Budget): void {
    this.#budget = budget;
    const depth = this.#waits.length;
    for (let slot = 0; slot < depth && budget.take(); slot++) this.#add(slot);
    this.publish();
  }

  override turn(): number {
    const waits = this.#waits;
    let count = 0;
    if (this.ring.look()) {
      while (count < waits.length) {
        const slot = this.takeSlot();
        if (slot === NONE) break;
        count++;
        this.#frames.finish(slot, 0);
        this.#done(slot, TO_BE_TAKEN);
      }
    }
    if (count === 0 && this.#waiting > 0) this.#giveUpLost();
    this.publish();
    return count;
  }

  /** A frame came, into `buffer`. */
  received(buffer: Uint32Array, written: number): void {
    const slot = this.#frames.slotOf(buffer, written);
    if (slot < 0 || (this.#waits[slot]! & TO_BE_RECEIVED) === 0) return;
    const start = this.#startSeconds[slot]!;
    this.#histogram.add(since(start, this.#startNanoseconds[slot]!));
    this.#waiting--;
    this.#done(slot, TO_BE_RECEIVED);
  }

  /** One bit less of `slot`; without any it is free. */
  #done(slot: number, bit: number): void {
    const left = this.#waits[slot]! & ~bit;
    this.#waits[slot] = left;
    if (left === 0 && this.#budget.take()) this.#add(slot);
  }

  #add(slot: number): void {
    this.#startSeconds[slot] = seconds();
    this.#startNanoseconds[slot] = nanoseconds();
    this.#waits[slot] = TO_BE_TAKEN | TO_BE_RECEIVED;
    this.#waiting++;
    this.outCount++;
    this.ring.add(slot, this.#frames.prepare(slot));
  }

  #giveUpLost(): void {
    const waits = this.#waits;
    for (let slot = 0; slot < waits.length; slot++) {
      if ((waits[slot]! & TO_BE_RECEIVED) === 0) continue;
      const start = this.#startSeconds[slot]!;
      if (since(start, this.#startNanoseconds[slot]!) < LOST_NS) continue;
      this.lost++;
      this.#waiting--;
      this.#done(slot, TO_BE_RECEIVED);
    }
  }
}
