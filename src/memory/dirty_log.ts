// Data plane: the log of the pages of guest memory that we write.
/**
 * @module
 */
import { borrow } from "../ffi/mapping.ts";

/** Pages are this large in the log, whatever they are in the guest. */
export const LOG_PAGE_SIZE = 4096;
const PAGES_PER_BYTE = 8;

/** Where the log is in this process. Structured-cloneable. */
export interface LogArea {
  /** The address of its first byte. */
  readonly address: number;
  /** In bytes, each for 8 pages. */
  readonly size: number;
  /** To be signalled when something was logged, or -1. */
  readonly eventFd: number;
}

/** Bytes of a log that knows all pages below `end`. */
export function logSizeFor(end: number): number {
  return Math.ceil(end / (LOG_PAGE_SIZE * PAGES_PER_BYTE));
}

/**
 * Marks pages as written: bit `n` is that of guest address `n * 4096`. The
 * front-end takes marks away while we set others, so each is an atomic OR.
 * It is set after the page was written, and before the driver is told.
 *
 * @example Two bytes, on both sides of a border of pages
 * ```ts
 * import { DirtyLog } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * const bits = new Uint8Array(1);
 * const log = new DirtyLog({ address: 0, size: 1, eventFd: -1 }, bits.buffer);
 * log.mark(3 * 4096 - 1, 2);
 * assertEquals([log.touched, bits[0]], [true, 0b1100]);
 * ```
 */
export class DirtyLog {
  /** To be signalled when something was logged, or -1. */
  readonly eventFd: number;
  /** Something was marked since this was last made false. */
  touched = false;
  /** Marks that the log has no room for: those pages are not moved. */
  lost = 0;
  readonly #bits: Uint8Array<ArrayBuffer>;

  /** The log at `area`, or over `buffer` where one is given. */
  constructor(area: LogArea, buffer?: ArrayBuffer) {
    this.eventFd = area.eventFd;
    this.#bits = new Uint8Array(buffer ?? borrow(area.address, area.size));
  }

  /** The `size` bytes from `guestAddress` on were written. */
  mark(guestAddress: number, size: number): void {
    if (size === 0) return;
    const first = Math.floor(guestAddress / LOG_PAGE_SIZE);
    const last = Math.floor((guestAddress + size - 1) / LOG_PAGE_SIZE);
    this.markPages(first, last);
  }

  /** The pages from `first` to `last` were written. */
  markPages(first: number, last: number): void {
    const bits = this.#bits;
    const end = bits.length * PAGES_PER_BYTE;
    if (!(first >= 0 && last < end)) {
      this.lost++;
      this.touched = true;
      return;
    }
    for (let page = first; page <= last; page++) {
      Atomics.or(bits, Math.floor(page / PAGES_PER_BYTE), 1 << (page & 7));
    }
    this.touched = true;
  }

  /** It is no longer used: marks that come too late go nowhere. */
  forget(): void {
    this.#bits.buffer.transfer();
  }
}
