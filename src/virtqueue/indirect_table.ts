// Data plane: a table of descriptors outside of the ring.
/**
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";
import { DESCRIPTOR_SIZE } from "./layout.ts";

const TWO_32 = 0x1_0000_0000;
const TWO_MINUS_32 = 1 / TWO_32;

/** The indirect table of a chain, virtio 1.3 §2.7.5.3 and §2.8.7. */
export class IndirectTable {
  /** What holds the table that was found. */
  view: DataView<ArrayBuffer>;
  /** Where it starts there, in bytes. */
  offset = 0;
  /** Descriptors that it has, at least 1. */
  entries = 0;
  readonly #limit: number;
  /** A table which lies across regions is copied here. */
  readonly #copy: Uint8Array;
  readonly #copyView: DataView<ArrayBuffer>;
  #memory: GuestMemory;

  /** For tables of at most `limit` entries in `memory`. */
  constructor(limit: number, memory: GuestMemory) {
    const buffer = new ArrayBuffer(DESCRIPTOR_SIZE * limit);
    this.#limit = limit;
    this.#memory = memory;
    this.#copy = new Uint8Array(buffer);
    this.#copyView = new DataView(buffer);
    this.view = this.#copyView;
  }

  /** Goes on in `memory`. */
  setMemory(memory: GuestMemory): void {
    this.#memory = memory;
    this.view = this.#copyView;
  }

  /**
   * Finds the table of `size` bytes at the address of these two halves. False
   * where it is empty, no whole number of descriptors, too long, or not in
   * memory.
   */
  find(low: number, high: number, size: number): boolean {
    const entries = size >>> 4;
    if (entries === 0 || entries > this.#limit || (size & 15) !== 0) {
      return false;
    }
    this.entries = entries;
    // As in Chain.gather.
    const address = (low * TWO_MINUS_32 + high) * TWO_32;
    const memory = this.#memory;
    if (memory.locate(address, size)) {
      this.view = memory.views[memory.foundRegion]!;
      this.offset = memory.foundOffset;
      return true;
    }
    this.view = this.#copyView;
    this.offset = 0;
    return memory.read(address, this.#copy, size);
  }
}
