// Data plane: a bounded ring of frames in memory.
/**
 * Any number of threads add frames, one takes them. The memory is a memfd: the
 * kernel copies what is too long for us, or not in guest memory.
 *
 * Who adds a frame reserves its place by moving the tail, copies, and marks it
 * as ready; frames become visible in the order of their places. A frame takes
 * whole slots, all in a row: where the end of the ring is too near, what is
 * left of it is skipped.
 *
 * @module
 */
import { assert } from "../../src/assert.ts";
import { EAGAIN, EMSGSIZE } from "../../src/ffi/abi.ts";
import { Mapping } from "../../src/ffi/mapping.ts";
import { duplicateFd } from "../../src/io/fd.ts";
import type { Fd } from "../../src/io/fd.ts";
import { DiskFile } from "../../src/io/file.ts";
import type { IovecList } from "../../src/io/iovec.ts";
import { createMemfd } from "../../src/io/memfd.ts";
import type { OutgoingFrame } from "./backend.ts";
import type { GuestCopy } from "./guest_copy.ts";

const NAME = "ringside-frames";
/** Bytes of a slot. */
const SLOT = 2048;
/** Slots of a ring; a power of two. */
const SLOTS = 1024;
const MASK = SLOTS - 1;
// Words before the slots' own: the indices only grow, modulo 2^32.
const TAIL = 0;
const HEAD = 16;
const SLEEPING = 32;
const OPEN = 33;
const DROPPED = 34;
const STATES = 48;
/** Bytes of the words. */
const WORDS_SIZE = 8192;
/** The state of a slot: nothing in it yet. Else bytes, or this: */
const EMPTY = 0;
/** The slots from here to the end of the ring are not used. */
const SKIP = -1;

/** Bytes of the memfd of a ring. */
const SIZE = WORDS_SIZE + SLOTS * SLOT;
/** The largest frame, header included. */
export const RING_FRAME_MAX = SLOTS / 8 * SLOT;

/** Makes the memory of a ring. Throws a SystemError. */
export function createFrameRing(): Fd {
  return createMemfd(NAME, SIZE);
}

/** A ring of frames, as one thread sees it. */
export class FrameRing implements Disposable {
  readonly #file: DiskFile;
  readonly #mapping: Mapping;
  readonly #words: Int32Array;
  /** The bytes of the slots. */
  readonly #view: DataView;

  /** The ring in the memory that {@linkcode createFrameRing} made. */
  constructor(fd: number) {
    assert((STATES + SLOTS) * 4 <= WORDS_SIZE, "the words fit");
    this.#file = DiskFile.fromFd(duplicateFd(fd), NAME);
    this.#mapping = Mapping.shared(this.#file.fd.number, SIZE, 0);
    this.#words = new Int32Array(this.#mapping.buffer, 0, WORDS_SIZE / 4);
    this.#view = new DataView(this.#mapping.buffer, WORDS_SIZE);
  }

  /**
   * Reserves a place for `size` bytes: for `fill`, which is to come at once.
   * -EAGAIN where the ring is full.
   */
  reserve(size: number): number {
    if (size > RING_FRAME_MAX) return -EMSGSIZE;
    const words = this.#words;
    const slots = Math.ceil(size / SLOT);
    for (;;) {
      const tail = Atomics.load(words, TAIL);
      const used = (tail - Atomics.load(words, HEAD)) | 0;
      const before = tail & MASK;
      const skipped = before + slots > SLOTS ? SLOTS - before : 0;
      if (used + skipped + slots > SLOTS) return -EAGAIN;
      const next = (tail + skipped + slots) | 0;
      if (Atomics.compareExchange(words, TAIL, tail, next) !== tail) continue;
      if (skipped === 0) return before;
      Atomics.store(words, STATES + before, SKIP);
      return 0;
    }
  }

  /**
   * Copies `frame` to its place, for `commit` to show it. Where the guest's
   * memory can't be read the frame ends in zeros.
   */
  fill(place: number, frame: OutgoingFrame, copy: GuestCopy): void {
    const { list, count, size, head } = frame;
    const at = place * SLOT;
    const view = this.#view;
    const headSize = list.size(0);
    if (copy.gather(list, 1, size - headSize, view, at + headSize)) {
      for (let i = 0; i < headSize; i += 2) {
        view.setInt16(at + i, head.getInt16(i, true), true);
      }
      return;
    }
    let done = this.#file.writev(list, 0, count, WORDS_SIZE + at, false);
    if (done < 0) done = 0;
    for (let i = done; i < size; i++) view.setUint8(at + i, 0);
  }

