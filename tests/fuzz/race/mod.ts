/**
 * Memory that another thread rewrites while a device works on it. Nothing can be
 * foretold but this: no access leaves the memory, nothing throws, everything
 * ends, and once the other thread is gone the device serves as before.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { block } from "../../../devices/block/mod.ts";
import { net } from "../../../devices/net/mod.ts";
import { rng } from "../../../devices/rng/mod.ts";
import type { DataDevice } from "../../../src/device/mod.ts";
import {
  blockHeader,
  DriverMemory,
  FakeDriver,
  type FakeDriverOptions,
  type FakeRing,
  openRing,
  Prng,
  RING_KINDS,
  SplitDriver,
} from "../../../src/testing/mod.ts";
import type { Virtqueue } from "../../../src/virtqueue/mod.ts";
import type { Step } from "../batch.ts";
import type { Tally, Target, World } from "../target.ts";
import { type Content, RacedRequests } from "./requests.ts";
import { Rival } from "./rival.ts";

const INDIRECT_DESC = 1n << 28n;
const REGIONS = [
  { guestAddress: 0x10000, size: 0x8_0000 },
  // Nobody rewrites what is here.
  { guestAddress: 0x9_0000, size: 0x2_0000 },
];
const RING_SIZE = 32;
const DEVICES = ["queue", "block", "rng", "net"] as const;

type Shape = Readonly<Record<string, number>>;

/** A device that looks at what it is given, and at nothing else. */
class Onlooker implements DataDevice {
  drain(queue: Virtqueue): void {
    while (queue.pop()) {
      const { chain } = queue;
      let bytes = 0;
      for (let i = 0; i < chain.segmentCount; i++) {
        const region = chain.memory.regions[chain.regions[i]!]!;
        const end = chain.offsets[i]! + chain.sizes[i]!;
        if (end > region.size) {
          throw new Error(`Segment ${i} of ${chain.head} leaves its region`);
        }
        bytes += chain.sizes[i]!;
      }
      assertEquals(chain.reader.size + chain.writer.size, bytes);
      queue.push(chain.head, 0);
    }
  }
}

/** What each device is asked while there is a race. */
const CONTENTS: Record<typeof DEVICES[number], readonly Content[]> = {
  queue: [(prng) => [{ bytes: new Uint8Array(prng.below(99)) }, { room: 99 }]],
  block: [(prng) => {
    const type = prng.pick([0, 0, 1, 1, 4, 8, 11, 13]);
    const header = blockHeader(type, prng.below(60));
    if (type === 1) {
      return [{ bytes: header }, { bytes: new Uint8Array(512) }, { room: 1 }];
    }
    return [{ bytes: header }, { room: 512 }, { room: 1 }];
  }],
  rng: [(prng) => [{ room: prng.below(500) }, { room: 1 + prng.below(9) }]],
  net: [
    (prng) => [{ room: 12 }, { room: prng.below(1024) }],
    (prng) => [
      { bytes: new Uint8Array(12) },
      { bytes: prng.fill(new Uint8Array(14 + prng.below(500))) },
    ],
  ],
};

/** A device in a race. */
class Race implements World {
  readonly #fake: FakeDriver;
  readonly #device: typeof DEVICES[number];
  readonly #requests: readonly RacedRequests[];
  readonly #features: bigint;
  readonly #tally: Tally;
  readonly #path: string;
  #rival: Rival | null;

  private constructor(
    fake: FakeDriver,
    requests: readonly RacedRequests[],
    rival: Rival,
    shape: Shape,
    path: string,
    tally: Tally,
  ) {
    this.#fake = fake;
    this.#requests = requests;
    this.#rival = rival;
    this.#device = DEVICES[shape.device!]!;
    this.#features = RING_KINDS[shape.packed!]!.features | INDIRECT_DESC;
    this.#path = path;
    this.#tally = tally;
  }

  static async open(shape: Shape, tally: Tally): Promise<Race> {
    const device = DEVICES[shape.device!]!;
    const path = device === "block" ? await Deno.makeTempFile() : "";
    if (path !== "") await Deno.truncate(path, 64 * 512);
    const fake = await openDevice(device, path, {
      kind: RING_KINDS[shape.packed!]!,
      queueSize: RING_SIZE,
      memory: DriverMemory.shared(REGIONS),
      ringRegion: 0,
    });
    const requests = fake.rings.map((ring, i) =>
      new RacedRequests(
        fake.memory,
        ring.ring,
        shape.packed === 1,
        CONTENTS[device][i]!,
      )
    );
    const rival = await Rival.start({
      layout: fake.memory.layout(),
      seed: shape.seed!,
      tables: requests.flatMap(({ tables }) => tables),
      ranges: requests.flatMap(({ ranges }) => ranges),
      packed: shape.packed === 1,
    });
    return new Race(fake, requests, rival, shape, path, tally);
  }

