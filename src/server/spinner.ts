// Data plane: how long a thread looks at its rings before it parks.
/**
 * @module
 */

import { Crowd } from "./crowd.ts";

/** A wake-up costs 15 to 70 us, so waiting longer than this can't pay off. */
const SPIN_MAX_MS = 0.05;
const SPIN_MIN_MS = 0.004;
/**
 * Work that came within this time came soon. Longer than the spin by far: what
 * can be measured is when the thread runs again, a wake-up later, and on the
 * main thread of a busy machine that alone has taken 0.4 ms.
 */
const SOON_MS = 0.5;
/**
 * Work that comes within this time of a park, after a whole spin in vain, came
 * because of the park: the driver wants the processor that we spin on.
 */
const STARVED_MS = 0.03;
/** So often in a row is no chance any more. */
const STARVED_TIMES = 3;
/** Parks without a spin before another try. */
const REST_PARKS = 200;
/** Turns with work between two looks at the clock: a power of two. */
const BUSY_TURNS = 64;

/**
 * An adaptive, bounded spin: it grows while the work that ends a park comes
 * soon after the park began, and shrinks to nothing while it does not, so that
 * an idle device stays idle.
 */
export class Spinner {
  #spin = SPIN_MAX_MS;
  #idleSince = 0;
  #turns = 0;
  #parkedAt = 0;
  #starved = 0;
  #rest = 0;
  #workedTurns = 0;
  /** The spin was left out, as other threads want the processor. */
  #gaveWay = false;
  readonly #crowd: Crowd;

  /** The spin of a thread of `crowd`, else of one that is alone. */
  constructor(crowd: Crowd = new Crowd()) {
    this.#crowd = crowd;
  }

  /** There was work: the spin begins anew. */
  worked(): void {
    this.#turns = 0;
    if ((this.#workedTurns++ & (BUSY_TURNS - 1)) === 0) {
      this.#crowd.busy();
    }
  }

  /** There was none. Whether to look again rather than park. */
  again(): boolean {
    const turns = this.#turns++;
    if (turns === 0) {
      if (this.#spin === 0) return false;
      this.#idleSince = performance.now();
      this.#gaveWay = this.#crowd.isFull();
      return !this.#gaveWay;
    }
    // The clock costs as much as several looks.
    if ((turns & 7) !== 0) return true;
    return performance.now() - this.#idleSince < this.#spin;
  }

  /** The thread is about to park. */
  park(): void {
    this.#parkedAt = performance.now();
  }

  /** The thread was woken. */
  unpark(): void {
    this.#crowd.busy();
    this.#turns = 0;
    if (this.#gaveWay) {
      // When work came says nothing of a spin that was none.
      this.#gaveWay = false;
      return;
    }
    if (this.#rest > 0) {
      this.#rest--;
      return;
    }
    const slept = performance.now() - this.#parkedAt;
    if (this.#spin > 0 && slept < STARVED_MS) {
      if (++this.#starved < STARVED_TIMES) return;
      this.#spin = 0;
      this.#rest = REST_PARKS;
    } else if (slept < SOON_MS) this.#grow();
    else this.#spin = this.#spin <= SPIN_MIN_MS ? 0 : this.#spin / 2;
    this.#starved = 0;
  }

  #grow(): void {
    const doubled = this.#spin * 2;
    if (doubled < SPIN_MIN_MS) this.#spin = SPIN_MIN_MS;
    else this.#spin = doubled > SPIN_MAX_MS ? SPIN_MAX_MS : doubled;
  }
}
