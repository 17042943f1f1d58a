// Data plane: a chain of descriptors.
/**
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";
import {
  IOTLB_READ,
  IOTLB_WRITE,
  SOUGHT_IOVA,
  SOUGHT_REST,
} from "../memory/iotlb.ts";
import {
  type IovaMemory,
  nextPage,
  QUESTIONS_MAX,
} from "../memory/iova_memory.ts";
import { Reader } from "./reader.ts";
import { Segments } from "./segments.ts";
import { Writer } from "./writer.ts";

/** A chain is at most this many bytes (virtio 1.3 §2.7.5.2). */
const CHAIN_SIZE_MAX = 0x1_0000_0000;
const TWO_32 = 0x1_0000_0000;
/** Exact, as any power of two. */
const TWO_MINUS_32 = 1 / TWO_32;

/**
 * Descriptors a chain may have even on a small ring. The specification allows
 * the size of the ring; drivers exist that put more into an indirect table.
 */
const SMALLEST_LIMIT = 1024;

/** Descriptors that a chain of a ring of `size` entries may have. */
export function chainLimit(size: number): number {
  return Math.max(size, SMALLEST_LIMIT);
}

/**
 * One request of the driver: device-readable bytes followed by device-writable
 * ones. A ring gathers descriptors into it (`begin`, then `gather` for each),
 * then `translate` checks them against guest memory and cuts them at the borders
 * of regions. What the device sees is a private copy: the driver can no longer
 * change it. Valid until the next pop.
 *
 * @example What a device sees of a request in three descriptors
 * ```ts
 * import { FakeDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * using fake = FakeDriver.over(() => ({
 *   drain(queue) {
 *     while (queue.pop()) {
 *       const { chain } = queue;
 *       const { reader, writer, segmentCount } = chain;
 *       assertEquals([reader.size, writer.size, segmentCount], [9, 4, 3]);
 *       queue.push(chain.head, 0);
 *     }
 *   },
 * }));
 * await fake.request([{ bytes: new Uint8Array(9) }, { room: 4 }], {
 *   readable: [2],
 * });
 * ```
 */
export class Chain {
  /** The descriptor it starts at, which `push` gives back. */
  head = 0;
  /** How many segments there are, the readable ones first. */
  segmentCount = 0;
  /** How many of the segments are readable. */
  readableCount = 0;
  /** Its device-readable bytes. */
  readonly reader: Reader;
  /** Its device-writable bytes. */
  readonly writer: Writer;
  /** The region of each segment, an index into `GuestMemory.regions`. */
  readonly regions: Uint16Array;
  /** Where each segment starts in its region, in bytes. */
  readonly offsets: Float64Array;
  /** The size of each segment in bytes, never 0. */
  readonly sizes: Uint32Array;
  /** Descriptors that a ring may gather. */
  readonly limit: number;
  /** Guest addresses of the descriptors gathered. */
  readonly gatheredAddresses: Float64Array;
  /** Sizes of the descriptors gathered, none of them 0. */
  readonly gatheredSizes: Uint32Array;
  /** How many descriptors were gathered. */
  gatheredCount = 0;
  /** How many of them are readable; they come first. */
  gatheredReadable = 0;
  /** Whether the descriptor gathered last is writable. */
  #writable = false;
  readonly #segments: Segments;
  /** The region where the last descriptor was found. */
  #region = 0;

  /** A chain of at most `limit` descriptors in `memory`. */
  constructor(limit: number, memory: GuestMemory) {
    this.limit = limit;
    this.gatheredAddresses = new Float64Array(limit);
    this.gatheredSizes = new Uint32Array(limit);
    const segments = new Segments(2 * limit, memory);
    this.#segments = segments;
    this.regions = segments.regions;
    this.offsets = segments.offsets;
    this.sizes = segments.sizes;
    this.reader = new Reader(segments);
    this.writer = new Writer(segments);
  }

  /** The memory it is in. */
  get memory(): GuestMemory {
    return this.#segments.memory;
  }

  /** Whether, behind an IOMMU, it waits for the mapping of what it needs. */
  get missed(): boolean {
    const { virtual } = this.#segments.memory;
    return virtual !== null && virtual.missed;
  }

  /** Goes on in `memory`; what was popped before is no longer valid. */
  setMemory(memory: GuestMemory): void {
    this.#segments.memory = memory;
    this.#region = 0;
  }

  /** Forgets what was gathered. */
  begin(): void {
    this.gatheredCount = 0;
    this.gatheredReadable = 0;
    this.#writable = false;
  }

