// Data plane: the pieces of guest memory that a chain is made of.
/**
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";

/**
 * Pieces of guest memory, none across a border of regions, as parallel arrays.
 *
 * @example A writer over two pieces that were put there by hand
 * ```ts
 * import { DriverMemory } from "@ringside/ringside/testing";
 * import { Segments, Writer } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * using memory = DriverMemory.plain(4096);
 * const segments = new Segments(2, memory.guestMemory());
 * segments.offsets.set([0, 100]);
 * segments.sizes.set([3, 1]);
 * const writer = new Writer(segments);
 * writer.aim(0, 2, 4);
 * writer.writeU32(0x0403_0201);
 * const { guestAddress } = memory.regions[0]!;
 * assertEquals([...memory.read(guestAddress, 4)], [1, 2, 3, 0]);
 * assertEquals([...memory.read(guestAddress + 100, 1)], [4]);
 * ```
 */
export class Segments {
  /** How many there is room for. */
  readonly capacity: number;
  /** The region of each, an index into `memory.regions`. */
  readonly regions: Uint16Array;
  /** Where each starts in its region, in bytes. */
  readonly offsets: Float64Array;
  /** The size of each in bytes, never 0. */
  readonly sizes: Uint32Array;
  /** What they are pieces of. */
  memory: GuestMemory;

  /** Room for `capacity` pieces of `memory`. */
  constructor(capacity: number, memory: GuestMemory) {
    this.capacity = capacity;
    this.regions = new Uint16Array(capacity);
    this.offsets = new Float64Array(capacity);
    this.sizes = new Uint32Array(capacity);
    this.memory = memory;
  }
}
