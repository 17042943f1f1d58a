/**
 * Driver and device on two threads: item 14, and that no wake-up is lost.
 *
 * @module
 */
import { assertEquals, fail } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import {
  DriverMemory,
  Prng,
  type RingDriver,
  SplitDriver,
} from "../../src/testing/mod.ts";
import { PackedDriver } from "../../src/testing/packed_driver.ts";
import { LOST_MS, rest, type RingWorkerSetup, WORD } from "./ring_worker.ts";

const SIZE = 64;
const ODD_SIZE = 61;
const SLOT = 16;

type DriverOf = (memory: DriverMemory, eventIndex: boolean) => RingDriver;

/** The kinds of rings, each about to wrap. */
const KINDS: readonly (readonly [name: string, driverOf: DriverOf])[] = [
  [
    "split",
    (memory, eventIndex) =>
      new SplitDriver(memory, SIZE, { eventIndex, base: 65000 }),
  ],
  ["packed", (memory, eventIndex) => {
    return new PackedDriver(memory, ODD_SIZE, { eventIndex, base: 40 });
  }],
];

/** Runs `count` chains through a device on another thread. */
async function run(
  count: number,
  sleeps: boolean,
  eventIndex: boolean,
  driverOf: DriverOf,
): Promise<void> {
  using memory = DriverMemory.shared(1 << 20);
  const driver = driverOf(memory, eventIndex);
  const slots = new Slots(memory);
  const words = new Int32Array(new SharedArrayBuffer(12));
  const setup: RingWorkerSetup = {
    layout: memory.layout(),
    config: driver.config(),
    count,
    sleeps,
    words,
  };
  const worker = new Worker(import.meta.resolve("./ring_worker.ts"), {
    type: "module",
  });
  try {
    assertEquals(await message(worker), "loaded");
    worker.postMessage(setup);
    drive(driver, slots, setup);
    assertEquals(await message(worker), "");
  } finally {
    worker.terminate();
  }
}

/** One buffer pair for each chain that may be in flight. */
class Slots {
  readonly #view: DataView;
  readonly #offset: number;
  readonly #address: number;
  readonly #free: number[] = [];
  readonly #byHead = new Map<number, [slot: number, token: number]>();

  constructor(memory: DriverMemory) {
    this.#address = memory.allocate(SLOT * SIZE);
    [this.#view, this.#offset] = memory.view(this.#address);
    for (let slot = 0; slot < ODD_SIZE >> 1; slot++) this.#free.push(slot);
  }

  get left(): number {
    return this.#free.length;
  }

  /** Stages a chain that asks about `token`. */
  add(driver: RingDriver, token: number): void {
    const slot = this.#free.pop()!;
    const address = this.#address + SLOT * slot;
    this.#view.setUint32(this.#offset + SLOT * slot, token, true);
    const head = driver.add([
      { address, size: 4, writable: false },
      { address: address + 4, size: 4, writable: true },
    ]);
    this.#byHead.set(head, [slot, token]);
  }

  /** Takes what was given back and checks it; how many. */
  take(driver: RingDriver): number {
    let count = 0;
    for (let u = driver.nextUsed(); u !== null; u = driver.nextUsed()) {
      const [slot, token] = this.#byHead.get(u.head) ??
        fail(`Head ${u.head} was given back and not in flight`);
      this.#byHead.delete(u.head);
      this.#free.push(slot);
      const answer = this.#view.getUint32(this.#offset + SLOT * slot + 4, true);
      if (answer !== ~token >>> 0 || u.written !== u.head + 1) {
        fail(`Head ${u.head} wrote ${u.written} bytes, ${answer}`);
      }
      count++;
    }
    return count;
  }
}

/** Keeps the ring busy in batches of any size and checks every answer. */
function drive(
  driver: RingDriver,
  slots: Slots,
  { words, count, sleeps }: RingWorkerSetup,
): void {
  const prng = Prng.fromEnvironment("two threads");
  let added = 0;
  let taken = 0;
  let idle = 0;
  while (taken < count) {
    const calls = Atomics.load(words, WORD.calls);
    const batch = Math.min(1 + prng.below(8), slots.left, count - added);
    for (let i = 0; i < batch; i++) slots.add(driver, prng.next());
    added += batch;
    if (driver.publish()) {
      Atomics.add(words, WORD.kicks, 1);
      Atomics.notify(words, WORD.kicks);
    }
    const fresh = slots.take(driver);
    taken += fresh;
    idle = fresh + batch > 0 ? 0 : idle + 1;
    if (idle === 0) continue;
    if (!sleeps) {
      rest(words, idle);
      continue;
    }
    if (driver.armInterrupt()) continue;
    const result = Atomics.wait(words, WORD.calls, calls, LOST_MS);
    if (result === "timed-out") fail(`Lost a call after ${taken}`);
  }
}

function message(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(event.message));
    };
  });
}

for (const [name, driverOf] of KINDS) {
  describe(`virtqueue on two threads, ${name}`, () => {
    it("[C14] whoever sees a used entry sees the data", async () => {
      await run(30_000, false, true, driverOf);
    });

    for (const eventIndex of [false, true]) {
      const words = eventIndex ? "with EVENT_IDX" : "without EVENT_IDX";
      it(`[C14] no kick and no call is lost, ${words}`, async () => {
        await run(30_000, true, eventIndex, driverOf);
      });
    }
  });
}
