/**
 * The driver of a device without a socket, a process or a thread.
 *
 * @module
 */
import type {
  DataDevice,
  DataPlaneServices,
  Device,
  DeviceDescriptor,
  ReadySource,
} from "../device/device.ts";
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
} from "../device/features.ts";
import { completeOptions, type OptionSpecs } from "../device/options.ts";
import { Epoll } from "../io/epoll.ts";
import { IoUring } from "../io/io_uring.ts";
import type { GuestMemory } from "../memory/guest_memory.ts";
import { DriverMemory, type DriverRegionSpec } from "./driver_memory.ts";
import { FakeRing } from "./fake_ring.ts";
import type { RequestLayout, RequestPart } from "./request_layout.ts";
import type { RequestRingOptions } from "./request_ring.ts";
import { openRing } from "./open_ring.ts";
import type { RingKind } from "./ring_kinds.ts";
import type { RingRequest } from "./ring_request.ts";

/** How often a device is turned that has nothing to wait for. */
const TURNS_MAX = 10_000;
/** How often a device is turned in which something moves each time. */
const MOVES_MAX = 100_000;
/** How long a device is turned that has something to wait for. */
const QUIET_MS = 5000;
/** How long one look at what it waits for takes. */
const LOOK_MS = 10;
/** Completions taken in one go. */
const REAP_LIMIT = 4096;

/** How a {@linkcode FakeDriver} is set up. */
export interface FakeDriverOptions extends RequestRingOptions {
  /** The kind of the rings; split by default. */
  kind?: RingKind;
  /** Indirect tables are negotiated; they are by default. */
  indirect?: boolean;
  /** EVENT_IDX is negotiated; it is by default. */
  eventIndex?: boolean;
  /** How many rings; as many as the device has, or 1. */
  queueCount?: number;
  /** Entries of each; 256 by default. */
  queueSize?: number;
  /** The region of the memory that the rings are in; else any. */
  ringRegion?: number;
  /** How many rings, from the first on, are enabled; all by default. */
  enabledCount?: number;
  /**
   * Guest memory: bytes, regions, or memory that was made, which is freed with
   * the driver; 16 MiB of one region by default.
   */
  memory?: number | readonly DriverRegionSpec[] | DriverMemory;
  /** Feature bits of the device that the driver accepts; all by default. */
  features?: bigint;
  /** The device gets an io_uring. */
  uring?: boolean;
  /**
   * Tells the device of the descriptors that it watches, at each turn; it does
   * by default. Else the test does, by `watched`.
   */
  watch?: boolean;
}

/** Values of a device's options by their names, as on the command line. */
export type GivenOptions = Readonly<
  Record<string, string | number | boolean | undefined>
>;

/**
 * Drives a device, or the data side of one, from a test: the rings are in plain
 * memory, and the device has its turn when the test says so, or when it awaits
 * a request.
 *
 * @example A device, opened as the server opens it
 * ```ts
 * import { FakeDriver } from "@ringside/ringside/testing";
 * import { devices } from "@ringside/ringside";
 * import { assertEquals } from "@std/assert";
 *
 * await using fake = await FakeDriver.open(devices.rng, { "max-bytes": 100 });
 * const answer = await fake.request([{ room: 4096 }]);
 * assertEquals(answer.bytes().length, 100);
 * ```
 *
 * @example A chain that is broken, and how the ring is afterwards
 * ```ts
 * import { FakeDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * using fake = FakeDriver.over(() => ({
 *   drain(queue) {
 *     while (queue.pop()) queue.push(queue.chain.head, 0);
 *   },
 * }));
 * const { ring, requests, queue } = fake.rings[0]!;
 * const request = requests.stage([{ room: 16 }]);
 * ring.amend(request.head, 0, { address: 2n ** 63n });
 * requests.publish();
 * fake.settle();
 * assertEquals([queue.malformed, queue.broken], [1, ""]);
 * assertEquals(requests.collect(), 1);
 * ```
 */
