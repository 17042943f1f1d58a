// Data plane: a table of descriptors outside of the ring.
/**
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";
import { IOTLB_READ, SOUGHT_IOVA, SOUGHT_REST } from "../memory/iotlb.ts";
import type { IovaMemory } from "../memory/iova_memory.ts";
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
   * Finds the table that the descriptor at `at` of `view` refers to. False where
   * it is empty, no whole number of descriptors, too long, or not in memory. As
   * in Chain.gather, numbers are not handed over.
   */
  find(view: DataView, at: number): boolean {
    const low = view.getUint32(at, true);
    const high = view.getUint32(at + 4, true);
    const size = view.getUint32(at + 8, true);
    const entries = size >>> 4;
    if (entries === 0 || entries > this.#limit || (size & 15) !== 0) {
      return false;
    }
    this.entries = entries;
    // As in Chain.gather.
    const address = (low * TWO_MINUS_32 + high) * TWO_32;
    const memory = this.#memory;
    const { virtual } = memory;
    if (virtual !== null) {
      virtual.iotlb.sought[SOUGHT_IOVA] = address;
      return this.#findVirtual(virtual, size);
    }
    const region = memory.foundRegion;
    const offset = address - memory.starts[region]!;
    if (offset >= 0 && size <= memory.sizes[region]! - offset) {
      this.view = memory.views[region]!;
      this.offset = offset;
      return true;
    }
    memory.sought[0] = address;
    return this.#findElsewhere(memory, size);
  }

  /** The same where the last table was not, of what `memory` is to look for. */
  #findElsewhere(memory: GuestMemory, size: number): boolean {
    const address = memory.sought[0]!;
    if (memory.locateSought(size)) {
      this.view = memory.views[memory.foundRegion]!;
      this.offset = memory.foundOffset;
      return true;
    }
    this.view = this.#copyView;
    this.offset = 0;
    return memory.read(address, this.#copy, size);
  }

  /** The same behind an IOMMU, of the address that `memory` is to look for. */
  #findVirtual(memory: IovaMemory, size: number): boolean {
    const { sought } = memory.iotlb;
    const address = sought[SOUGHT_IOVA]!;
    let done = 0;
    while (done < size) {
      sought[SOUGHT_IOVA] = address + done;
      if (!memory.look(IOTLB_READ)) {
        memory.ask(address + done, IOTLB_READ);
        return false;
      }
      const piece = Math.min(size - done, sought[SOUGHT_REST]!);
      if (piece === size) {
        this.view = memory.views[memory.foundRegion]!;
        this.offset = memory.foundOffset;
        return true;
      }
      memory.copyFound(this.#copy, done, piece);
      done += piece;
    }
    this.view = this.#copyView;
    this.offset = 0;
    return true;
  }
}
