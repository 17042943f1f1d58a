// Data plane: scatter-gather lists for the kernel.
/**
 * @module
 */
import { assert } from "../assert.ts";
import { Mapping } from "../ffi/mapping.ts";
import { IOVEC } from "../ffi/struct.ts";

const TWO_32 = 0x1_0000_0000;
/** 32-bit words of a `struct iovec`. */
const WORDS = IOVEC.size / 4;

/**
 * An array of `struct iovec` at a fixed address.
 *
 * @example What is left of two buffers after a short transfer
 * ```ts
 * import { IovecList } from "@ringside/ringside/device";
 * import { assertEquals } from "@std/assert";
 *
 * using list = new IovecList(2);
 * list.set(0, 0x1000, 512);
 * list.set(1, 0x8000, 512);
 * assertEquals(list.advance(0, 2, 600), 1);
 * assertEquals([list.base(1), list.size(1)], [0x8000 + 88, 424]);
 * ```
 */
export class IovecList implements Disposable {
  /** Elements there is room for. */
  readonly capacity: number;
  /** Of the first element. */
  readonly address: number;
  readonly #mapping: Mapping;
  readonly #words: Uint32Array;
  /** By index. There can be millions of elements, and few that are a first. */
  readonly #views = new Map<number, Uint8Array<ArrayBuffer>>();

  /** Room for `capacity` elements, all of them empty. */
  constructor(capacity: number) {
    assert(capacity > 0, "an iovec list has room for at least one element");
    this.capacity = capacity;
    this.#mapping = Mapping.anonymous(capacity * IOVEC.size);
    this.address = this.#mapping.address;
    this.#words = new Uint32Array(this.#mapping.buffer);
  }

  /** Makes element `index` the `size` bytes at `address`. */
  set(index: number, address: number, size: number): void {
    const word = index * WORDS;
    const words = this.#words;
    words[word] = address;
    words[word + 1] = address / TWO_32;
    words[word + 2] = size;
    words[word + 3] = 0;
  }

  /** Copies the address and the size of element `index` to three words. */
  copyTo(index: number, target: Int32Array, at: number): void {
    const word = index * WORDS;
    const words = this.#words;
    target[at] = words[word]!;
    target[at + 1] = words[word + 1]!;
    target[at + 2] = words[word + 2]!;
  }

  /** The address of element `index` itself. */
  addressOf(index: number): number {
    return this.address + index * IOVEC.size;
  }

  /** The address that element `index` holds. */
  base(index: number): number {
    const word = index * WORDS;
    return this.#words[word]! + this.#words[word + 1]! * TWO_32;
  }

  /** The size that element `index` holds, in bytes. */
  size(index: number): number {
    return this.#words[index * WORDS + 2]!;
  }

  /**
   * Consumes `bytes` of the `count` elements from `first`, as after a short
   * transfer: the new first, which is `first + count` when all are used up.
   */
  advance(first: number, count: number, bytes: number): number {
    const end = first + count;
    let rest = bytes;
    let index = first;
    while (index < end) {
      const size = this.size(index);
      if (size > rest) {
        this.set(index, this.base(index) + rest, size - rest);
        return index;
      }
      rest -= size;
      index++;
    }
    return end;
  }

  /**
   * The elements from `index` on as bytes, for the C library; made once. Not a
   * pointer: one that is not a constant makes V8 allocate the bigint of a
   * 64-bit argument next to it (measured: 40 bytes a call of preadv2).
   */
  bytes(index: number): Uint8Array<ArrayBuffer> {
    const known = this.#views.get(index);
    if (known !== undefined) return known;
    const { buffer } = this.#mapping;
    const size = (this.capacity - index) * IOVEC.size;
    const made = new Uint8Array(buffer, index * IOVEC.size, size);
    this.#views.set(index, made);
    return made;
  }

  /** Frees the memory. */
  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
  }
}
