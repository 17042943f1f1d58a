// Data plane: random numbers that are made without a system call.
/**
 * @module
 */
import { EINTR, IOV_MAX } from "../ffi/abi.ts";
import { errno } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { Mapping } from "../ffi/mapping.ts";
import { VdsoRandom } from "../ffi/vdso.ts";
import type { Fd } from "./fd.ts";
import type { IovecList } from "./iovec.ts";
import { createMemfd } from "./memfd.ts";

/** Bytes that are made at once. */
const CAPACITY = 64 << 10;

/**
 * The kernel's generator in user space, and a file that it writes to, in
 * memory: from there the kernel copies the bytes to where they are wanted, by
 * one call for all of them, and says where they can't be written. Nothing that
 * was handed out stays here.
 */
export class RandomPool implements Disposable {
  readonly #random: VdsoRandom;
  readonly #file: Fd;
  readonly #mapping: Mapping;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  /** The offset of the file to read from, which is 0: see libc.ts. */
  readonly #offset = new BigInt64Array(1);

  private constructor(random: VdsoRandom, file: Fd) {
    this.#random = random;
    this.#file = file;
    this.#mapping = Mapping.shared(file.number, CAPACITY, 0);
    this.#bytes = new Uint8Array(this.#mapping.buffer);
  }

  /** One for this thread, or null where the kernel has nothing of the kind. */
  static open(): RandomPool | null {
    const random = VdsoRandom.open();
    if (random === null) return null;
    let file: Fd | null = null;
    try {
      file = createMemfd("ringside-random", CAPACITY);
      return new RandomPool(random, file);
    } catch {
      // There is another way.
      file?.close();
      random[Symbol.dispose]();
      return null;
    }
  }

  /**
   * Fills `count` elements of `list` from `first`: bytes, which may be fewer
   * than wanted, or a negative errno, as -EFAULT; 0 where none were made.
   */
  fill(list: IovecList, first: number, count: number): number {
    const used = count < IOV_MAX ? count : IOV_MAX;
    let size = 0;
    for (let i = 0; i < used && size < CAPACITY; i++) {
      size += list.size(first + i);
    }
    // Where more is wanted, the file ends before.
    if (size > CAPACITY) size = CAPACITY;
    if (this.#random.fill(this.#bytes, size) !== size) return 0;
    const done = this.#copy(list, first, used);
    this.#bytes.fill(0, 0, size);
    return done;
  }

  /** Frees all of it. */
  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
    this.#file.close();
    this.#random[Symbol.dispose]();
  }

  #copy(list: IovecList, first: number, count: number): number {
    const file = this.#file.number;
    const target = list.bytes(first);
    for (;;) {
      const done = libc.preadv2(file, target, count, this.#offset[0]!, 0);
      if (done >= 0) return done;
      const failure = errno();
      if (failure !== EINTR) return -failure;
    }
  }
}
