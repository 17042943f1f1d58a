/**
 * Parts of a ring that an IOMMU cut into pieces.
 *
 * @module
 */
import { SystemError } from "../errors.ts";
import { Mapping, type MappingPiece } from "../ffi/mapping.ts";
import { IOTLB_READ } from "./iotlb.ts";
import type { IovaMemory } from "./iova_memory.ts";

/** Pages of guest memory that are not huge. */
const PAGE = 4096;

/**
 * What a driver has at adjacent I/O virtual addresses may be pages from all over
 * the guest. A ring reads and writes its parts by plain views, so the pages of
 * such a part are mapped once more, side by side. They stay the guest's: what
 * either writes the other sees.
 */
export class JoinedAreas implements Disposable {
  #mappings: Mapping[] = [];

  /**
   * The `size` bytes at `address` of `memory`, all of which are mapped, or why
   * they can't be had.
   */
  join(
    memory: IovaMemory,
    address: number,
    size: number,
  ): Uint8Array<ArrayBuffer> | string {
    const start = address - address % PAGE;
    const pieces = piecesOf(memory, start, address + size);
    if (pieces === null) {
      return `wanted ${size} bytes in one region of guest memory, or in pages ` +
        "that are whole";
    }
    try {
      const mapping = Mapping.joined(pieces);
      this.#mappings.push(mapping);
      return new Uint8Array(mapping.buffer, address - start, size);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      return `in pages that can't be mapped side by side (${error.message}), ` +
        `wanted shared memory in pages of ${PAGE} bytes: huge ones need an ` +
        "area that is in one of them";
    }
  }

  /** Unmaps all. Views of them that are used by mistake find nothing. */
  [Symbol.dispose](): void {
    for (const mapping of this.#mappings) mapping[Symbol.dispose]();
    this.#mappings = [];
  }
}

/** The whole pages from `start` to `end`, as they lie in this process. */
function piecesOf(
  memory: IovaMemory,
  start: number,
  end: number,
): MappingPiece[] | null {
  const pieces: { address: number; size: number }[] = [];
  for (let at = start; at < end; at += PAGE) {
    const run = memory.resolve(at, IOTLB_READ);
    if (run < PAGE) return null;
    const address = memory.hostAddresses[memory.foundRegion]! +
      memory.foundOffset;
    if (address % PAGE !== 0) return null;
    const last = pieces.at(-1);
    if (last !== undefined && last.address + last.size === address) {
      last.size += PAGE;
    } else pieces.push({ address, size: PAGE });
  }
  return pieces;
}
