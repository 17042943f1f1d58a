// Data plane: the requests of one ring that are in flight.
/**
 * @module
 */
import type { DataPlaneServices } from "../../src/device/device.ts";
import { IovecList } from "../../src/io/iovec.ts";
import type { Chain } from "../../src/virtqueue/chain.ts";
import {
  HEADER_SIZE,
  ID_SIZE,
  SECTOR_SIZE,
  SEGMENT_SECTORS_MAX,
  SEGMENT_SIZE,
  SEGMENTS_MAX,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
  VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
} from "./protocol.ts";

/** `accept`: the request is to be run, by its step. */
export const ACCEPTED = -1;
/** `accept`: not even a status can be answered; the head goes back unread. */
export const MALFORMED = -2;
/** `accept`: what it needs is in use by others; the chain is to be popped again. */
export const BUSY = -3;

/** Steps: what a request is about to do, or waits for. */
export const STEP_READ = 0;
export const STEP_WRITE = 1;
/** Through an aligned buffer, because the guest's is not fit for O_DIRECT. */
export const STEP_READ_BOUNCED = 2;
export const STEP_WRITE_BOUNCED = 3;
export const STEP_FLUSH = 4;
export const STEP_DISCARD = 5;
export const STEP_ZERO = 6;
/** Writes zeros, where the medium can't be told to. */
export const STEP_FILL = 7;

/** Elements that each slot has of its own: what SEG_MAX asks for, and more. */
const OWN_ELEMENTS = 128;
/** What the lists of longer requests may take together, in bytes. */
const LONG_LISTS_MAX = 64 << 20;

/** What is true of the disk, whatever the request. */
export interface DiskLimits {
  /** Of 512 bytes. Changes when the disk is resized. */
  sectors: number;
  readonly readOnly: boolean;
  /** Sizes of transfers are multiples of this, in bytes. */
  readonly alignment: number;
  /** Transfers to or from other addresses are bounced; 1: all are fit. */
  readonly memoryAlignment: number;
  /** The answer to GET_ID, 20 bytes. */
  readonly id: Uint8Array;
}

/**
 * The requests in flight, by slot. A slot is the head of its chain: a ring pops
 * no head that is in flight.
 */
export class Requests {
  /** One of the STEP constants. */
  readonly step: Uint8Array;
  /** Where the next byte goes on the disk. */
  readonly offset: Float64Array;
  /** Bytes of the transfer that are not done yet. */
  readonly remaining: Float64Array;
  /** Bytes of it that the operation under way moves at most. */
  readonly chunk: Float64Array;
  /** The list of the data; of DISCARD and WRITE_ZEROES, of ranges of the disk. */
  readonly lists: IovecList[];
  /** The first element in use. */
  readonly first: Int32Array;
  /** How many elements are in use from there. */
  readonly count: Int32Array;
  /** 0 once something was written that may be in a cache only. */
  readonly durable: Uint8Array;
  /** WRITE_ZEROES: 1 where each of the segments may be unmapped. */
  readonly mayUnmap: Uint8Array;
  /** How often the medium said to try again. */
  readonly retries: Uint8Array;
  /** The bounce buffer, -1 while it has none. */
  readonly bounce: Int16Array;

  readonly #services: DataPlaneServices;
  readonly #disk: DiskLimits;
  /** Bytes of `#disk.id`, by how many are wanted. */
  readonly #ids: Uint8Array[] = [];
  readonly #own: IovecList;
  readonly #longElements: number;
  readonly #longMax: number;
  /** All lists for longer requests, and those of them that no slot has. */
  readonly #long: IovecList[] = [];
  readonly #idle: IovecList[] = [];
  /** Where the status byte lives. */
  readonly #statusRegion: Uint16Array;
  readonly #statusOffset: Float64Array;
  /** What the driver is told was written when all went well, and when not. */
  readonly #written: Float64Array;
  readonly #writtenOnFailure: Uint8Array;

