/**
 * A driver on another thread that rewrites descriptors while they are read.
 *
 * @module
 */
import { Prng } from "../../src/testing/mod.ts";
import { GuestMemory, type MemoryLayout } from "../../src/virtqueue/mod.ts";

/** What the scribbler is told, once. */
export interface ScribblerSetup {
  layout: MemoryLayout;
  /** Guest addresses of the tables to rewrite. */
  tables: number[];
  /** Descriptors in each. */
  entries: number;
  seed: number;
  /** Becomes 1 when it is to end. */
  ended: Int32Array;
}

declare const self: DedicatedWorkerGlobalScope;

self.onmessage = ({ data }: MessageEvent<ScribblerSetup>) => {
  const { layout, tables, entries, seed, ended } = data;
  const memory = new GuestMemory(layout);
  const [region] = memory.regions;
  const prng = new Prng(seed);
  while (Atomics.load(ended, 0) === 0) {
    for (let i = 0; i < 1000; i++) {
      const entry = prng.pick(tables) + 16 * prng.below(entries);
      const at = entry - region!.guestAddress;
      const inside = region!.guestAddress + prng.below(region!.size);
      const { view } = region!;
      // Low word, size, flags and next: one of them at a time.
      const which = prng.below(4);
      if (which === 0) view.setUint32(at, inside, true);
      if (which === 1) view.setUint32(at + 4, prng.oneIn(9) ? 1 : 0, true);
      if (which === 2) view.setUint32(at + 8, prng.below(5000), true);
      if (which === 3) {
        view.setUint16(at + 12, prng.below(prng.oneIn(9) ? 8 : 4), true);
        view.setUint16(at + 14, prng.below(entries + 1), true);
      }
    }
  }
  self.postMessage("ended");
};
self.postMessage("loaded");
