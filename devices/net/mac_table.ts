// Data plane: where Ethernet addresses are, as a switch learns it.
/**
 * A table of bounded size in memory that several threads share. Each entry has
 * a version, odd while it is written: who reads one that changes meanwhile
 * knows nothing, and who can't write one learns at the next frame.
 *
 * @module
 */
import { Mapping } from "../../src/ffi/mapping.ts";
import type { Fd } from "../../src/io/fd.ts";
import { createMemfd } from "../../src/io/memfd.ts";

/** Entries that an address can be in. */
const WAYS = 4;
const BUCKETS = 1024;
/** Words of an entry: version, address (low 32 bits), high 16 and port, time. */
const WORDS = 4;
const SIZE = BUCKETS * WAYS * WORDS * 4;
/** An entry that was not heard of for so long is forgotten (IEEE 802.1D). */
export const AGEING_S = 300;
/** Ports are below this. */
export const PORTS_MAX = 255;
/** What a lookup says of an address that is nowhere. */
export const NOWHERE = -1;

/** Makes the memory of a table. Throws a SystemError. */
export function createMacTable(): Fd {
  return createMemfd("ringside-macs", SIZE);
}

/** The table, as one thread sees it. Times are whole seconds, of any clock. */
export class MacTable implements Disposable {
  readonly #mapping: Mapping;
  readonly #words: Int32Array;

  /** The table in the memory that {@linkcode createMacTable} made. */
  constructor(fd: number) {
    this.#mapping = Mapping.shared(fd, SIZE, 0);
    this.#words = new Int32Array(this.#mapping.buffer);
  }

  /** The port of the address `high` (16 bits), `low` (32 bits), or NOWHERE. */
  lookUp(high: number, low: number, now: number): number {
    const words = this.#words;
    const first = this.#bucket(high, low);
    for (let way = 0; way < WAYS; way++) {
      const at = first + way * WORDS;
      const version = Atomics.load(words, at);
      if ((version & 1) !== 0 || words[at + 1] !== (low | 0)) continue;
      const place = words[at + 2]!;
      const time = words[at + 3]!;
      if (Atomics.load(words, at) !== version) continue;
      if (place >>> 16 !== high || (place & 0xff) === 0) continue;
      return now - time >= AGEING_S ? NOWHERE : (place & 0xff) - 1;
    }
    return NOWHERE;
  }

  /** The address was heard on `port` at `now`. */
  learn(high: number, low: number, port: number, now: number): void {
    const words = this.#words;
    const first = this.#bucket(high, low);
    const place = (high << 16) | (port + 1);
    let oldest = first;
    for (let way = 0; way < WAYS; way++) {
      const at = first + way * WORDS;
      const known = words[at + 2]!;
      if (words[at + 1] === (low | 0) && known >>> 16 === high) {
        if (known === place && words[at + 3] === now) return;
        this.#write(at, low, place, now);
        return;
      }
      if (words[at + 3]! < words[oldest + 3]!) oldest = at;
    }
    this.#write(oldest, low, place, now);
  }

  /** Nothing is on `port` any more. */
  forget(port: number): void {
    const words = this.#words;
    for (let at = 0; at < words.length; at += WORDS) {
      if ((words[at + 2]! & 0xff) === port + 1) this.#write(at, 0, 0, 0);
    }
  }

  /** Unmaps the memory. */
  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
  }

  #bucket(high: number, low: number): number {
    const mixed = Math.imul(low ^ (high << 7), 0x9e3779b1) >>> 22;
    return mixed * WAYS * WORDS;
  }

  #write(at: number, low: number, place: number, time: number): void {
    const words = this.#words;
    const version = Atomics.load(words, at);
    if ((version & 1) !== 0) return;
    const odd = (version + 1) | 0;
    if (Atomics.compareExchange(words, at, version, odd) !== version) return;
    Atomics.store(words, at + 1, low | 0);
    Atomics.store(words, at + 2, place);
    Atomics.store(words, at + 3, time);
    Atomics.store(words, at, (version + 2) | 0);
  }
}
