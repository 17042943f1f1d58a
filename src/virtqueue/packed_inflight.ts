// Data plane: which chains of a packed ring are in flight, for who comes after.
/**
 * As inflight.ts, of which this is the other half. The driver may overwrite the
 * descriptors of a chain in flight, and so do we with those of others: so all of
 * them are kept here, each chain as a list of entries that are linked.
 *
 * The entries that no chain has are one list too. The chains of a batch that is
 * not published yet are its front; what comes behind them starts at
 * `old_free_head`, and that is where new chains get their entries. So a crash
 * before the batch is published takes nothing from the chains in it.
 *
 * @module
 */
import { assert } from "../assert.ts";
import { borrow } from "../ffi/mapping.ts";
import type { InflightArea } from "./inflight.ts";
import { VIRTQ_DESC_F_NEXT } from "./layout.ts";

const VERSION = 1;
/** Bytes before the entries, and of each. */
const HEADER_SIZE = 32;
const ENTRY_SIZE = 32;
// Fields of the header, in 16-bit words, after 64 bits of features.
const VERSION_WORD = 4;
const DESC_NUM_WORD = 5;
const FREE_HEAD_WORD = 6;
const OLD_FREE_HEAD_WORD = 7;
const USED_IDX_WORD = 8;
const OLD_USED_IDX_WORD = 9;
// And in bytes.
const USED_WRAP_COUNTER_BYTE = 20;
const OLD_USED_WRAP_COUNTER_BYTE = 21;
// Fields of an entry: in bytes, in 16-bit words and in 32-bit words.
const INFLIGHT_BYTE = 0;
const NEXT_WORD = 1;
const LAST_WORD = 2;
const NUM_WORD = 3;
const COUNTER_LOW = 2;
const COUNTER_HIGH = 3;
const ID_AND_FLAGS = 4;
const LEN = 5;
const ADDR_LOW = 6;
const ADDR_HIGH = 7;
const TWO_32 = 0x1_0000_0000;
/** In the word of id and flags. */
const NEXT = VIRTQ_DESC_F_NEXT << 16;

/** Bytes of the area of a packed ring of `size` entries. */
export function packedInflightSize(size: number): number {
  return HEADER_SIZE + ENTRY_SIZE * size;
}

/** What an earlier process left of a packed ring. */
export interface PackedRecovery {
  /** Where the next used descriptor goes, and its wrap counter. */
  readonly usedIndex: number;
  readonly usedWrap: boolean;
  /** The descriptors of the chains in flight as in a ring, in their order. */
  readonly descriptors: Uint32Array<ArrayBuffer>;
  /** How many chains those are. */
  readonly count: number;
}

/** The record of one packed ring (`QueueRegionPacked`). */
export class PackedInflight {
  readonly #size: number;
  readonly #bytes: Uint8Array;
  readonly #halves: Uint16Array;
  readonly #words: Uint32Array;
  /** The next value of the global counter, as two words. */
  #low = 0;
  #high = 0;
  // What is in the area, where the front-end can write, is ours here as well.
  #freeHead = 0;
  #oldFreeHead = 0;
  readonly #next: Uint16Array;
  /** By head: the first and the last entry of its chain. */
  readonly #firsts: Uint16Array;
  readonly #lasts: Uint16Array;
  /** First entries of the chains that are pushed and not published. */
  readonly #batch: Uint16Array;
  #batchCount = 0;
  /** The last entry of the batch's list. */
  #batchTail = 0;

  /** The record of a ring of `size` entries in `area`, which is mapped. */
  constructor(area: InflightArea, size: number) {
    const bytes = packedInflightSize(size);
    assert(
      area.size >= bytes && area.address % 8 === 0,
      "the area of a ring holds its entries",
    );
    const buffer = borrow(area.address, bytes);
    this.#size = size;
    this.#bytes = new Uint8Array(buffer);
    this.#halves = new Uint16Array(buffer);
    this.#words = new Uint32Array(buffer);
    this.#next = new Uint16Array(size);
    this.#firsts = new Uint16Array(size);
    this.#lasts = new Uint16Array(size);
    this.#batch = new Uint16Array(size);
  }