  /**
   * Tables for a ring of `size` entries whose chains have up to `segments`
   * segments.
   */
  constructor(
    size: number,
    segments: number,
    disk: DiskLimits,
    services: DataPlaneServices,
  ) {
    this.#services = services;
    this.#disk = disk;
    for (let i = 0; i <= ID_SIZE; i++) this.#ids.push(disk.id.subarray(0, i));
    this.step = new Uint8Array(size);
    this.offset = new Float64Array(size);
    this.remaining = new Float64Array(size);
    this.chunk = new Float64Array(size);
    this.#own = new IovecList(size * OWN_ELEMENTS);
    this.lists = new Array<IovecList>(size).fill(this.#own);
    this.first = new Int32Array(size);
    this.count = new Int32Array(size);
    this.durable = new Uint8Array(size);
    this.mayUnmap = new Uint8Array(size);
    this.retries = new Uint8Array(size);
    this.bounce = new Int16Array(size).fill(-1);
    this.#longElements = Math.max(segments, SEGMENTS_MAX);
    this.#longMax = Math.max(1, LONG_LISTS_MAX / (this.#longElements * 16));
    this.#statusRegion = new Uint16Array(size);
    this.#statusOffset = new Float64Array(size);
    this.#written = new Float64Array(size);
    this.#writtenOnFailure = new Uint8Array(size);
  }

  /** How many slots there are. */
  get size(): number {
    return this.step.length;
  }

  /** How many segments a chain may have. */
  get segments(): number {
    return this.#longElements;
  }

  /**
   * Reads the request in `chain` into its slot: ACCEPTED, MALFORMED, BUSY, or
   * the status to answer it with at once. Nothing on the disk is touched
   * before the whole request was checked.
   */
  accept(chain: Chain): number {
    const slot = chain.head;
    const reader = chain.reader;
    const writer = chain.writer;
    const writable = writer.size;
    if (reader.size < HEADER_SIZE || writable < 1) return MALFORMED;
    const type = reader.readU32();
    reader.skip(4); // ioprio in older drivers
    const sector = reader.readU64();
    // The status is the last writable byte, wherever the descriptors end.
    if (!writer.locate(writable - 1)) return MALFORMED;
    this.#statusRegion[slot] = writer.foundRegion;
    this.#statusOffset[slot] = writer.foundOffset;
    // No more than is true: a status behind data that was not written is not
    // the first writable byte.
    this.#writtenOnFailure[slot] = writable === 1 ? 1 : 0;
    this.#written[slot] = this.#writtenOnFailure[slot]!;
    this.retries[slot] = 0;
    this.first[slot] = slot * OWN_ELEMENTS;
    this.durable[slot] = 1;
    switch (type) {
      case VIRTIO_BLK_T_IN:
        return this.#transfer(chain, slot, sector, writable - 1, STEP_READ);
      case VIRTIO_BLK_T_OUT:
        return this.#transfer(
          chain,
          slot,
          sector,
          reader.remaining,
          STEP_WRITE,
        );
      case VIRTIO_BLK_T_FLUSH:
        this.step[slot] = STEP_FLUSH;
        return ACCEPTED;
      case VIRTIO_BLK_T_GET_ID:
        return this.#identify(chain, slot, writable - 1);
      case VIRTIO_BLK_T_DISCARD:
        return this.#ranges(chain, slot, STEP_DISCARD);
      case VIRTIO_BLK_T_WRITE_ZEROES:
        return this.#ranges(chain, slot, STEP_ZERO);
      default:
        return VIRTIO_BLK_S_UNSUPP;
    }
  }