  step([, count, seed]: Step): void {
    const prng = new Prng(seed);
    for (let i = 0; i < count; i++) {
      for (const [j, ring] of this.#fake.rings.entries()) {
        if (ring.queue.broken !== "") this.#restart(ring);
        this.#requests[j]!.publish(prng, ring.queue);
      }
      this.#fake.turn();
    }
    this.#tally.add("turns", count);
  }

  async soundness(): Promise<void> {
    await this.#endRival();
    const { memory, rings } = this.#fake;
    for (const ring of rings) {
      this.#tally.add("malformed chains", ring.queue.malformed);
      ring.stop();
      assertEquals(ring.queue.inFlight, 0);
    }
    for (const ring of rings) {
      const place = { region: 1 };
      ring.start(openRing(memory, RING_SIZE, this.#features, place));
    }
    await this.#ask();
  }

  async close(): Promise<void> {
    await this.#endRival();
    if (this.#device === "queue") this.#fake[Symbol.dispose]();
    else await this.#fake[Symbol.asyncDispose]();
    if (this.#path !== "") await Deno.remove(this.#path);
  }

  /** What is written can break a ring; who resets its device goes on. */
  #restart(ring: FakeRing): void {
    this.#tally.add("broken rings");
    this.#tally.add("malformed chains", ring.queue.malformed);
    ring.restart();
    const { queue } = ring;
    if (ring.ring instanceof SplitDriver) {
      ring.ring.rawAvailableIndex(queue.nextAvail);
    }
  }

  async #endRival(): Promise<void> {
    const rival = this.#rival;
    this.#rival = null;
    if (rival !== null) this.#tally.add("mutations", await rival.end());
  }

  /** Asks the device for something, and gets the right answer. */
  async #ask(): Promise<void> {
    const fake = this.#fake;
    switch (this.#device) {
      case "queue": {
        const answer = await fake.request([{ room: 8 }]);
        return assertEquals(answer.written, 0);
      }
      case "rng": {
        const answer = await fake.request([{ room: 64 }]);
        return assertEquals(answer.written, 64);
      }
      case "block": {
        const bytes = new Prng(1).fill(new Uint8Array(512));
        const write = { bytes: blockHeader(1, 3) };
        await fake.request([write, { bytes }, { room: 1 }]);
        const read = { bytes: blockHeader(0, 3) };
        const answer = await fake.request([read, { room: 512 }, { room: 1 }]);
        assertEquals(answer.bytes(), Uint8Array.of(...bytes, 0));
        return;
      }
      case "net":
        return await this.#mirror();
    }
  }

  /** A frame comes back, after those that were on their way. */
  async #mirror(): Promise<void> {
    const [receive, transmit] = this.#fake.rings;
    const frame = new Prng(1).fill(new Uint8Array(80));
    const buffers = Array.from(
      { length: RING_SIZE / 2 },
      () => receive!.requests.stage([{ room: 2000 }]),
    );
    receive!.requests.publish();
    await transmit!.requests.request([{ bytes: new Uint8Array(12) }, {
      bytes: frame,
    }]);
    this.#fake.settle();
    receive!.requests.collect();
    const frames = buffers.filter(({ written }) => written > 0)
      .map((buffer) => buffer.bytes().subarray(12));
    const back = frame.slice();
    back.copyWithin(0, 6, 12);
    back.set(frame.subarray(0, 6), 6);
    assert(frames.some((bytes) => bytes.join() === back.join()));
  }
}

function openDevice(
  device: typeof DEVICES[number],
  path: string,
  options: FakeDriverOptions,
): FakeDriver | Promise<FakeDriver> {
  switch (device) {
    case "block": {
      const given = { "blk-file": path, "num-queues": 1, "io-engine": "sync" };
      return FakeDriver.open(block, given, options);
    }
    case "rng":
      return FakeDriver.open(rng, {}, options);
    case "net":
      return FakeDriver.open(net, { backend: "loopback" }, {
        ...options,
        features: 1n << 5n,
      });
    default:
      return FakeDriver.over(() => new Onlooker(), options);
  }
}

/** Rings of one kind, and every device on them. */
function target(packed: number, name: string): Target {
  return {
    name,
    unit: "mutations",
    deterministic: false,
    round: 5,
    spec: {
      shape: { device: DEVICES.length - 1, seed: 0xffff },
      kinds: ["turns"],
      steps: 20,
      count: 400,
    },
    open: (shape, tally) => Race.open({ ...shape, packed }, tally),
    close: () => Rival.dismiss(),
  };
}

/** On split rings. */
export const splitRace: Target = target(0, "race-split");

/** On packed rings. */
export const packedRace: Target = target(1, "race-packed");