  /**
   * Takes the area over from whoever used it before. `isUsed` tells whether the
   * descriptor at a position is no longer available as it was in the lap of
   * that wrap counter. Null where nobody has used the area for a ring of this
   * size: it is blank now, for a ring that goes on at `usedIndex`.
   */
  recover(
    isUsed: (index: number, wrap: boolean) => boolean,
    usedIndex: number,
    usedWrap: boolean,
  ): PackedRecovery | null {
    const halves = this.#halves;
    const known = halves[VERSION_WORD] === VERSION &&
      halves[DESC_NUM_WORD] === this.#size &&
      halves[OLD_USED_IDX_WORD]! < this.#size &&
      halves[USED_IDX_WORD]! < this.#size;
    const found = known ? this.#read(isUsed) : null;
    if (found === null) this.#clear(usedIndex, usedWrap);
    return found;
  }

  /**
   * The chain at `head` was popped: `count` descriptors of the ring
   * `descriptors` from `at` on.
   */
  pop(
    head: number,
    descriptors: Int32Array,
    at: number,
    count: number,
  ): void {
    const words = this.#words;
    const halves = this.#halves;
    const first = this.#oldFreeHead;
    const firstWord = this.#word(first);
    halves[2 * firstWord + NUM_WORD] = count;
    this.#count(firstWord);
    this.#bytes[4 * firstWord + INFLIGHT_BYTE] = 1;
    let entry = first;
    let last = first;
    let from = 4 * at;
    for (let i = 0; i < count; i++) {
      const word = this.#word(entry);
      words[word + ADDR_LOW] = descriptors[from]!;
      words[word + ADDR_HIGH] = descriptors[from + 1]!;
      words[word + LEN] = descriptors[from + 2]!;
      words[word + ID_AND_FLAGS] = descriptors[from + 3]!;
      last = entry;
      entry = this.#next[entry]!;
      from += 4;
      if (from === descriptors.length) from = 0;
    }
    halves[2 * firstWord + LAST_WORD] = last;
    this.#firsts[head] = first;
    this.#lasts[head] = last;
    // From here on it is in flight: before, it is on the free list.
    this.#setOldFreeHead(entry);
  }

  /** The chain at `head` went back to the ring. */
  undoPop(head: number): void {
    const first = this.#firsts[head]!;
    this.#link(this.#lasts[head]!, this.#oldFreeHead);
    this.#setOldFreeHead(first);
    this.#bytes[4 * this.#word(first) + INFLIGHT_BYTE] = 0;
  }

  /** The chain at `head` is given back with the next `publish`. */
  push(head: number): void {
    const first = this.#firsts[head]!;
    const last = this.#lasts[head]!;
    if (this.#batchCount === 0) this.#batchTail = last;
    this.#batch[this.#batchCount++] = first;
    this.#link(last, this.#freeHead);
    this.#setFreeHead(first);
  }

  /** What was pushed is published next: then the next one goes to `usedIndex`. */
  prepare(usedIndex: number, usedWrap: boolean): void {
    this.#halves[USED_IDX_WORD] = usedIndex;
    this.#bytes[USED_WRAP_COUNTER_BYTE] = usedWrap ? 1 : 0;
  }

  /** It is published. */
  publish(): void {
    const bytes = this.#bytes;
    const halves = this.#halves;
    for (let i = 0; i < this.#batchCount; i++) {
      bytes[4 * this.#word(this.#batch[i]!) + INFLIGHT_BYTE] = 0;
    }
    this.#batchCount = 0;
    this.#oldFreeHead = this.#freeHead;
    halves[OLD_FREE_HEAD_WORD] = this.#freeHead;
    halves[OLD_USED_IDX_WORD] = halves[USED_IDX_WORD]!;
    bytes[OLD_USED_WRAP_COUNTER_BYTE] = bytes[USED_WRAP_COUNTER_BYTE]!;
  }

  /** The first 32-bit word of `entry`. */
  #word(entry: number): number {
    return (HEADER_SIZE + ENTRY_SIZE * entry) >>> 2;
  }

  #count(word: number): void {
    this.#words[word + COUNTER_LOW] = this.#low;
    this.#words[word + COUNTER_HIGH] = this.#high;
    this.#low = (this.#low + 1) >>> 0;
    if (this.#low === 0) this.#high++;
  }

  #link(entry: number, next: number): void {
    this.#next[entry] = next;
    this.#halves[2 * this.#word(entry) + NEXT_WORD] = next;
  }