  /** The same from `bytes`. */
  fillBytes(place: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) {
      this.#view.setUint8(place * SLOT + i, bytes[i]!);
    }
  }

  /** Shows what was filled in to the side that takes. */
  commit(place: number, size: number): void {
    Atomics.store(this.#words, STATES + place, size);
  }

  /** Byte `at` of the frame at `place`. */
  byteAt(place: number, at: number): number {
    return this.#view.getUint8(place * SLOT + at);
  }

  /** Changes that byte. */
  setByteAt(place: number, at: number, value: number): void {
    this.#view.setUint8(place * SLOT + at, value);
  }

  /**
   * Takes the next frame into `count` elements of `list` from `first`: its
   * bytes, -EAGAIN where there is none, or another negative errno: then it is
   * lost.
   */
  take(
    list: IovecList,
    first: number,
    count: number,
    copy: GuestCopy,
  ): number {
    const size = this.#next();
    if (size === EMPTY) return -EAGAIN;
    const head = Atomics.load(this.#words, HEAD);
    const at = (head & MASK) * SLOT;
    let result = size;
    if (!copy.scatter(this.#view, at, size, list, first, count)) {
      result = this.#read(list, first, count, WORDS_SIZE + at, size);
    }
    this.#leave(head, Math.ceil(size / SLOT));
    return result < 0 ? result : size;
  }

  /** Drops every frame that is there: how many. */
  drop(): number {
    let count = 0;
    for (; count < SLOTS; count++) {
      const size = this.#next();
      if (size === EMPTY) break;
      const head = Atomics.load(this.#words, HEAD);
      this.#leave(head, Math.ceil(size / SLOT));
    }
    return count;
  }

  /**
   * The side that takes is about to wait: whoever adds a frame then is to wake
   * it. False where there is a frame already.
   */
  sleep(): boolean {
    Atomics.store(this.#words, SLEEPING, 1);
    return this.#next() === EMPTY;
  }

  /** Whether the side that takes must be woken, asked once a sleep. */
  mustWake(): boolean {
    const words = this.#words;
    return Atomics.load(words, SLEEPING) === 1 &&
      Atomics.exchange(words, SLEEPING, 0) === 1;
  }

  /** Whether anybody takes frames. */
  get isOpen(): boolean {
    return Atomics.load(this.#words, OPEN) === 1;
  }

  set isOpen(open: boolean) {
    Atomics.store(this.#words, OPEN, open ? 1 : 0);
  }

  /** Frames that did not find room, modulo 2^32. */
  get dropped(): number {
    return Atomics.load(this.#words, DROPPED) >>> 0;
  }

  /** Counts a frame that does not find room. */
  countDrop(): void {
    Atomics.add(this.#words, DROPPED, 1);
  }

  /** Unmaps the memory. */
  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
    this.#file[Symbol.dispose]();
  }

  /** The size of the next frame, or EMPTY. Goes past what is skipped. */
  #next(): number {
    const words = this.#words;
    for (;;) {
      const head = Atomics.load(words, HEAD);
      const place = head & MASK;
      const state = Atomics.load(words, STATES + place);
      if (state !== SKIP) return state;
      this.#leave(head, SLOTS - place);
    }
  }

  #leave(head: number, slots: number): void {
    const words = this.#words;
    Atomics.store(words, STATES + (head & MASK), EMPTY);
    Atomics.store(words, HEAD, (head + slots) | 0);
  }

  /** Copies `size` bytes at `offset` to the elements; the last one is cut. */
  #read(
    list: IovecList,
    first: number,
    count: number,
    offset: number,
    size: number,
  ): number {
    let rest = size;
    let index = first;
    const end = first + count;
    while (index < end && list.size(index) < rest) rest -= list.size(index++);
    if (index === end) {
      return this.#file.readv(list, first, count, offset);
    }
    const whole = list.size(index);
    const base = list.base(index);
    list.set(index, base, rest);
    const used = index - first + 1;
    const result = this.#file.readv(list, first, used, offset);
    list.set(index, base, whole);
    return result;
  }
}