  /**
   * Writes the status byte of `slot` and frees the slot; the bytes that the
   * driver is told were written.
   */
  finish(slot: number, status: number): number {
    const view = this.#services.memory.views[this.#statusRegion[slot]!]!;
    view.setUint8(this.#statusOffset[slot]!, status);
    const list = this.lists[slot]!;
    if (list !== this.#own) {
      this.#idle.push(list);
      this.lists[slot] = this.#own;
    }
    return status === VIRTIO_BLK_S_OK
      ? this.#written[slot]!
      : this.#writtenOnFailure[slot]!;
  }

  /** Frees the lists. Nothing is in flight. */
  [Symbol.dispose](): void {
    this.#own[Symbol.dispose]();
    for (const list of this.#long) list[Symbol.dispose]();
  }

  #transfer(
    chain: Chain,
    slot: number,
    sector: number,
    size: number,
    step: number,
  ): number {
    const disk = this.#disk;
    if (size % SECTOR_SIZE !== 0) return VIRTIO_BLK_S_IOERR;
    if (sector > disk.sectors - size / SECTOR_SIZE) return VIRTIO_BLK_S_IOERR;
    if (step === STEP_WRITE && disk.readOnly) return VIRTIO_BLK_S_IOERR;
    const offset = sector * SECTOR_SIZE;
    if (disk.alignment > SECTOR_SIZE) {
      const alignment = disk.alignment;
      if (offset % alignment !== 0 || size % alignment !== 0) {
        return VIRTIO_BLK_S_IOERR;
      }
    }
    if (step === STEP_READ) this.#written[slot] = size + 1;
    if (size === 0) return VIRTIO_BLK_S_OK;
    if (chain.segmentCount > OWN_ELEMENTS && !this.#takeLong(slot)) return BUSY;
    const list = this.lists[slot]!;
    const first = this.first[slot]!;
    const count = step === STEP_READ
      ? chain.writer.takeIovecs(list, first, size)
      : chain.reader.takeIovecs(list, first, size);
    this.count[slot] = count;
    this.offset[slot] = offset;
    this.remaining[slot] = size;
    this.step[slot] = step;
    if (disk.memoryAlignment > 1 && !this.#isAligned(list, first, count)) {
      this.step[slot] = step === STEP_READ
        ? STEP_READ_BOUNCED
        : STEP_WRITE_BOUNCED;
    }
    return ACCEPTED;
  }

  #identify(chain: Chain, slot: number, size: number): number {
    const wanted = size < ID_SIZE ? size : ID_SIZE;
    chain.writer.writeBytes(this.#ids[wanted]!);
    // Behind a longer buffer the status does not follow what was written.
    this.#written[slot] = size > ID_SIZE ? ID_SIZE : size + 1;
    return VIRTIO_BLK_S_OK;
  }

  /** DISCARD and WRITE_ZEROES: their segments become a list of ranges. */
  #ranges(chain: Chain, slot: number, step: number): number {
    const disk = this.#disk;
    const reader = chain.reader;
    const count = reader.remaining / SEGMENT_SIZE;
    if (reader.remaining % SEGMENT_SIZE !== 0) return VIRTIO_BLK_S_IOERR;
    if (count < 1 || count > SEGMENTS_MAX) return VIRTIO_BLK_S_IOERR;
    if (disk.readOnly) return VIRTIO_BLK_S_IOERR;
    if (count > OWN_ELEMENTS && !this.#takeLong(slot)) return BUSY;
    const list = this.lists[slot]!;
    let used = this.first[slot]!;
    let failure = VIRTIO_BLK_S_OK;
    let mayUnmap = 1;
    for (let i = 0; i < count; i++) {
      const sector = reader.readU64();
      const sectors = reader.readU32();
      const flags = reader.readU32();
      const unmap = flags === VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
      if (flags !== 0 && (!unmap || step === STEP_DISCARD)) {
        failure = VIRTIO_BLK_S_UNSUPP;
      } else if (
        sectors > SEGMENT_SECTORS_MAX || sector > disk.sectors - sectors
      ) {
        if (failure === VIRTIO_BLK_S_OK) failure = VIRTIO_BLK_S_IOERR;
      }
      if (!unmap) mayUnmap = 0;
      if (sectors === 0 || failure !== VIRTIO_BLK_S_OK) continue;
      list.set(used++, sector * SECTOR_SIZE, sectors * SECTOR_SIZE);
    }
    this.count[slot] = used - this.first[slot]!;
    if (failure !== VIRTIO_BLK_S_OK || this.count[slot] === 0) return failure;
    this.mayUnmap[slot] = mayUnmap;
    this.step[slot] = step;
    return ACCEPTED;
  }

  /** Gives `slot` a list for a long request, which `finish` takes back. */
  #takeLong(slot: number): boolean {
    let list = this.#idle.pop();
    if (list === undefined) {
      if (this.#long.length >= this.#longMax) return false;
      // There are as many as were ever in use at once, and no more.
      list = new IovecList(this.#longElements);
      this.#long.push(list);
    }
    this.lists[slot] = list;
    this.first[slot] = 0;
    return true;
  }

  #isAligned(list: IovecList, first: number, count: number): boolean {
    const alignment = this.#disk.memoryAlignment;
    const sizes = this.#disk.alignment;
    for (let i = first; i < first + count; i++) {
      if (list.base(i) % alignment !== 0) return false;
      if (list.size(i) % sizes !== 0) return false;
    }
    return true;
  }
}
