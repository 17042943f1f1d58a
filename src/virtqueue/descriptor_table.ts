// Data plane: the descriptor table of a split ring, virtio 1.3 §2.7.5.
/**
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";
import type { Chain } from "./chain.ts";
import { IndirectTable } from "./indirect_table.ts";
import * as layout from "./layout.ts";

// An imported constant is loaded and checked at every use, see split.ts.
const DESCRIPTOR_SIZE = layout.DESCRIPTOR_SIZE;
const VIRTQ_DESC_F_INDIRECT = layout.VIRTQ_DESC_F_INDIRECT;
const VIRTQ_DESC_F_NEXT = layout.VIRTQ_DESC_F_NEXT;
const VIRTQ_DESC_F_WRITE = layout.VIRTQ_DESC_F_WRITE;

/** Follows the descriptors of a chain. */
export class DescriptorTable {
  readonly #size: number;
  readonly #indirect: boolean;
  readonly #chain: Chain;
  readonly #table: IndirectTable;
  #descriptors: DataView = new DataView(new ArrayBuffer(0));

  /** The table of a ring of `size` entries, whose chains become `chain`. */
  constructor(size: number, indirect: boolean, chain: Chain) {
    this.#size = size;
    this.#indirect = indirect;
    this.#chain = chain;
    this.#table = new IndirectTable(indirect ? chain.limit : 0, chain.memory);
  }

  /** Goes on with `descriptors`, which are in `memory`. */
  setMemory(descriptors: DataView, memory: GuestMemory): void {
    this.#descriptors = descriptors;
    this.#table.setMemory(memory);
  }

  /**
   * Copies the chain at `head`, each descriptor read once. False when it is
   * malformed: it loops, goes out of the table, has a readable buffer after a
   * writable one, or an indirect table that is not allowed.
   */
  gather(head: number): boolean {
    const descriptors = this.#descriptors;
    const chain = this.#chain;
    const limit = this.#size;
    let index = head;
    chain.begin();
    for (let walked = 0; walked < limit; walked++) {
      const at = DESCRIPTOR_SIZE * index;
      const bits = descriptors.getInt32(at + 12, true);
      if ((bits & VIRTQ_DESC_F_INDIRECT) !== 0) {
        return this.#indirect && (bits & VIRTQ_DESC_F_NEXT) === 0 &&
          this.#table.find(descriptors, at) && this.#gatherTable(walked);
      }
      const writable = (bits & VIRTQ_DESC_F_WRITE) !== 0;
      if (!chain.gather(descriptors, at, writable)) return false;
      if ((bits & VIRTQ_DESC_F_NEXT) === 0) return true;
      index = bits >>> 16;
      if (index >= limit) return false;
    }
    return false;
  }

  /**
   * Goes on in the indirect table that was found, which `before` descriptors
   * come before (§2.7.5.3).
   */
  #gatherTable(before: number): boolean {
    const chain = this.#chain;
    const { view, offset, entries } = this.#table;
    const limit = Math.min(entries, chain.limit - before);
    let index = 0;
    for (let walked = 0; walked < limit; walked++) {
      const at = offset + DESCRIPTOR_SIZE * index;
      const bits = view.getInt32(at + 12, true);
      if ((bits & VIRTQ_DESC_F_INDIRECT) !== 0) return false;
      const writable = (bits & VIRTQ_DESC_F_WRITE) !== 0;
      if (!chain.gather(view, at, writable)) return false;
      if ((bits & VIRTQ_DESC_F_NEXT) === 0) return true;
      index = bits >>> 16;
      if (index >= entries) return false;
    }
    return false;
  }
}
