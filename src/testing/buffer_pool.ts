/**
 * Buffers in the memory of a pretended guest.
 *
 * @module
 */
import type { DriverMemory } from "./driver_memory.ts";

/** No buffer is smaller. */
const ROOM_MIN = 16;
/** What a buffer is aligned to, where it is as large: fit for O_DIRECT. */
const ALIGNMENT_MAX = 4096;
/** More regions than a table of memory can have. */
const REGIONS_MAX = 1024;

/** Hands out buffers and takes them back, to be used again. */
export class BufferPool {
  readonly #memory: DriverMemory;
  /** Buffers that nobody holds, by room and region. */
  readonly #free = new Map<number, number[]>();

  /** Buffers in `memory`. */
  constructor(memory: DriverMemory) {
    this.#memory = memory;
  }

  /**
   * The address of `size` bytes, in region `region` where that is said, each
   * of them `fill`. Throws a RangeError where there is no room.
   */
  take(size: number, fill: number, region?: number): number {
    const room = roomOf(size);
    const address = this.#free.get(keyOf(room, region))?.pop() ??
      this.#memory.allocate(room, Math.min(room, ALIGNMENT_MAX), region);
    const [view, offset] = this.#memory.view(address);
    new Uint8Array(view.buffer, view.byteOffset + offset, size).fill(fill);
    return address;
  }

  /** Takes back what `take` gave for the same size and region. */
  give(address: number, size: number, region?: number): void {
    const key = keyOf(roomOf(size), region);
    const free = this.#free.get(key) ?? [];
    this.#free.set(key, free);
    free.push(address);
  }
}

/** What a buffer for `size` bytes takes: a power of two. */
function roomOf(size: number): number {
  return Math.max(ROOM_MIN, 2 ** Math.ceil(Math.log2(size)));
}

function keyOf(room: number, region = REGIONS_MAX - 1): number {
  return room * REGIONS_MAX + region;
}
