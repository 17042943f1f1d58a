// Data plane: the pieces of guest memory that a chain is made of.
/**
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";

/** Pieces of guest memory, none across a border of regions, as parallel arrays. */
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
