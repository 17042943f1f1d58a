/**
 * Serves so many requests for random bytes, to a driver that allocates
 * nothing, and says when it is warm: for tests that look at what V8 does then.
 *
 *     deno run --allow-all rng_hot_run.ts kernel|file|budget
 *
 * @module
 */
import { rng } from "../../devices/rng/mod.ts";
import {
  AVAIL_RING,
  RING_INDEX,
  USED_RING_WORD,
} from "../../src/virtqueue/layout.ts";
import { type Given, Harness } from "./harness.ts";
import { measureRounds } from "./rounds.ts";

const DEPTH = 64;
const RING_SIZE = 128;
const REQUEST_SIZE = 64;
const WARM_UP = 400_000;
const MEASURED = 1_000_000;

const VARIANTS: Record<string, Given> = {
  kernel: {},
  file: { source: "/dev/zero" },
  budget: { "max-bytes": 2 ** 40, "period": 1000 },
};

/** The driver: requests of one segment, and every fourth of two. */
class Load {
  readonly #h: Harness;
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedElements: Uint32Array;
  #availIndex = 0;
  #usedIndex = 0;

  constructor(h: Harness) {
    this.#h = h;
    const words = (address: number, count: number) => {
      const [view, at] = h.memory.view(address);
      return new Uint16Array(view.buffer, view.byteOffset + at, count);
    };
    this.#avail = words(h.ring.driverArea, RING_SIZE + 3);
    this.#used = words(h.ring.deviceArea, 4 * RING_SIZE + 3);
    const { buffer, byteOffset } = this.#used;
    const elements = 2 * RING_SIZE + 1;
    this.#usedElements = new Uint32Array(buffer, byteOffset, elements);
    for (let i = 0; i < DEPTH; i++) this.#layOut(i);
  }

  /** Serves `count` requests. */
  run(count: number): void {
    const h = this.#h;
    let done = 0;
    while (done < count) {
      h.data.drain(h.queue);
      h.queue.flush();
      done += this.#turn();
    }
  }

  #layOut(i: number): void {
    const { memory, ring } = this.#h;
    const sizes = i % 4 === 0 ? [REQUEST_SIZE - 4, 4] : [REQUEST_SIZE];
    for (const [n, size] of sizes.entries()) {
      const last = n === sizes.length - 1;
      const flags = 2 | (last ? 0 : 1);
      const address = memory.allocate(size);
      const next = 2 * i + n + 1;
      ring.rawDescriptor(2 * i + n, { address, size, flags, next });
    }
    this.#post(i);
  }

  #post(i: number): void {
    this.#avail[AVAIL_RING + this.#availIndex % RING_SIZE] = 2 * i;
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
    Atomics.store(this.#avail, RING_INDEX, this.#availIndex);
  }

  /** Takes back what is there, and makes it available again. */
  #turn(): number {
    const index = Atomics.load(this.#used, RING_INDEX);
    let count = 0;
    while (this.#usedIndex !== index) {
      const element = USED_RING_WORD + 2 * (this.#usedIndex % RING_SIZE);
      this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
      const i = this.#usedElements[element]! / 2;
      if (this.#usedElements[element + 1] !== REQUEST_SIZE) {
        throw new Error(`Request ${i} is short`);
      }
      this.#post(i);
      count++;
    }
    return count;
  }
}

if (import.meta.main) {
  const variant = Deno.args[0]!;
  await using h = await Harness.open(rng, VARIANTS[variant]!, {
    size: RING_SIZE,
  });
  const load = new Load(h);
  load.run(WARM_UP);
  measureRounds(variant, MEASURED, () => load.run(MEASURED));
}
