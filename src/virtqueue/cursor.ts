// Data plane: a place in one half of a chain.
/**
 * @module
 */
import type { IovecList } from "../io/iovec.ts";
import type { Segments } from "./segments.ts";

/** Copies shorter than this go byte by byte, which allocates nothing. */
const SHORT_COPY = 128;

/**
 * What a reader and a writer have in common: a place in a run of segments.
 *
 * @example Payload for the kernel, without copying it
 * ```ts
 * import { FakeDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 * import { IovecList } from "@ringside/ringside/virtqueue";
 *
 * const iovecs = new IovecList(8);
 * using fake = FakeDriver.over(() => ({
 *   drain(queue) {
 *     while (queue.pop()) {
 *       const { head, reader } = queue.chain;
 *       reader.skip(16);
 *       const count = reader.takeIovecs(iovecs, 0, reader.remaining);
 *       const sizes = Array.from({ length: count }, (_, i) => iovecs.size(i));
 *       assertEquals(sizes, [84, 100, 16]);
 *       queue.push(head, 0);
 *     }
 *   },
 * }));
 * await fake.request([{ bytes: new Uint8Array(216) }], {
 *   readable: [100, 100],
 * });
 * iovecs[Symbol.dispose]();
 * ```
 */
export class Cursor {
  /** Bytes there are in all. */
  size = 0;
  /** Bytes from here to the end. */
  remaining = 0;
  /** What it goes through. */
  protected readonly segments: Segments;
  /** The segment it is in. */
  protected segment = 0;
  /** The segment after the last one. */
  protected end = 0;
  /** Bytes of that segment which lie before it. */
  protected used = 0;
  /** The size of that segment, 0 where there is none. */
  protected segmentSize = 0;

  /** A cursor over no bytes of `segments`. */
  constructor(segments: Segments) {
    this.segments = segments;
  }

  /** Aims it at the segments from `first` to before `end`, of `size` bytes. */
  aim(first: number, end: number, size: number): void {
    this.size = size;
    this.remaining = size;
    this.segment = first;
    this.end = end;
    this.used = 0;
    this.segmentSize = first === end ? 0 : this.segments.sizes[first]!;
  }

  /** Goes `size` bytes on; false, and nowhere, where there are fewer. */
  skip(size: number): boolean {
    if (size > this.remaining) return false;
    this.remaining -= size;
    let rest = size;
    while (rest > this.segmentSize - this.used) {
      rest -= this.segmentSize - this.used;
      this.nextSegment();
    }
    this.used += rest;
    return true;
  }

  /**
   * Puts the next `size` bytes into `iovecs` from element `first` on, and goes
   * past them. Returns how many elements they took. Where there are fewer
   * bytes or elements it is 0, and the cursor stays.
   */
  takeIovecs(iovecs: IovecList, first: number, size: number): number {
    if (size > this.remaining || size === 0) return 0;
    const { regions, offsets, sizes, memory } = this.segments;
    const capacity = iovecs.capacity;
    let segment = this.segment;
    let used = this.used;
    let element = first;
    let rest = size;
    while (rest > 0) {
      let piece = sizes[segment]! - used;
      if (piece > 0) {
        if (element >= capacity) return 0;
        if (piece > rest) piece = rest;
        const host = memory.hostAddresses[regions[segment]!]!;
        iovecs.set(element++, host + offsets[segment]! + used, piece);
        used += piece;
        rest -= piece;
      }
      if (rest > 0) {
        segment++;
        used = 0;
      }
    }
    this.segment = segment;
    this.used = used;
    this.segmentSize = sizes[segment]!;
    this.remaining -= size;
    return element - first;
  }

  /** Goes to the start of the segment that follows. */
  protected nextSegment(): void {
    this.segment++;
    this.used = 0;
    this.segmentSize = this.segments.sizes[this.segment]!;
  }

  /** Goes past segments that are used up; there are bytes that remain. */
  protected settle(): void {
    while (this.used === this.segmentSize) this.nextSegment();
  }

  /** The byte at the cursor, which goes past it. */
  protected takeByte(): number {
    this.settle();
    const { regions, offsets, memory } = this.segments;
    const view = memory.views[regions[this.segment]!]!;
    this.remaining--;
    return view.getUint8(offsets[this.segment]! + this.used++);
  }

  /** Makes the byte at the cursor `value` and goes past it. */
  protected putByte(value: number): void {
    this.settle();
    const { regions, offsets, memory } = this.segments;
    const view = memory.views[regions[this.segment]!]!;
    this.remaining--;
    view.setUint8(offsets[this.segment]! + this.used++, value);
  }

  /** Copies `size` bytes, that remain, between guest memory and `bytes`. */
  protected copy(bytes: Uint8Array, size: number, toGuest: boolean): void {
    const { regions, offsets, memory } = this.segments;
    let done = 0;
    while (done < size) {
      this.settle();
      const piece = Math.min(size - done, this.segmentSize - this.used);
      const guest = memory.regions[regions[this.segment]!]!.bytes;
      const at = offsets[this.segment]! + this.used;
      if (toGuest) guest.set(bytes.subarray(done, done + piece), at);
      else bytes.set(guest.subarray(at, at + piece), done);
      done += piece;
      this.used += piece;
    }
    this.remaining -= size;
  }

  /** Whether a copy of `size` bytes goes byte by byte. */
  protected isShort(size: number): boolean {
    return size < SHORT_COPY;
  }
}
