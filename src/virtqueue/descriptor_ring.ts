// Data plane: the descriptor ring of a packed ring, virtio 1.3 §2.8.5.
/**
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";
import type { Chain } from "./chain.ts";
import { IndirectTable } from "./indirect_table.ts";
import * as layout from "./layout.ts";

// An imported constant is loaded and checked at every use, see split.ts.
const DESCRIPTOR_SIZE = layout.DESCRIPTOR_SIZE;
const VIRTQ_DESC_F_WRITE = layout.VIRTQ_DESC_F_WRITE;

// The last word of a descriptor has the buffer id in its lower half and the
// flags in the upper one: one load gets both.
const NEXT = layout.VIRTQ_DESC_F_NEXT << 16;
const WRITE = layout.VIRTQ_DESC_F_WRITE << 16;
const INDIRECT = layout.VIRTQ_DESC_F_INDIRECT << 16;

/** Follows the descriptors of a chain. */
export class DescriptorRing {
  /** The buffer id of the chain that was gathered. */
  head = 0;
  /** How many descriptors of the ring it has. */
  count = 0;
  /** Why the ring is no longer sound, or "". */
  broken = "";
  readonly #size: number;
  readonly #indirect: boolean;
  readonly #chain: Chain;
  readonly #table: IndirectTable;

  /** Of a ring of `size` entries, whose chains become `chain`. */
  constructor(size: number, indirect: boolean, chain: Chain) {
    this.#size = size;
    this.#indirect = indirect;
    this.#chain = chain;
    this.#table = new IndirectTable(indirect ? chain.limit : 0, chain.memory);
  }

  /** Goes on in `memory`. */
  setMemory(memory: GuestMemory): void {
    this.#table.setMemory(memory);
  }

  /**
   * Copies the chain at `start` of `source`, each descriptor read once, the last
   * word of the first one being `first`. False when it is malformed: it has a
   * readable buffer after a writable one, or an indirect table that is not
   * allowed. The ring is `broken` where the chain has no end within the `limit`
   * descriptors that the driver may have published, or a buffer id that can't
   * be: it is not known then how to give it back.
   */
  gather(
    source: DataView,
    start: number,
    first: number,
    limit: number,
  ): boolean {
    const chain = this.#chain;
    const end = source.byteLength;
    let place = DESCRIPTOR_SIZE * start;
    let bits = first;
    let count = 1;
    chain.begin();
    // §2.8.19: an indirect descriptor is alone.
    while (
      (bits & INDIRECT) === 0 &&
      chain.gather(source, place, (bits & WRITE) !== 0)
    ) {
      if ((bits & NEXT) === 0) return this.#ends(start, bits, count);
      if (count === limit) return this.#breakAtEnd(start, limit);
      count++;
      place += DESCRIPTOR_SIZE;
      if (place === end) place = 0;
      bits = source.getInt32(place + 12, true);
    }
    if (count === 1 && (bits & (INDIRECT | NEXT)) === INDIRECT) {
      const isSound = this.#indirect &&
        this.#table.find(source, place) && this.#gatherTable();
      return this.#ends(start, bits, 1) && isSound;
    }
    return this.#skip(source, start, place, bits, count, limit);
  }

  /** The chain is malformed at descriptor `count`: looks for its end. */
  #skip(
    source: DataView,
    start: number,
    from: number,
    first: number,
    before: number,
    limit: number,
  ): false {
    const end = source.byteLength;
    let place = from;
    let bits = first;
    for (let count = before; count <= limit; count++) {
      if ((bits & NEXT) === 0) {
        this.#ends(start, bits, count);
        return false;
      }
      place += DESCRIPTOR_SIZE;
      if (place === end) place = 0;
      bits = source.getInt32(place + 12, true);
    }
    return this.#breakAtEnd(start, limit);
  }

  /** Takes the buffer id of the chain of `count` that ends with `bits`. */
  #ends(start: number, bits: number, count: number): boolean {
    const head = bits & 0xffff;
    this.head = head;
    this.count = count;
    return head < this.#size || this.#breakAtHead(start, head);
  }

  /**
   * Copies the chain in the indirect table that was found: all entries, in
   * their order. Only WRITE counts of their flags (§2.8.7).
   */
  #gatherTable(): boolean {
    const { view, offset, entries } = this.#table;
    const chain = this.#chain;
    for (let i = 0; i < entries; i++) {
      const at = offset + DESCRIPTOR_SIZE * i;
      const flags = view.getUint16(at + 14, true);
      const isWritable = (flags & VIRTQ_DESC_F_WRITE) !== 0;
      if (!chain.gather(view, at, isWritable)) return false;
    }
    return true;
  }

  // Apart from those who call them, so that there is room to inline these.

  #breakAtEnd(start: number, limit: number): false {
    this.broken =
      `The chain at ${start} goes on after ${limit} descriptors, which are ` +
      "all that the driver may have published";
    return false;
  }

  #breakAtHead(start: number, head: number): false {
    this.broken =
      `The chain at ${start} has buffer id ${head}, wanted less than the ` +
      `${this.#size} entries of the ring`;
    return false;
  }
}
