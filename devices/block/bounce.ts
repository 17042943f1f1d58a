// Data plane: aligned buffers for guest memory that O_DIRECT can't use.
/**
 * The one place where payload is copied. It serves drivers whose buffers are
 * less aligned than the medium wants, which Linux avoids.
 *
 * The kernel copies, from and to a file of memory: where a front-end truncated
 * its memory under us that is an error, and a copy of our own a SIGBUS.
 *
 * @module
 */
import { EIO } from "../../src/ffi/abi.ts";
import { Mapping } from "../../src/ffi/mapping.ts";
import { DiskFile } from "../../src/io/file.ts";
import { IovecList } from "../../src/io/iovec.ts";
import { createMemfd } from "../../src/io/memfd.ts";

/** Bytes of one buffer: a longer request goes through it in several rounds. */
export const BOUNCE_SIZE = 128 << 10;
/** Buffers of a ring. */
const BUFFERS = 16;
const NAME = "ringside-bounce";

/** A few aligned buffers, and the slots that wait for one. */
export class BounceBuffers implements Disposable {
  /** Element `i` is buffer `i`, as much of it as is in use. */
  readonly list: IovecList = new IovecList(BUFFERS);
  readonly #file: DiskFile;
  readonly #mapping: Mapping;
  readonly #piece: IovecList = new IovecList(1);
  readonly #free: number[] = [];
  readonly #waiting: number[] = [];

  /**
   * Maps the buffers; they take memory once they are used. Throws a
   * SystemError.
   */
  constructor() {
    const size = BUFFERS * BOUNCE_SIZE;
    this.#file = DiskFile.fromFd(createMemfd(NAME, size), NAME);
    this.#mapping = Mapping.shared(this.#file.fd.number, size, 0);
    for (let i = 0; i < BUFFERS; i++) this.#free.push(i);
  }

  /** A buffer for `slot`, or -1: then `slot` waits for `give` to return it. */
  take(slot: number): number {
    const buffer = this.#free.pop();
    if (buffer !== undefined) return buffer;
    this.#waiting.push(slot);
    return -1;
  }

  /** Takes `buffer` back; the slot that it is for next, or -1. */
  give(buffer: number): number {
    const slot = this.#waiting.shift();
    if (slot !== undefined) return slot;
    this.#free.push(buffer);
    return -1;
  }

  /** Makes the first `size` bytes of `buffer` the ones in use. */
  aim(buffer: number, size: number): void {
    this.list.set(buffer, this.#mapping.address + buffer * BOUNCE_SIZE, size);
  }

  /**
   * Copies `size` bytes from the elements of `guest` into `buffer`: `size`, or
   * a negative errno.
   */
  gather(
    buffer: number,
    size: number,
    guest: IovecList,
    first: number,
  ): number {
    return this.#copy(buffer, size, guest, first, true);
  }

  /** Copies `size` bytes from `buffer` into the elements of `guest` likewise. */
  scatter(
    buffer: number,
    size: number,
    guest: IovecList,
    first: number,
  ): number {
    return this.#copy(buffer, size, guest, first, false);
  }

  /** Unmaps the buffers. */
  [Symbol.dispose](): void {
    this.list[Symbol.dispose]();
    this.#piece[Symbol.dispose]();
    this.#mapping[Symbol.dispose]();
    this.#file[Symbol.dispose]();
  }

  #copy(
    buffer: number,
    size: number,
    guest: IovecList,
    first: number,
    gather: boolean,
  ): number {
    const file = this.#file;
    const piece = this.#piece;
    const start = buffer * BOUNCE_SIZE;
    let done = 0;
    for (let i = first; done < size; i++) {
      let address = guest.base(i);
      let rest = Math.min(guest.size(i), size - done);
      while (rest > 0) {
        piece.set(0, address, rest);
        const moved = gather
          ? file.writev(piece, 0, 1, start + done, false)
          : file.readv(piece, 0, 1, start + done);
        if (moved <= 0) return moved === 0 ? -EIO : moved;
        address += moved;
        rest -= moved;
        done += moved;
      }
    }
    return size;
  }
}
