// Data plane: whether a disk has lost what it was given.
/**
 * Where the kernel can't write back a page of its cache it says so at a flush,
 * and drops it: the next flush succeeds, though what was answered as written is
 * gone. Other file systems of the guest, other rings and other threads of the disk
 * would take that for true. So there is no success any more.
 *
 * @module
 */

/** What was lost of one disk, known to all its threads. */
export class Losses {
  /** Shared by all threads. */
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;

  /** What is in `memory`; none in that which is new. */
  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(4)) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
  }

  /** Whether anything may be lost. */
  get any(): boolean {
    return Atomics.load(this.#words, 0) !== 0;
  }

  /** Something may be lost. */
  note(): void {
    Atomics.store(this.#words, 0, 1);
  }
}
