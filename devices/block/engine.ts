// Data plane: what a ring of the block device asks of the medium.
/**
 * The face of the engines: they differ in when they answer, not in what they
 * do.
 *
 * @module
 */
import type { IovecList } from "../../src/io/iovec.ts";
import type { Requests } from "./request.ts";

/** The answer of an engine that completes the request later. No errno is this big. */
export const PENDING = -65536;

/**
 * Works on the medium for one ring. Each method returns bytes (0 where there
 * are none to count), a negative errno, or {@linkcode PENDING}: then the same
 * comes later through the `complete` of the ring, with the same `slot`. A
 * slot has one operation under way at most.
 *
 * The elements of a list stay as they are until the answer; where it is one
 * element, until the method returns. Offsets are in `requests`, not among the
 * parameters: large numbers would be allocated there.
 */
export interface Engine {
  /**
   * The most requests that are taken on in one go. Where they are answered at
   * once the driver sees what is done while the next are worked on; a driver
   * that sleeps is called early, and wakes up meanwhile.
   */
  readonly share: number;
  /**
   * Reads `requests.chunk[slot]` bytes at `requests.offset[slot]` into `count`
   * elements of `list` from `first`.
   */
  read(
    requests: Requests,
    slot: number,
    list: IovecList,
    first: number,
    count: number,
  ): number;
  /** Writes likewise; `durable`: it is on the medium when answered. */
  write(
    requests: Requests,
    slot: number,
    list: IovecList,
    first: number,
    count: number,
    durable: boolean,
  ): number;
  /** Puts on the medium whatever was written. */
  flush(slot: number): number;
  /** Gives back `size` bytes at `offset`, whatever they read as afterwards. */
  discard(slot: number, offset: number, size: number): number;
  /** Makes `size` bytes at `offset` read as zeros. */
  zero(slot: number, offset: number, size: number, mayUnmap: boolean): number;
}
