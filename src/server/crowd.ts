// Data plane: how many threads of rings are busy, of all devices together.
/**
 * @module
 */

/** The most threads that are told apart. */
const PLACES = 64;
/** Where in the memory the places of threads begin, behind how many there are. */
const FIRST = 1;
/** Who had work within this time is busy, milliseconds. */
const BUSY_MS = 2;
/** Parts of a millisecond in the memory: in 32 bits they come round in 6 days. */
const PARTS = 8;

/**
 * When each of the threads of a process had work. Where more of them are busy
 * than there are processors, who spins takes one from who has work.
 */
export class Crowd {
  /** Shared by all threads. */
  readonly memory: SharedArrayBuffer;
  readonly #times: Int32Array<SharedArrayBuffer>;
  readonly #processors: number;
  #place = -1;

  /** What is in `memory`; `processors` is how many there are. */
  constructor(
    memory: SharedArrayBuffer = new SharedArrayBuffer(4 * (FIRST + PLACES)),
    processors: number = navigator.hardwareConcurrency,
  ) {
    this.memory = memory;
    this.#times = new Int32Array(memory);
    this.#processors = processors;
  }

  /** Gives this thread a place. */
  join(): void {
    this.#place = FIRST + Atomics.add(this.#times, 0, 1) % PLACES;
  }

  /** This thread has work. */
  busy(): void {
    if (this.#place >= 0) this.#times[this.#place] = timeNow();
  }

  /** Whether more threads are busy than there are processors. */
  isFull(): boolean {
    const times = this.#times;
    const joined = times[0]!;
    // Not even if all were.
    if (joined <= this.#processors) return false;
    const time = timeNow();
    const end = FIRST + (joined < PLACES ? joined : PLACES);
    let count = 0;
    for (let place = FIRST; place < end; place++) {
      // What another thread wrote meanwhile may seem to be yet to come.
      const ago = (time - times[place]!) | 0;
      if (ago < BUSY_MS * PARTS && ago > -BUSY_MS * PARTS) count++;
    }
    return count > this.#processors;
  }
}

/** A time that all threads have in common, though each has an origin of its own. */
function timeNow(): number {
  return ((performance.timeOrigin + performance.now()) * PARTS) | 0;
}
