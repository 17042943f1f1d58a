/**
 * Drives a vhost-user-blk back-end with random reads of one size and prints what
 * it measured as one line of JSON. The same program for every back-end.
 *
 *     driver.ts SOCKET DEPTH polled|event SECONDS [BLOCK_SIZE]
 *
 * @module
 */
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_VERSION_1,
} from "../../src/device/features.ts";
import { EventFd } from "../../src/io/event_fd.ts";
import { Epoll } from "../../src/io/epoll.ts";
import { DriverMemory } from "../../src/testing/driver_memory.ts";
import { Frontend } from "../../src/vhost_user/frontend.ts";
import { Histogram } from "./histogram.ts";
import { BenchRing } from "./ring.ts";

const RING_SIZE = 512;
const BLOCK_SIZE = 4096;
const WARM_UP_MS = 1000;
const SECTOR_SIZE = 512;
/** The clock is looked at after so many requests. */
const CLOCK_REQUESTS = 64;

/** What one run measured. */
export interface PathResult {
  readonly requests: number;
  readonly seconds: number;
  readonly iops: number;
  /** Microseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly kicks: number;
  readonly calls: number;
}

/** How requests are made. */
export interface PathOptions {
  /** Requests in flight. */
  readonly depth: number;
  /** Looks at the ring for ever rather than wait for calls. */
  readonly polled: boolean;
  /** Bytes of a request; 4096 by default. */
  readonly blockSize?: number;
}

/** When a run ends: at so many requests, or after so many milliseconds. */
export interface RunLimit {
  readonly requests?: number;
  readonly milliseconds?: number;
}

/** Random reads over one ring of a back-end. */
export class PathDriver implements Disposable {
  readonly #frontend: Frontend;
  readonly #memory: DriverMemory;
  readonly #ring: BenchRing;
  readonly #kick = EventFd.open();
  readonly #call = EventFd.open();
  readonly #epoll = Epoll.open();
  readonly #blocks: number;
  readonly #sectorsPerBlock: number;
  readonly #polled: boolean;
  readonly #startedAt: Float64Array;
  #random = 0x2545f491;
  #kicks = 0;
  #calls = 0;

  private constructor(
    frontend: Frontend,
    memory: DriverMemory,
    ring: BenchRing,
    sectors: number,
    options: PathOptions,
  ) {
    this.#frontend = frontend;
    this.#memory = memory;
    this.#ring = ring;
    this.#sectorsPerBlock = (options.blockSize ?? BLOCK_SIZE) / SECTOR_SIZE;
    this.#blocks = Math.floor(sectors / this.#sectorsPerBlock);
    this.#polled = options.polled;
    this.#startedAt = new Float64Array(options.depth);
    this.#epoll.add(this.#call.fd.number, Epoll.IN | Epoll.EDGE);
  }

  /** Connects to the back-end that listens at `socketPath`, starts one ring. */
  static async open(
    socketPath: string,
    options: PathOptions,
  ): Promise<PathDriver> {
    const { depth, blockSize = BLOCK_SIZE } = options;
    const frontend = Frontend.connect(socketPath);
    const { features } = await frontend.negotiate({
      features: VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1,
    });
    const config = new DataView(
      (await frontend.getConfig(0, 8)).slice().buffer,
    );
    const sectors = Number(config.getBigUint64(0, true));
    const memory = DriverMemory.shared((8 << 20) + depth * (blockSize + 8192));
    const region = memory.regions[0]!;
    await frontend.setMemTable([{ ...region, fd: region.fd! }]);
    const eventIndex = (features & VIRTIO_F_EVENT_IDX) !== 0n;
    const ring = new BenchRing(memory, RING_SIZE, depth, blockSize, eventIndex);
    const driver = new PathDriver(frontend, memory, ring, sectors, options);
    const user = (guestAddress: number) =>
      guestAddress - region.guestAddress + region.userAddress;
    await frontend.setVring(0, {
      size: RING_SIZE,
      descriptor: user(ring.place.descriptorArea),
      available: user(ring.place.driverArea),
      used: user(ring.place.deviceArea),
      kick: driver.#kick.fd,
      call: driver.#call.fd,
    });
    return driver;
  }

  /** Keeps every slot busy until `limit`. */
  run(limit: RunLimit): PathResult {
    const { requests: most = Infinity, milliseconds = Infinity } = limit;
    const ring = this.#ring;
    const depth = this.#startedAt.length;
    const histogram = new Histogram();
    const from = performance.now();
    const until = from + milliseconds;
    let now = from;
    let requests = 0;
    this.#kicks = this.#calls = 0;
    ring.disarm();
    for (let slot = 0; slot < depth; slot++) this.#add(slot, now);
    this.#publish();
    let busy = depth;
    while (busy > 0) {
      const slot = ring.take();
      if (slot < 0) {
        this.#publish();
        this.#await();
        now = performance.now();
        continue;
      }
      if ((requests++ % CLOCK_REQUESTS) === 0) now = performance.now();
      histogram.add(now - this.#startedAt[slot]!);
      if (now < until && requests + busy <= most) this.#add(slot, now);
      else busy--;
    }
    return this.#result(requests, performance.now() - from, histogram);
  }

  /** Hangs up. */
  [Symbol.dispose](): void {
    this.#frontend[Symbol.dispose]();
    this.#epoll[Symbol.dispose]();
    this.#kick[Symbol.dispose]();
    this.#call[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }

  #result(
    requests: number,
    milliseconds: number,
    histogram: Histogram,
  ): PathResult {
    const seconds = milliseconds / 1000;
    return {
      requests,
      seconds,
      iops: requests / seconds,
      p50: histogram.percentile(0.5),
      p99: histogram.percentile(0.99),
      p999: histogram.percentile(0.999),
      kicks: this.#kicks,
      calls: this.#calls,
    };
  }

  #add(slot: number, now: number): void {
    this.#startedAt[slot] = now;
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    const block = (x >>> 0) % this.#blocks;
    this.#ring.add(slot, 0, block * this.#sectorsPerBlock);
  }

  #publish(): void {
    if (!this.#ring.publish()) return;
    this.#kicks++;
    this.#kick.signal();
  }

  /** Until there is a used entry: by looking, or by a call. */
  #await(): void {
    const ring = this.#ring;
    if (this.#polled) {
      while (!ring.hasUsed());
      return;
    }
    if (ring.arm()) return ring.disarm();
    this.#epoll.wait(-1);
    this.#calls++;
    ring.disarm();
  }
}

if (import.meta.main) {
  const [socket, depth, mode, seconds, size] = Deno.args;
  using driver = await PathDriver.open(socket!, {
    depth: Number(depth),
    polled: mode === "polled",
    blockSize: Number(size ?? BLOCK_SIZE),
  });
  // Both sides warm up: a compiler's first second is not what is measured.
  driver.run({ milliseconds: WARM_UP_MS });
  const result = driver.run({ milliseconds: Number(seconds) * 1000 });
  console.log(JSON.stringify(result));
}
