// Data plane: where the log has a part of a ring that we write.
/**
 * @module
 */
import type { DirtyLog } from "../memory/dirty_log.ts";
import type { GuestMemory } from "../memory/guest_memory.ts";
import { IOTLB_READ } from "../memory/iotlb.ts";

/** A part of a ring as the log knows it: in pieces, where an IOMMU cut it. */
export class AreaLog {
  readonly #log: DirtyLog;
  /** Where each piece starts in the part, the first one at 0. */
  readonly #offsets: number[];
  /** The guest address of each piece. */
  readonly #places: number[];

  private constructor(log: DirtyLog, offsets: number[], places: number[]) {
    this.#log = log;
    this.#offsets = offsets;
    this.#places = places;
  }

  /** A part that is in one piece, logged as if it were at `place`. */
  static at(log: DirtyLog, place: number): AreaLog {
    return new AreaLog(log, [0], [place]);
  }

  /** The `size` bytes at `address` of `memory`, all of which are there. */
  static of(
    log: DirtyLog,
    memory: GuestMemory,
    address: number,
    size: number,
  ): AreaLog {
    const { virtual } = memory;
    if (virtual === null) return AreaLog.at(log, address);
    const offsets: number[] = [];
    const places: number[] = [];
    for (let done = 0; done < size;) {
      const run = virtual.resolve(address + done, IOTLB_READ);
      // Gone meanwhile: so is the ring, before anything is written there.
      if (run === 0) break;
      offsets.push(done);
      places.push(virtual.starts[virtual.foundRegion]! + virtual.foundOffset);
      done += run;
    }
    return new AreaLog(log, offsets, places);
  }

  /** The `size` bytes from `offset` on were written. */
  mark(offset: number, size: number): void {
    const offsets = this.#offsets;
    const last = offsets.length - 1;
    for (let i = 0; i <= last; i++) {
      const from = Math.max(offset, offsets[i]!);
      const to = i < last
        ? Math.min(offset + size, offsets[i + 1]!)
        : offset + size;
      if (from < to) {
        this.#log.mark(this.#places[i]! + from - offsets[i]!, to - from);
      }
    }
  }
}
