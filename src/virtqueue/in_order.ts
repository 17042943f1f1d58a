// Data plane: chains that are given back in the order in which they were popped.
/**
 * VIRTIO_F_IN_ORDER, virtio 1.3 §2.7.9 and §2.8.9: a chain that is done waits for
 * those that were popped before it. Each has a used entry of its own: one for
 * several would say nothing of what was written to all but the last.
 *
 * @module
 */

const NONE = -1;

/** The heads of a ring that are not in its used entries yet, in their order. */
export class InOrder {
  /** As a ring: the head that was taken first, and those after it. */
  readonly #heads: Uint16Array;
  #first = 0;
  #count = 0;
  /** By head: whether it is done, and what was written. */
  readonly #done: Uint8Array;
  readonly #written: Uint32Array;

  /** For a ring of `size` entries. */
  constructor(size: number) {
    this.#heads = new Uint16Array(size);
    this.#done = new Uint8Array(size);
    this.#written = new Uint32Array(size);
  }

  /** `head` was popped. */
  take(head: number): void {
    const at = this.#first + this.#count++;
    const size = this.#heads.length;
    this.#heads[at < size ? at : at - size] = head;
  }

  /** The head that was taken last goes back to the ring. */
  putBack(): void {
    this.#count--;
  }

  /** `head` is done; `next` tells when it is to be given back. */
  complete(head: number, written: number): void {
    this.#done[head] = 1;
    this.#written[head] = written;
  }

  /** Whether `head` is done and waits. */
  isDone(head: number): boolean {
    return this.#done[head] === 1;
  }

  /** Takes the next head that may be given back off the list; -1: none may. */
  next(): number {
    if (this.#count === 0) return NONE;
    const head = this.#heads[this.#first]!;
    if (this.#done[head] === 0) return NONE;
    this.#done[head] = 0;
    this.#first++;
    if (this.#first === this.#heads.length) this.#first = 0;
    this.#count--;
    return head;
  }

  /** The bytes that were written to the chain of `head`. */
  written(head: number): number {
    return this.#written[head]!;
  }
}