export class FakeDriver implements Disposable, AsyncDisposable {
  /** The memory of the pretended guest. */
  readonly memory: DriverMemory;
  /** The rings, in the order of the device. */
  readonly rings: readonly FakeRing[];
  /** The data side of the device. */
  readonly data: DataDevice;
  /** The device's io_uring, or null. */
  readonly uring: IoUring | null;
  /** What the device watches, by descriptor. */
  readonly watched: Map<number, ReadySource> = new Map();
  /** The states that the control side sent to the data side. */
  readonly updates: unknown[] = [];
  /** How often the device said that its configuration changed. */
  configChangeCount: number = 0;
  readonly #guest: GuestMemory;
  readonly #device: Device | null;
  readonly #epoll: Epoll | null;
  /** Whether the last turn ended by an error of the device. */
  #thrown = false;

  private constructor(
    device: Device | null,
    open: (services: DataPlaneServices) => DataDevice,
    options: FakeDriverOptions,
  ) {
    const { memory = 16 << 20, watch = true } = options;
    this.#device = device;
    this.memory = memory instanceof DriverMemory
      ? memory
      : DriverMemory.plain(memory);
    this.#guest = this.memory.guestMemory();
    this.uring = options.uring ? IoUring.open(64) : null;
    this.#epoll = watch ? Epoll.open() : null;
    try {
      this.data = open(this.#services());
      this.rings = this.#startRings(options);
    } catch (error) {
      this.uring?.[Symbol.dispose]();
      this.#epoll?.[Symbol.dispose]();
      this.memory[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Opens a device with `given` options, starts its rings and negotiates.
   * Rejects as the device does.
   */
  static async open<S extends OptionSpecs>(
    descriptor: DeviceDescriptor<S>,
    given: GivenOptions = {},
    options: FakeDriverOptions = {},
  ): Promise<FakeDriver> {
    const values = completeOptions(descriptor.options, given);
    const device = await descriptor.open(values);
    const seed = structuredClone(device.seed);
    let fake: FakeDriver;
    try {
      const open = (services: DataPlaneServices) =>
        device.data.open(seed, services);
      fake = new FakeDriver(device, open, options);
    } catch (error) {
      await device.close();
      throw error;
    }
    device.attach?.({
      name: "",
      update: (state) => {
        fake.updates.push(state);
        fake.data.update?.(structuredClone(state));
        return Promise.resolve();
      },
      configChanged: () => fake.configChangeCount++,
    });
    await device.negotiated?.(
      device.features & (options.features ?? device.features),
    );
    fake.#enable(options);
    return fake;
  }

  /** Drives what `open` makes: the data side of a device, be it a bare `drain`. */
  static over(
    open: (services: DataPlaneServices) => DataDevice,
    options: FakeDriverOptions = {},
  ): FakeDriver {
    const fake = new FakeDriver(null, open, options);
    fake.#enable(options);
    return fake;
  }

  /** The control side of the device; there is none over a data side alone. */
  get device(): Device {
    if (this.#device !== null) return this.#device;
    throw new TypeError(
      "There is no device but its data side: open one by FakeDriver.open",
    );
  }

  /** A request over the first ring, given back. See RequestRing. */
  request(
    parts: readonly RequestPart[],
    layout: RequestLayout = {},
  ): Promise<RingRequest> {
    return this.rings[0]!.requests.request(parts, layout);
  }

  /**
   * One turn of the data plane: tells of descriptors, lets the device take
   * chains, waits for I/O that is under way, publishes. Whether any of that
   * moved.
   */
  turn(): boolean {
    this.#thrown = true;
    let moved = this.#tellSources(0);
    for (const ring of this.rings) if (ring.drain()) moved = true;
    const { uring } = this;
    if (uring !== null && uring.inFlight > 0) {
      uring.submitAndWait(1);
      if (uring.reap(REAP_LIMIT) > 0) moved = true;
    }
    for (const ring of this.rings) ring.flush();
    this.#thrown = false;
    return moved;
  }

  /**
   * Turns until nothing moves and nothing is in flight. Throws an Error where
   * that never comes.
   */
  settle(): void {
    let moved = true;
    const isAtRest = () => !moved && this.#inFlight === 0;
    const turn = () => moved = this.turn();
    if (this.#turnUntil(isAtRest, turn)) return;
    throw new Error(
      `${this.#inFlight} chains are in flight after so many turns, wanted ` +
        "each to be pushed",
    );
  }

  /**
   * Asks the driver for kicks, as a thread does before it parks, on all rings
   * but those where the device waits for something else. False where there was
   * something to do: then it asks for none.
   */
  arm(): boolean {
    for (const { isServed, queue } of this.rings) {
      const left = queue.hasAvailable() && !this.data.wantsMore?.(queue);
      if (isServed && !left) queue.enableKicks();
    }
    if (!this.turn()) return true;
    this.disarm();
    return false;
  }

  /** Asks the driver for no kicks, as a thread does that looks by itself. */
  disarm(): void {
    for (const { isServed, queue } of this.rings) {
      if (isServed) queue.disableKicks();
    }
  }

  /** Ends the data side of a device that has no other. */
  [Symbol.dispose](): void {
    if (this.#device !== null) {
      throw new TypeError(
        "A device is closed by a promise: use `await using` in place of `using`",
      );
    }
    try {
      this.#end();
    } finally {
      this.memory[Symbol.dispose]();
    }
  }

  /** Stops the rings, ends both sides of the device and frees the memory. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#end();
      await this.#device?.close();
    } finally {
      this.memory[Symbol.dispose]();
    }
  }

  get #inFlight(): number {
    return this.rings.reduce((sum, { queue }) => sum + queue.inFlight, 0);
  }

  #services(): DataPlaneServices {
    return {
      memory: this.#guest,
      uring: this.uring,
      watch: (fd, source, writable = false) => {
        const events = Epoll.IN | Epoll.EDGE | (writable ? Epoll.OUT : 0);
        this.#epoll?.add(fd, events);
        this.watched.set(fd, source);
      },
      unwatch: (fd) => {
        this.#epoll?.remove(fd);
        this.watched.delete(fd);
      },
    };
  }

  #startRings(options: FakeDriverOptions): FakeRing[] {
    const { kind, indirect = true, eventIndex = true } = options;
    const count = options.queueCount ?? this.#device?.queueCount ?? 1;
    const features = (kind?.features ?? 0n) |
      (indirect ? VIRTIO_F_INDIRECT_DESC : 0n) |
      (eventIndex ? VIRTIO_F_EVENT_IDX : 0n);
    const host = {
      data: this.data,
      guest: this.#guest,
      turnUntil: (done: () => boolean) =>
        this.#turnUntil(done, () => this.turn()),
    };
    const { queueSize = 256, ringRegion: region } = options;
    const place = region === undefined ? {} : { region };
    return Array.from({ length: count }, (_, index) => {
      const ring = openRing(this.memory, queueSize, features, place);
      return new FakeRing(index, ring, this.memory, host, options);
    });
  }

  #enable({ enabledCount = Infinity }: FakeDriverOptions): void {
    for (const ring of this.rings) ring.enable(ring.index < enabledCount);
  }

  /** Tells the sources whose descriptors are ready, within a time. */
  #tellSources(timeoutMs: number): boolean {
    const epoll = this.#epoll;
    if (epoll === null || this.watched.size === 0) return false;
    const count = epoll.wait(timeoutMs);
    for (let i = 0; i < count; i++) {
      this.watched.get(epoll.dataAt(i))?.ready();
    }
    return count > 0;
  }

  #turnUntil(done: () => boolean, turn: () => boolean): boolean {
    const end = performance.now() + QUIET_MS;
    for (let i = 0; !done(); i++) {
      if (turn() && i < MOVES_MAX) continue;
      if (done()) return true;
      const isWaiting = this.#epoll !== null && this.watched.size > 0;
      const isOver = isWaiting ? performance.now() > end : i > TURNS_MAX;
      if (isOver || i >= MOVES_MAX) return false;
      // What is to come comes from the kernel.
      if (isWaiting) this.#tellSources(LOOK_MS);
    }
    return true;
  }

  #end(): void {
    try {
      // What a device leaves behind that threw is no news.
      if (!this.#thrown) { for (const ring of this.rings) ring.stop(); }
      this.data[Symbol.dispose]?.();
    } finally {
      this.uring?.[Symbol.dispose]();
      this.#epoll?.[Symbol.dispose]();
    }
  }
}
