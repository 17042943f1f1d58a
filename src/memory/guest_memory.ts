// Data plane: from guest addresses to bytes.
/**
 * @module
 */
import { assert } from "../assert.ts";
import type { IovaMemory } from "./iova_memory.ts";
import { DirtyLog, type LogArea } from "./dirty_log.ts";
import { Region, type RegionLayout } from "./region.ts";

export type { RegionLayout } from "./region.ts";

/** Longer copies are left to the engine, which allocates a view for each. */
const SHORT_COPY = 4096;

/** The regions of one generation of guest memory. Structured-cloneable. */
export interface MemoryLayout {
  /** Grows with every change of the memory table. */
  generation: number;
  /** In any order; they do not overlap. */
  regions: RegionLayout[];
  /** Where to log what is written; else it is not logged. */
  log?: LogArea | null;
}

/**
 * The memory of a guest. It borrows what a `MemoryTable` mapped, perhaps on
 * another thread, and must not be used once that is unmapped.
 *
 * @example Two regions, and a hole between them
 * ```ts
 * import { GuestMemory } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * const buffers = [new ArrayBuffer(4096), new ArrayBuffer(4096)];
 * const regions = [0, 1 << 20].map((guestAddress) => ({
 *   guestAddress,
 *   size: 4096,
 *   userAddress: guestAddress,
 *   hostAddress: 0,
 * }));
 * const memory = new GuestMemory({ generation: 1, regions }, buffers);
 *
 * assertEquals(memory.locate((1 << 20) + 8, 4), true);
 * const { foundRegion, foundOffset } = memory;
 * memory.views[foundRegion]!.setUint32(foundOffset, 0x0403_0201, true);
 * const bytes = new Uint8Array(4);
 * assertEquals(memory.read((1 << 20) + 8, bytes, 4), true);
 * assertEquals([...bytes], [1, 2, 3, 4]);
 * assertEquals(memory.locate(4095, 2), false);
 * ```
 */
export class GuestMemory {
  /** That of its layout. */
  readonly generation: number;
  /** By ascending guest address. */
  readonly regions: readonly Region[];
  /** The views of `regions`. */
  readonly views: readonly DataView<ArrayBuffer>[];
  /** The guest addresses of `regions`; one 0 where there are none. */
  readonly starts: Float64Array;
  /** The sizes of `regions` in bytes; one 0 where there are none. */
  readonly sizes: Float64Array;
  /** The addresses of `regions` in this process. */
  readonly hostAddresses: Float64Array;
  /** This memory where its addresses are I/O virtual ones, else null. */
  virtual: IovaMemory | null = null;
  /** Where to log what is written, or null. */
  log: DirtyLog | null;
  /**
   * The guest address that `locateSought` and `regionOfSought` look for. As an
   * element: a number that is handed over V8 allocates wherever it does not
   * inline.
   */
  readonly sought: Float64Array = new Float64Array(1);
  /** An index into `regions`: where something was found last. */
  foundRegion = 0;
  /** Bytes from the start of that region: what was found last. */
  foundOffset = 0;

  /**
   * Makes the memory of `layout`, over `buffers` (one a region, in the same
   * order) where they are given, else over borrowed memory.
   */
  constructor(layout: MemoryLayout, buffers?: readonly ArrayBuffer[]) {
    this.generation = layout.generation;
    this.log = layout.log ? new DirtyLog(layout.log) : null;
    this.regions = layout.regions
      .map((region, index) => new Region(region, buffers?.[index]))
      .sort((a, b) => a.guestAddress - b.guestAddress);
    this.views = this.regions.map((region) => region.view);
    const capacity = Math.max(1, this.regions.length);
    this.starts = new Float64Array(capacity);
    this.sizes = new Float64Array(capacity);
    this.hostAddresses = new Float64Array(capacity);
    let end = 0;
    for (const [index, region] of this.regions.entries()) {
      assert(region.guestAddress >= end, "regions of memory do not overlap");
      end = region.guestAddress + region.size;
      this.starts[index] = region.guestAddress;
      this.sizes[index] = region.size;
      this.hostAddresses[index] = region.hostAddress;
    }
  }

  /**
   * This memory is no longer used: empties all views of it, also those that
   * others made. One that is used by mistake then finds nothing, instead of a
   * segmentation fault once the memory is unmapped.
   */
  forget(): void {
    for (const region of this.regions) region.forget();
    this.log?.forget();
  }

  /**
   * Finds the `size` bytes at `guestAddress`: true where all of them lie in one
   * region, which `foundRegion` and `foundOffset` then tell. The end of a
   * region is not in it, so that 0 bytes are found only where one byte would
   * be. Where it is false, what was found before stays.
   */
  locate(guestAddress: number, size: number): boolean {
    this.sought[0] = guestAddress;
    return this.locateSought(size);
  }

  /** As `locate`, of the address in `sought`. */
  locateSought(size: number): boolean {
    const guestAddress = this.sought[0]!;
    let region = this.foundRegion;
    let offset = guestAddress - this.starts[region]!;
    if (!(offset >= 0 && offset < this.sizes[region]!)) {
      region = this.regionOfSought();
      if (region < 0) return false;
      offset = guestAddress - this.starts[region]!;
    }
    if (!(size <= this.sizes[region]! - offset)) return false;
    this.foundRegion = region;
    this.foundOffset = offset;
    return true;
  }

  /** The index of the region that holds the byte at `guestAddress`, or -1. */
  regionAt(guestAddress: number): number {
    this.sought[0] = guestAddress;
    return this.regionOfSought();
  }

  /** As `regionAt`, of the address in `sought`. */
  regionOfSought(): number {
    const guestAddress = this.sought[0]!;
    const starts = this.starts;
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (starts[middle]! <= guestAddress) low = middle;
      else high = middle - 1;
    }
    const offset = guestAddress - starts[low]!;
    return offset >= 0 && offset < this.sizes[low]! ? low : -1;
  }

  /**
   * Copies the bytes at `guestAddress` into the first `size` of `target`, over
   * the borders of adjacent regions. False where some are in no region: then
   * `target` holds a part of them.
   */
  read(guestAddress: number, target: Uint8Array, size: number): boolean {
    let done = 0;
    while (done < size) {
      const region = this.regionAt(guestAddress + done);
      if (region < 0) return false;
      const offset = guestAddress + done - this.starts[region]!;
      const piece = Math.min(size - done, this.sizes[region]! - offset);
      this.foundRegion = region;
      this.foundOffset = offset;
      this.copyFound(target, done, piece);
      done += piece;
    }
    return true;
  }

  /**
   * Copies the `size` bytes that were found last to `to` in `target`. Up to a
   * page of them allocates nothing.
   */
  copyFound(target: Uint8Array, to: number, size: number): void {
    const from = this.foundOffset;
    if (size > SHORT_COPY) {
      const { bytes } = this.regions[this.foundRegion]!;
      target.set(bytes.subarray(from, from + size), to);
      return;
    }
    const view = this.views[this.foundRegion]!;
    const words = size >>> 2;
    let at = to;
    for (let i = 0; i < words; i++, at += 4) {
      const word = view.getInt32(from + 4 * i, true);
      target[at] = word;
      target[at + 1] = word >> 8;
      target[at + 2] = word >> 16;
      target[at + 3] = word >> 24;
    }
    for (let i = 4 * words; i < size; i++) {
      target[to + i] = view.getUint8(from + i);
    }
  }
}
