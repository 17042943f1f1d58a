// Data plane: what is written on a disk so that reading shows whether it is there.
/**
 * @module
 */

/** Different words for different blocks, versions and places. */
const MIX_A = 0x85ebca6b;
const MIX_B = 0xc2b2ae35;

/** What is known of blocks, by all rings that write on them. */
export class BlockStates {
  /** How often each block was written, 0 where what it holds is not known. */
  readonly versions: Uint32Array;
  /** Requests on each block: 0 or 1. */
  readonly busy: Uint8Array;

  /** Of so many blocks, none of them known. */
  constructor(blocks: number) {
    this.versions = new Uint32Array(blocks);
    this.busy = new Uint8Array(blocks);
  }
}

/**
 * What a load writes on blocks, and whether it is there when read. A block that is
 * written is nobody else's until the write is back, so that what a read has to
 * find is certain.
 */
export class Pattern {
  /** Reads of blocks that were written before, whose data was compared. */
  checked = 0;
  /** Those of them that had other data. */
  mismatches = 0;
  /** The first block that had other data, or -1. */
  firstMismatch = -1;
  readonly #versions: Uint32Array;
  readonly #busy: Uint8Array;
  /** The slots' data. */
  readonly #data: readonly Uint32Array[];
  readonly #seed: number;

  /** Of the blocks of `states`, and slots that have `data`. */
  constructor(
    states: BlockStates,
    data: readonly Uint32Array[],
    seed: number,
  ) {
    this.#versions = states.versions;
    this.#busy = states.busy;
    this.#data = data;
    this.#seed = seed;
  }

  /** The first block from `block` on that no request is on; takes it. */
  free(block: number): number {
    const busy = this.#busy;
    let at = block;
    while (busy[at] !== 0) at = at + 1 < busy.length ? at + 1 : 0;
    busy[at] = 1;
    return at;
  }

  /** As `free`, for a write by `slot`, whose data it makes. */
  write(block: number, slot: number): number {
    const at = this.free(block);
    // Never 0 again, however often it is written.
    const version = (this.#versions[at]! % 0xffff_fffe) + 1;
    this.#versions[at] = version;
    const data = this.#data[slot]!;
    let word = this.#first(at, version);
    for (let i = 0; i < data.length; i++) {
      data[i] = word;
      word = next(word);
    }
    return at;
  }

  /** The write of `block` is back; where it failed, nobody knows what is there. */
  written(block: number, isWell: boolean): void {
    this.#busy[block] = 0;
    if (!isWell) this.#versions[block] = 0;
  }

  /** The read of `block` into the data of `slot` is back. */
  read(block: number, slot: number, isWell: boolean): void {
    this.#busy[block] = 0;
    const version = this.#versions[block]!;
    if (!isWell || version === 0) return;
    this.checked++;
    const data = this.#data[slot]!;
    let word = this.#first(block, version);
    for (let i = 0; i < data.length; i++) {
      if ((data[i]! | 0) !== word) {
        if (this.mismatches++ === 0) this.firstMismatch = block;
        return;
      }
      word = next(word);
    }
  }

  /** Forgets what was counted, not what was written. */
  clear(): void {
    this.checked = 0;
    this.mismatches = 0;
    this.firstMismatch = -1;
  }

  #first(block: number, version: number): number {
    const word = Math.imul(block ^ this.#seed, MIX_A) ^
      Math.imul(version, MIX_B);
    return word === 0 ? 1 : word;
  }
}

function next(word: number): number {
  let x = word;
  x ^= x << 13;
  x ^= x >>> 17;
  x ^= x << 5;
  return x;
}
