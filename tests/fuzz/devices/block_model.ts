/**
 * A disk as virtio 1.3 §5.2 has it, and what devices/block/mod.ts decides where
 * that leaves it open.
 *
 * @module
 */
import { Arena } from "./arena.ts";
import type { Outcome } from "./bursts.ts";

const SECTOR = 512;
const OK = 0;
const IOERR = 1;
const UNSUPP = 2;
const SEGMENTS_MAX = 256;
const SEGMENT_SECTORS_MAX = 2 ** 22;

/** Request types by name. */
export const TYPE = {
  IN: 0,
  OUT: 1,
  FLUSH: 4,
  GET_ID: 8,
  DISCARD: 11,
  WRITE_ZEROES: 13,
} as const;

/** The model of one disk. */
export class DiskModel {
  /** What is on it. */
  readonly bytes: Uint8Array;
  readonly #readOnly: boolean;
  readonly #alignment: number;
  readonly #id: Uint8Array;

  /** Of `bytes`; transfers are in multiples of `alignment`. */
  constructor(
    bytes: Uint8Array,
    readOnly: boolean,
    alignment: number,
    id: Uint8Array,
  ) {
    this.bytes = bytes;
    this.#readOnly = readOnly;
    this.#alignment = Math.max(alignment, SECTOR);
    this.#id = id;
  }

  /**
   * What becomes of a request that the device reads `readable` of and that has
   * room for `writable` bytes. Does it.
   */
  run(readable: Uint8Array, writable: number): Outcome {
    const rooms = Arena.blank(writable);
    if (readable.length < 16 || writable < 1) return { written: 0, rooms };
    const view = viewOf(readable);
    const type = view.getUint32(0, true);
    const sector = view.getBigUint64(8, true);
    const payload = readable.subarray(16);
    const data = rooms.subarray(0, writable - 1);
    // Told is only what was surely written, from the first byte on.
    const statusOnly = writable === 1 ? 1 : 0;
    let written = statusOnly;
    let status = OK;
    switch (type) {
      case TYPE.IN:
        status = this.#check(sector, data.length);
        if (status !== OK) break;
        data.set(this.#range(sector, data.length));
        written = writable;
        break;
      case TYPE.OUT:
        status = this.#readOnly ? IOERR : this.#check(sector, payload.length);
        if (status === OK) this.#range(sector, payload.length).set(payload);
        break;
      case TYPE.FLUSH:
        break;
      case TYPE.GET_ID: {
        const told = this.#id.subarray(0, data.length);
        data.set(told);
        written = data.length > told.length ? told.length : writable;
        break;
      }
      case TYPE.DISCARD:
      case TYPE.WRITE_ZEROES:
        status = this.#zero(payload, type === TYPE.DISCARD);
        break;
      default:
        status = UNSUPP;
    }
    rooms[writable - 1] = status;
    return { written, rooms };
  }

  #check(sector: bigint, size: number): number {
    const start = Number(sector) * SECTOR;
    if (size % this.#alignment !== 0) return IOERR;
    if (start + size > this.bytes.length) return IOERR;
    return start % this.#alignment === 0 ? OK : IOERR;
  }

  #range(sector: bigint, size: number): Uint8Array {
    const start = Number(sector) * SECTOR;
    return this.bytes.subarray(start, start + size);
  }

  /** DISCARD and WRITE_ZEROES: on a file both leave zeros. */
  #zero(payload: Uint8Array, discard: boolean): number {
    const count = payload.length / 16;
    if (!Number.isInteger(count) || count < 1 || count > SEGMENTS_MAX) {
      return IOERR;
    }
    if (this.#readOnly) return IOERR;
    const view = viewOf(payload);
    const ranges: [sector: bigint, sectors: number][] = [];
    let status = OK;
    for (let at = 0; at < payload.length; at += 16) {
      const sector = view.getBigUint64(at, true);
      const sectors = view.getUint32(at + 8, true);
      const flags = view.getUint32(at + 12, true);
      if (flags > (discard ? 0 : 1)) status = UNSUPP;
      const last = Number(sector) + sectors;
      const outside = sectors > SEGMENT_SECTORS_MAX ||
        last * SECTOR > this.bytes.length;
      if (status === OK && outside) status = IOERR;
      ranges.push([sector, sectors]);
    }
    if (status !== OK) return status;
    for (const [sector, sectors] of ranges) {
      this.#range(sector, sectors * SECTOR).fill(0);
    }
    return OK;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