  #setFreeHead(entry: number): void {
    this.#freeHead = entry;
    this.#halves[FREE_HEAD_WORD] = entry;
  }

  /** Where the list goes on behind the batch. */
  #setOldFreeHead(entry: number): void {
    this.#oldFreeHead = entry;
    this.#halves[OLD_FREE_HEAD_WORD] = entry;
    if (this.#batchCount === 0) this.#setFreeHead(entry);
    else this.#link(this.#batchTail, entry);
  }

  /** Reads the area as the specification says; null where it makes no sense. */
  #read(
    isUsed: (index: number, wrap: boolean) => boolean,
  ): PackedRecovery | null {
    const halves = this.#halves;
    const bytes = this.#bytes;
    let usedIndex = halves[OLD_USED_IDX_WORD]!;
    let usedWrap = bytes[OLD_USED_WRAP_COUNTER_BYTE] === 1;
    let free = halves[OLD_FREE_HEAD_WORD]!;
    const isOpen = halves[USED_IDX_WORD] !== usedIndex ||
      bytes[USED_WRAP_COUNTER_BYTE] !== bytes[OLD_USED_WRAP_COUNTER_BYTE];
    if (isOpen && isUsed(usedIndex, usedWrap)) {
      usedIndex = halves[USED_IDX_WORD]!;
      usedWrap = bytes[USED_WRAP_COUNTER_BYTE] === 1;
      free = halves[FREE_HEAD_WORD]!;
    }
    // Whoever is reached twice, or from nowhere, makes no sense.
    const isTaken = new Uint8Array(this.#size);
    const chains = this.#chains(isTaken, free);
    if (chains === null) return null;
    const descriptors = this.#copy(chains);
    if (!this.#hasOwnIds(chains, descriptors)) return null;
    this.#rebuild(chains, descriptors, usedIndex, usedWrap);
    return { usedIndex, usedWrap, descriptors, count: chains.length };
  }

  /** The entries of each chain in flight, in the order of the pops, or null. */
  #chains(isTaken: Uint8Array, free: number): number[][] | null {
    const nextOf = (entry: number) =>
      this.#halves[2 * this.#word(entry) + NEXT_WORD]!;
    // The end of the list is where nobody is, or somebody was.
    for (let at = free; at < this.#size && isTaken[at] === 0; at = nextOf(at)) {
      isTaken[at] = 1;
    }
    const firsts: number[] = [];
    for (let entry = 0; entry < this.#size; entry++) {
      const inflight = this.#bytes[4 * this.#word(entry) + INFLIGHT_BYTE];
      if (inflight !== 0 && isTaken[entry] === 0) firsts.push(entry);
    }
    firsts.sort((a, b) => this.#counterOf(a) - this.#counterOf(b));
    const chains: number[][] = [];
    for (const first of firsts) {
      const chain: number[] = [];
      const count = this.#halves[2 * this.#word(first) + NUM_WORD]!;
      let at = first;
      for (let i = 0; i < count; i++, at = nextOf(at)) {
        if (at >= this.#size || isTaken[at] === 1) return null;
        isTaken[at] = 1;
        chain.push(at);
      }
      if (count === 0) return null;
      chains.push(chain);
    }
    return chains;
  }

  /** The descriptors of `chains`, one after the other, as in a ring. */
  #copy(chains: readonly number[][]): Uint32Array<ArrayBuffer> {
    const descriptors = new Uint32Array(4 * chains.flat().length);
    let to = 0;
    for (const chain of chains) {
      for (const [i, entry] of chain.entries()) {
        const word = this.#word(entry);
        const bits = this.#words[word + ID_AND_FLAGS]!;
        descriptors[to] = this.#words[word + ADDR_LOW]!;
        descriptors[to + 1] = this.#words[word + ADDR_HIGH]!;
        descriptors[to + 2] = this.#words[word + LEN]!;
        // They end where the list does, whatever their flags have become.
        const goesOn = i + 1 < chain.length;
        descriptors[to + 3] = goesOn ? bits | NEXT : bits & ~NEXT;
        to += 4;
      }
    }
    return descriptors;
  }

  /** Whether each of `chains` has a buffer id, and one of its own. */
  #hasOwnIds(
    chains: readonly number[][],
    descriptors: Uint32Array,
  ): boolean {
    const ids = new Set<number>();
    let end = 0;
    for (const chain of chains) {
      end += chain.length;
      const id = descriptors[4 * end - 1]! & 0xffff;
      if (id >= this.#size || ids.has(id)) return false;
      ids.add(id);
    }
    return true;
  }

  /**
   * Makes our own lists of what was found, and the area like them. What is in
   * flight stays where it is and in flight all the while.
   */
  #rebuild(
    chains: readonly number[][],
    descriptors: Uint32Array,
    usedIndex: number,
    usedWrap: boolean,
  ): void {
    const inFlight = new Set(chains.flat());
    const free: number[] = [];
    for (let entry = 0; entry < this.#size; entry++) {
      if (!inFlight.has(entry)) free.push(entry);
    }
    for (const entry of free) {
      this.#bytes[4 * this.#word(entry) + INFLIGHT_BYTE] = 0;
    }
    let end = 0;
    for (const chain of chains) {
      end += chain.length;
      const head = descriptors[4 * end - 1]! & 0xffff;
      // Counted anew, so that who reads it next finds this order.
      this.#count(this.#word(chain[0]!));
      this.#firsts[head] = chain[0]!;
      this.#lasts[head] = chain.at(-1)!;
      for (const [i, entry] of chain.entries()) {
        if (i + 1 < chain.length) this.#next[entry] = chain[i + 1]!;
      }
    }
    this.#settle(free, usedIndex, usedWrap);
  }

  /** Makes `free` the list of free entries, with no batch before it. */
  #settle(free: number[], usedIndex: number, usedWrap: boolean): void {
    for (const [i, entry] of free.entries()) {
      // The list ends where there is no entry: one that is in flight now may
      // be the last one to come back.
      this.#link(entry, free[i + 1] ?? this.#size);
    }
    this.#batchCount = 0;
    this.#setOldFreeHead(free[0] ?? this.#size);
    this.prepare(usedIndex, usedWrap);
    this.publish();
  }

  #clear(usedIndex: number, usedWrap: boolean): void {
    this.#bytes.fill(0);
    this.#halves[DESC_NUM_WORD] = this.#size;
    const all = Array.from({ length: this.#size }, (_, entry) => entry);
    this.#settle(all, usedIndex, usedWrap);
    // Last: from here on the rest counts.
    this.#halves[VERSION_WORD] = VERSION;
  }

  #counterOf(entry: number): number {
    const word = this.#word(entry);
    return this.#words[word + COUNTER_LOW]! +
      this.#words[word + COUNTER_HIGH]! * TWO_32;
  }
}
