/**
 * Sends so many frames through a card, with a driver that allocates nothing,
 * and says when it is warm: for tests that look at what V8 does then.
 *
 *     deno run --allow-all net_hot_run.ts loopback|tap NAME
 *
 * @module
 */
import { asSplit, type SplitDriver } from "../../src/testing/split_driver.ts";
import {
  AVAIL_RING,
  RING_INDEX,
  USED_RING_WORD,
} from "../../src/virtqueue/layout.ts";
import { NetHarness } from "./net_harness.ts";

const SIZE = 256;
const DEPTH = 128;
const WARM_UP = 400_000;
const MEASURED = 1_000_000;
/** Bytes of the frames, in turn. */
const SIZES = [60, 64, 590, 1514];
const BUFFER_SIZE = 2048;

/** The driver's side of one ring, whose descriptors never change. */
class Side {
  done = 0;
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;
  readonly #elements: Uint32Array;
  #availIndex = 0;
  #usedIndex = 0;

  constructor(h: NetHarness, ring: SplitDriver) {
    const words = (address: number, count: number) => {
      const [view, at] = h.memory.view(address);
      return new Uint16Array(view.buffer, view.byteOffset + at, count);
    };
    this.#avail = words(ring.driverArea, SIZE + 3);
    this.#used = words(ring.deviceArea, 4 * SIZE + 3);
    const { buffer, byteOffset } = this.#used;
    this.#elements = new Uint32Array(buffer, byteOffset, 2 * SIZE + 1);
  }

  /** Makes descriptor `head` available. */
  post(head: number): void {
    this.#avail[AVAIL_RING + (this.#availIndex & (SIZE - 1))] = head;
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
  }

  /** Shows what was posted. */
  publish(): void {
    Atomics.store(this.#avail, RING_INDEX, this.#availIndex);
  }

  /** Takes back what is there, and posts it again. */
  turn(): void {
    const index = Atomics.load(this.#used, RING_INDEX);
    while (this.#usedIndex !== index) {
      const element = USED_RING_WORD + 2 * (this.#usedIndex & (SIZE - 1));
      this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
      this.post(this.#elements[element]!);
      this.done++;
    }
    this.publish();
  }
}

function layOut(h: NetHarness): [receive: Side, transmit: Side] {
  const { memory, driver } = h;
  const receive = new Side(h, asSplit(driver.receiveRing));
  const transmit = new Side(h, asSplit(driver.transmitRing));
  for (let i = 0; i < SIZE; i++) {
    const address = memory.allocate(BUFFER_SIZE);
    asSplit(driver.receiveRing).rawDescriptor(i, {
      address,
      size: BUFFER_SIZE,
      flags: 2,
    });
    receive.post(i);
  }
  for (let i = 0; i < DEPTH; i++) {
    const size = 12 + SIZES[i % SIZES.length]!;
    const address = memory.allocate(size);
    memory.write(address, new Uint8Array(size).fill(2, 12));
    asSplit(driver.transmitRing).rawDescriptor(i, { address, size });
    transmit.post(i);
  }
  receive.publish();
  transmit.publish();
  return [receive, transmit];
}

function run(h: NetHarness, sides: [Side, Side], count: number): void {
  const [receive, transmit] = sides;
  const [receiveQueue, transmitQueue] = h.rings.map(({ queue }) => queue);
  const until = transmit.done + count;
  while (transmit.done < until) {
    h.data.drain(receiveQueue!);
    h.data.drain(transmitQueue!);
    receiveQueue!.flush();
    transmitQueue!.flush();
    receive.turn();
    transmit.turn();
  }
}

if (import.meta.main) {
  const [backend, ifname] = Deno.args;
  const given = ifname === undefined ? {} : { ifname };
  await using h = await NetHarness.open({ backend: backend!, ...given });
  const sides = layOut(h);
  run(h, sides, WARM_UP);
  // With --expose-gc, so that what comes now is from now.
  (globalThis as { gc?: () => void }).gc?.();
  console.log("WARM");
  const start = performance.now();
  run(h, sides, MEASURED);
  const ns = (performance.now() - start) * 1e6 / MEASURED;
  console.log("DONE");
  console.error(`${backend}: ${ns.toFixed(0)} ns a frame`);
  if (backend === "loopback" && sides[0].done < MEASURED) {
    throw new Error(`Only ${sides[0].done} frames came back`);
  }
}
