/**
 * Where the buffers of requests lie: anywhere, in any number of pieces, over the
 * borders of regions.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type {
  DriverMemory,
  DriverSegment,
  Prng,
} from "../../../src/testing/mod.ts";

/** Rings and indirect tables are in the first region, buffers in the others. */
export const REGIONS = [
  { guestAddress: 0x9_0000_0000, size: 0x20_0000 },
  { guestAddress: 0x10_0000, size: 0x1_0000 },
  // Neighbours, one of them small.
  { guestAddress: 0x11_0000, size: 0x1000 },
  { guestAddress: 0x11_1000, size: 0xf000 },
] as const;

/** The index of the region that is for rings. */
export const RING_REGION = 0;
/** The first address that is for buffers. */
export const START: number = REGIONS[1].guestAddress;
/** The one behind the last. */
export const END: number = REGIONS[3].guestAddress + REGIONS[3].size;
/** What is where nothing was written. */
const UNTOUCHED = 0xa5;

/** Hands out memory until it is reset. */
export class Arena {
  readonly #memory: DriverMemory;
  readonly #start: number;
  readonly #end: number;
  #next: number;

  /**
   * From `start` to before `end` in the regions of `memory`, which are
   * {@linkcode REGIONS}.
   */
  constructor(memory: DriverMemory, start = START, end = END) {
    this.#memory = memory;
    this.#start = start;
    this.#end = end;
    this.#next = start;
  }

  /** Bytes that are left; pieces and gaps take some more than what they hold. */
  get room(): number {
    return this.#end - this.#next;
  }

  /** Nothing is in use any more. */
  reset(): void {
    this.#next = this.#start;
  }

  /** `bytes` for the device to read, in at most `pieces` pieces. */
  readable(bytes: Uint8Array, prng: Prng, pieces: number): DriverSegment[] {
    const segments = this.#place(bytes.length, prng, pieces, false);
    let at = 0;
    for (const { address, size } of segments) {
      this.#memory.write(Number(address), bytes.subarray(at, at + size));
      at += size;
    }
    return segments;
  }

  /** `size` bytes for the device to write, in at most `pieces` pieces. */
  writable(size: number, prng: Prng, pieces: number): DriverSegment[] {
    const segments = this.#place(size, prng, pieces, true);
    for (const segment of segments) {
      const blank = new Uint8Array(segment.size).fill(UNTOUCHED);
      this.#memory.write(Number(segment.address), blank);
    }
    return segments;
  }

  /** What is in the writable ones of `segments` now. */
  read(segments: readonly DriverSegment[]): Uint8Array {
    const rooms = segments.filter(({ writable }) => writable);
    const size = rooms.reduce((sum, room) => sum + room.size, 0);
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const { address, size } of rooms) {
      bytes.set(this.#memory.read(Number(address), size), at);
      at += size;
    }
    return bytes;
  }

  /** Nothing was written behind the first `written` of `bytes`. */
  untouchedBehind(bytes: Uint8Array, written: number): void {
    const at = bytes.subarray(written).findIndex((byte) => byte !== UNTOUCHED);
    if (at >= 0) assertEquals(bytes[written + at], UNTOUCHED, "written behind");
  }

  /** `size` bytes that nothing has written to. */
  static blank(size: number): Uint8Array {
    return new Uint8Array(size).fill(UNTOUCHED);
  }

  #place(
    size: number,
    prng: Prng,
    pieces: number,
    writable: boolean,
  ): DriverSegment[] {
    const segments: DriverSegment[] = [];
    let rest = size;
    for (let i = 1; i <= pieces && (rest > 0 || i === 1); i++) {
      // Few large pieces, or many small ones; an empty one now and then.
      let piece = prng.oneIn(3) ? prng.below(Math.min(rest, 16) + 1) : rest;
      if (prng.oneIn(4)) piece = prng.below(rest + 1);
      if (i === pieces) piece = rest;
      this.#next += prng.oneIn(2) ? 0 : prng.below(8);
      segments.push({ address: this.#next, size: piece, writable });
      this.#next += piece;
      rest -= piece;
    }
    return segments;
  }
}
