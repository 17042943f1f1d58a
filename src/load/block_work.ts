// Data plane: the requests of a load on a disk.
/**
 * @module
 */
import type { Work } from "./lane.ts";
import type { Pattern } from "./pattern.ts";

/** Operations; also the shapes of a slot. */
export const READ = 0;
/** A write. */
export const WRITE = 1;
/** A flush. */
export const FLUSH = 2;
/** How many there are. */
export const OPERATIONS = 3;

/** VIRTIO_BLK_T_IN, OUT and FLUSH, by operation. */
const TYPES = Uint32Array.of(0, 1, 4);
/** A slot's header and status share a cache line: 64 bytes. */
export const CONTROL_SIZE = 64;
const CONTROL_WORDS = CONTROL_SIZE / 4;
/** Where in it the status is. */
export const STATUS_OFFSET = 16;
const NO_STATUS = 0xff;
/** The sectors of virtio, bytes. */
export const SECTOR_SIZE = 512;

/** What a load on a disk works on. */
export interface BlockWorkOptions {
  /** Headers and status bytes, CONTROL_SIZE for each slot. */
  readonly control: Uint32Array<ArrayBuffer>;
  /** Blocks from the beginning of the disk that may be touched. */
  readonly blocks: number;
  /** The first one in order, where not random. */
  readonly firstBlock: number;
  /** 512-byte sectors of a block. */
  readonly sectorsPerBlock: number;
  /** Whether blocks are chosen at random. */
  readonly random: boolean;
  /** Operations, to be drawn from. */
  readonly mix: Uint8Array;
  /** Not 0. */
  readonly seed: number;
  /** What is written and checked; null where that is not of interest. */
  readonly pattern: Pattern | null;
}

/** Makes requests and counts what became of them. */
export class BlockWork implements Work {
  /** Requests that came back well, by operation. */
  readonly counts: Float64Array = new Float64Array(OPERATIONS);
  /** Requests that came back with another status. */
  errors = 0;
  /** The status of the first of those. */
  firstStatus = 0;
  /** Requests that came back well, but with another used length than theirs. */
  wrongLengths = 0;
  /** The used length of the first of those. */
  firstLength = 0;
  /** That which was wanted of it. */
  wantedLength = 0;
  readonly #control: Uint32Array<ArrayBuffer>;
  readonly #bytes: Uint8Array;
  readonly #blocks: number;
  readonly #sectorsPerBlock: number;
  readonly #random: boolean;
  readonly #mix: Uint8Array;
  readonly #pattern: Pattern | null;
  readonly #operations: Uint8Array;
  /** What the device writes, by operation: data, and the status. */
  readonly #lengths: Uint32Array;
  /** By slot. */
  readonly #blockOf: Float64Array;
  readonly #nextBlock: Float64Array;
  #state: number;

  /** The work of one ring. */
  constructor(options: BlockWorkOptions) {
    const { control } = options;
    const slots = control.length / CONTROL_WORDS;
    this.#control = control;
    this.#bytes = new Uint8Array(
      control.buffer,
      control.byteOffset,
      control.byteLength,
    );
    this.#blocks = options.blocks;
    this.#sectorsPerBlock = options.sectorsPerBlock;
    this.#random = options.random;
    this.#mix = options.mix;
    this.#pattern = options.pattern;
    this.#operations = new Uint8Array(slots);
    const { sectorsPerBlock } = options;
    this.#lengths = Uint32Array.of(sectorsPerBlock * SECTOR_SIZE + 1, 1, 1);
    this.#blockOf = new Float64Array(slots);
    this.#nextBlock = Float64Array.of(options.firstBlock);
    this.#state = options.seed | 0;
  }

  /** Forgets what was counted. */
  clear(): void {
    this.counts.fill(0);
    this.errors = 0;
    this.firstStatus = 0;
    this.wrongLengths = 0;
  }

  prepare(slot: number): number {
    const mix = this.#mix;
    const operation = mix.length === 1
      ? mix[0]!
      : mix[(this.#draw() >>> 0) % mix.length]!;
    const at = slot * CONTROL_WORDS;
    this.#operations[slot] = operation;
    this.#control[at] = TYPES[operation]!;
    this.#bytes[slot * CONTROL_SIZE + STATUS_OFFSET] = NO_STATUS;
    let sector = 0;
    if (operation !== FLUSH) {
      const block = this.#choose(slot, operation);
      sector = block * this.#sectorsPerBlock;
    }
    this.#control[at + 2] = sector;
    this.#control[at + 3] = Math.floor(sector / 2 ** 32);
    return operation;
  }

  finish(slot: number, written: number): void {
    const status = this.#bytes[slot * CONTROL_SIZE + STATUS_OFFSET]!;
    const operation = this.#operations[slot]!;
    if (status === 0) {
      this.counts[operation] = this.counts[operation]! + 1;
      const wanted = this.#lengths[operation]!;
      if (written !== wanted && this.wrongLengths++ === 0) {
        this.firstLength = written;
        this.wantedLength = wanted;
      }
    } else if (this.errors++ === 0) this.firstStatus = status;
    const pattern = this.#pattern;
    if (pattern === null || operation === FLUSH) return;
    const block = this.#blockOf[slot]!;
    if (operation === WRITE) pattern.written(block, status === 0);
    else pattern.read(block, slot, status === 0);
  }

  #choose(slot: number, operation: number): number {
    let block: number;
    if (this.#random) {
      const low = this.#draw() >>> 0;
      if (this.#blocks < 2 ** 32) block = low % this.#blocks;
      else {
        const high = (this.#draw() >>> 11) * 2 ** 32;
        block = (high + low) % this.#blocks;
      }
    } else {
      block = this.#nextBlock[0]!;
      this.#nextBlock[0] = block + 1 < this.#blocks ? block + 1 : 0;
    }
    if (this.#pattern !== null) {
      block = operation === WRITE
        ? this.#pattern.write(block, slot)
        : this.#pattern.free(block);
      this.#blockOf[slot] = block;
    }
    return block;
  }

  /** xorshift32: small, and its state stays a 32-bit number. */
  #draw(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x;
  }
}