  /**
   * Gathers the descriptor at `at` of `view`. False where it is readable and
   * comes after a writable one. The ring sees to it that there are at most
   * `limit`. It is read here: a number of 2^31 or more would be allocated to be
   * handed over, wherever V8 does not inline.
   *
   * An address is (low / 2^32 + high) * 2^32 because V8 guards the sum of two
   * whole numbers, low + high * 2^32, by conversions to integers: 2 ns a
   * descriptor (bench/virtqueue_bench.ts). Beyond 2^53 both round alike, where
   * no memory is.
   */
  gather(view: DataView, at: number, writable: boolean): boolean {
    if (writable) this.#writable = true;
    else if (this.#writable) return false;
    const low = view.getUint32(at, true);
    const high = view.getUint32(at + 4, true);
    const size = view.getUint32(at + 8, true);
    if (size === 0) return true;
    const count = this.gatheredCount;
    this.gatheredAddresses[count] = (low * TWO_MINUS_32 + high) * TWO_32;
    this.gatheredSizes[count] = size;
    this.gatheredCount = count + 1;
    if (!writable) this.gatheredReadable = count + 1;
    return true;
  }

  /**
   * Turns what was gathered into segments and aims reader and writer. False
   * where a byte is in no region, where it is more than 2^32 bytes in all, or
   * where regions cut it into more segments than there is room for.
   */
  translate(): boolean {
    const { memory, regions, offsets, sizes } = this.#segments;
    if (memory.virtual !== null) return this.#translateVirtual(memory.virtual);
    const addresses = this.gatheredAddresses;
    const lengths = this.gatheredSizes;
    const total = this.gatheredCount;
    const readable = this.gatheredReadable;
    let region = this.#region;
    let start = memory.starts[region]!;
    let regionSize = memory.sizes[region]!;
    let count = 0;
    let readableCount = 0;
    let bytes = 0;
    let readableBytes = 0;
    for (let i = 0; i < total; i++) {
      const size = lengths[i]!;
      const offset = addresses[i]! - start;
      if (offset >= 0 && size <= regionSize - offset) {
        if (count === regions.length) return false;
        regions[count] = region;
        offsets[count] = offset;
        sizes[count++] = size;
      } else {
        count = this.#cut(i, count);
        if (count < 0) return false;
        region = this.#region;
        start = memory.starts[region]!;
        regionSize = memory.sizes[region]!;
      }
      bytes += size;
      if (i + 1 === readable) {
        readableCount = count;
        readableBytes = bytes;
      }
    }
    if (bytes > CHAIN_SIZE_MAX) return false;
    this.segmentCount = count;
    this.readableCount = readableCount;
    this.reader.aim(0, readableCount, readableBytes);
    this.writer.aim(readableCount, count, bytes - readableBytes);
    return true;
  }

  /**
   * As `translate`, behind an IOMMU. Where something is not mapped it is false
   * too, all of that is asked for, and `memory.missed`: the chain has to wait.
   */
  #translateVirtual(memory: IovaMemory): boolean {
    const total = this.gatheredCount;
    const readable = this.gatheredReadable;
    let count = 0;
    let readableCount = 0;
    let bytes = 0;
    let readableBytes = 0;
    for (let i = 0; i < total; i++) {
      const permissions = i < readable ? IOTLB_READ : IOTLB_WRITE;
      count = this.#cutVirtual(memory, i, count, permissions);
      if (count < 0 || memory.questionCount === QUESTIONS_MAX) return false;
      bytes += this.gatheredSizes[i]!;
      if (i + 1 === readable) {
        readableCount = count;
        readableBytes = bytes;
      }
    }
    if (memory.missed || bytes > CHAIN_SIZE_MAX) return false;
    this.segmentCount = count;
    this.readableCount = readableCount;
    this.reader.aim(0, readableCount, readableBytes);
    this.writer.aim(readableCount, count, bytes - readableBytes);
    return true;
  }

  /** As `#cut`, behind an IOMMU; pieces that touch become one. */
  #cutVirtual(
    memory: IovaMemory,
    index: number,
    first: number,
    permissions: number,
  ): number {
    const { regions, offsets, sizes, capacity } = this.#segments;
    const { sought } = memory.iotlb;
    let address = this.gatheredAddresses[index]!;
    const end = address + this.gatheredSizes[index]!;
    let count = first;
    while (address < end && memory.questionCount < QUESTIONS_MAX) {
      sought[SOUGHT_IOVA] = address;
      if (!memory.look(permissions)) {
        if (!memory.ask(address, permissions)) return -1;
        address = nextPage(address);
        continue;
      }
      const size = Math.min(end - address, sought[SOUGHT_REST]!);
      const region = memory.foundRegion;
      const offset = memory.foundOffset;
      const last = count - 1;
      if (
        count > first && regions[last] === region &&
        offsets[last]! + sizes[last]! === offset
      ) sizes[last]! += size;
      else {
        if (count === capacity) return -1;
        regions[count] = region;
        offsets[count] = offset;
        sizes[count++] = size;
      }
      address += size;
    }
    return count;
  }

  /**
   * Makes segments, from `count` on, of descriptor `index`, which is not in
   * the region of the last one or goes over its end. The new count, or -1.
   */
  #cut(index: number, count: number): number {
    const { memory, regions, offsets, sizes, capacity } = this.#segments;
    let address = this.gatheredAddresses[index]!;
    let rest = this.gatheredSizes[index]!;
    while (rest > 0) {
      memory.sought[0] = address;
      const region = memory.regionOfSought();
      if (region < 0 || count === capacity) return -1;
      const offset = address - memory.starts[region]!;
      const size = Math.min(rest, memory.sizes[region]! - offset);
      regions[count] = region;
      offsets[count] = offset;
      sizes[count++] = size;
      address += size;
      rest -= size;
      this.#region = region;
    }
    return count;
  }
}
