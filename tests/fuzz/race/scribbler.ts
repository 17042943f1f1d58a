/**
 * A driver on another thread that rewrites rings, tables and requests while
 * they are read.
 *
 * @module
 */
import { Prng } from "../../../src/testing/mod.ts";
import { GuestMemory, type MemoryLayout } from "../../../src/virtqueue/mod.ts";

/** What the scribbler is told, once. */
export interface ScribblerSetup {
  readonly layout: MemoryLayout;
  readonly seed: number;
  /** Guest addresses of tables of descriptors, and how many there are in each. */
  readonly tables: readonly (readonly [address: number, entries: number])[];
  /** Ranges of bytes to change. */
  readonly ranges: readonly (readonly [address: number, size: number])[];
  /** Whether descriptors are those of packed rings. */
  readonly packed: boolean;
  /** [0] becomes 1 when it is to end. */
  readonly ended: Int32Array;
}

declare const self: DedicatedWorkerGlobalScope;

/** Changes between two looks at whether it is to end. */
const CHANGES = 500;

/** Changes guest memory. */
class Scribbler {
  readonly #setup: ScribblerSetup;
  readonly #memory: GuestMemory;
  readonly #prng: Prng;

  constructor(setup: ScribblerSetup) {
    this.#setup = setup;
    this.#memory = new GuestMemory(setup.layout);
    this.#prng = new Prng(setup.seed);
  }

  /** Until the end; how many changes. */
  run(): number {
    let count = 0;
    while (Atomics.load(this.#setup.ended, 0) === 0) {
      for (let i = 0; i < CHANGES; i++) this.#change();
      count += CHANGES;
    }
    return count;
  }

  #change(): void {
    const prng = this.#prng;
    if (prng.oneIn(4)) {
      const [address, size] = prng.pick(this.#setup.ranges);
      return this.#set8(address + prng.below(size), prng.below(16));
    }
    const [table, entries] = prng.pick(this.#setup.tables);
    const at = table + 16 * prng.below(entries);
    // Low word, high word, size, flags with what is beside them.
    switch (prng.below(4)) {
      case 0: {
        const region = prng.pick(this.#memory.regions);
        return this.#set32(at, region.guestAddress + prng.below(region.size));
      }
      case 1:
        return this.#set32(at + 4, prng.oneIn(20) ? 1 : 0);
      case 2:
        return this.#set32(
          at + 8,
          prng.oneIn(20) ? prng.next() : prng.below(5000),
        );
      default: {
        // NEXT and WRITE, seldom INDIRECT; whose it is, in a packed ring.
        const owner = this.#setup.packed ? prng.pick([0x80, 0x8000]) : 0;
        const flags = owner | prng.below(prng.oneIn(9) ? 8 : 4);
        const other = prng.below(entries + (prng.oneIn(50) ? 1 : 0));
        const word = this.#setup.packed
          ? flags << 16 | other
          : other << 16 | flags;
        return this.#set32(at + 12, word >>> 0);
      }
    }
  }

  #set8(address: number, value: number): void {
    const region = this.#memory.regionAt(address);
    const start = this.#memory.starts[region]!;
    this.#memory.views[region]!.setUint8(address - start, value);
  }

  #set32(address: number, value: number): void {
    const region = this.#memory.regionAt(address);
    const start = this.#memory.starts[region]!;
    this.#memory.views[region]!.setUint32(address - start, value, true);
  }
}

self.onmessage = ({ data }: MessageEvent<ScribblerSetup>) => {
  self.postMessage("begun");
  self.postMessage(new Scribbler(data).run());
};
self.postMessage("loaded");
