/**
 * Descriptors that change while they are read: what the device checked is what
 * it uses.
 *
 * @module
 */
import { assertEquals, fail } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { DriverMemory, Prng, SplitDriver } from "../../src/testing/mod.ts";
import {
  SplitVirtqueue,
  VIRTQ_DESC_F_INDIRECT as INDIRECT,
  type Virtqueue,
} from "../../src/virtqueue/mod.ts";
import type { ScribblerSetup } from "./ring_scribbler.ts";

const SIZE = 32;
const ROUNDS = 20_000;

function message(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => reject(new Error(event.message));
  });
}

/** Every segment lies in the region, whatever became of its descriptor. */
function check({ chain }: Virtqueue, regionSize: number): void {
  let bytes = 0;
  for (let i = 0; i < chain.segmentCount; i++) {
    if (!(chain.offsets[i]! + chain.sizes[i]! <= regionSize)) {
      throw new Error(`Segment ${i} of ${chain.head} leaves its region`);
    }
    bytes += chain.sizes[i]!;
  }
  if (bytes !== chain.reader.size + chain.writer.size) {
    throw new Error(`The sizes of ${chain.head} do not add up`);
  }
}

describe("ring race", () => {
  it("[H25] descriptors rewritten by another thread harm nobody", async () => {
    const prng = Prng.fromEnvironment("ring race");
    using memory = DriverMemory.shared(1 << 20);
    const driver = new SplitDriver(memory, SIZE, { indirect: true });
    const tables = [memory.allocate(16 * SIZE), memory.allocate(16 * SIZE)];
    const ended = new Int32Array(new SharedArrayBuffer(4));
    const url = import.meta.resolve("./ring_scribbler.ts");
    const worker = new Worker(url, { type: "module" });
    try {
      assertEquals(await message(worker), "loaded");
      const setup: ScribblerSetup = {
        layout: memory.layout(),
        // Half of the heads are left alone: they lead to the other tables.
        tables: [driver.descriptorArea, ...tables],
        entries: SIZE / 2,
        seed: prng.next(),
        ended,
      };
      for (let i = SIZE / 2; i < SIZE; i++) {
        const raw = { size: 16 * (SIZE / 2), flags: INDIRECT };
        driver.rawDescriptor(i, { ...raw, address: tables[i % 2]! });
      }
      worker.postMessage(setup);
      const queue = SplitVirtqueue.open(driver.config(), memory.guestMemory());
      let chains = 0;
      let rounds = 0;
      // On a busy machine the other thread may be late.
      while (rounds < ROUNDS || queue.malformed === 0) {
        if (++rounds > 100 * ROUNDS) fail("The scribbler changes nothing");
        for (let i = 0; i < SIZE; i++) driver.rawAvailable(prng.below(SIZE));
        driver.publish();
        while (queue.pop()) {
          check(queue, memory.regions[0]!.size);
          queue.push(queue.chain.head, 0);
          chains++;
        }
        queue.flush();
      }
      assertEquals([queue.broken, queue.inFlight], ["", 0]);
      assertEquals(chains + queue.malformed, rounds * SIZE);
    } finally {
      Atomics.store(ended, 0, 1);
      await message(worker);
      worker.terminate();
    }
  });
});
