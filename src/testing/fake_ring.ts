/**
 * One ring of a fake driver.
 *
 * @module
 */
import type { DataDevice } from "../device/device.ts";
import type { GuestMemory } from "../memory/guest_memory.ts";
import { openVirtqueue } from "../virtqueue/open.ts";
import type { Virtqueue } from "../virtqueue/virtqueue.ts";
import type { DriverMemory } from "./driver_memory.ts";
import { RequestRing, type RequestRingOptions } from "./request_ring.ts";
import type { RingDriver } from "./ring_driver.ts";

/** What a ring is part of. */
export interface FakeRingHost {
  /** The data side of the device. */
  readonly data: DataDevice;
  /** The memory as the device sees it. */
  readonly guest: GuestMemory;
  /** Turns the data side until `done` is true; false where it never is. */
  turnUntil(done: () => boolean): boolean;
}

/**
 * Both ends of a ring: the driver's, for a test to use, and the device's, for
 * it to look at.
 *
 * @example A ring that is stopped, and goes on where it was
 * ```ts
 * import { FakeDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * using fake = FakeDriver.over(() => ({
 *   drain(queue) {
 *     while (queue.pop()) queue.push(queue.chain.head, 0);
 *   },
 * }));
 * const [port] = fake.rings;
 * await fake.request([{ room: 1 }]);
 * port!.stop();
 * const late = port!.requests.stage([{ room: 1 }]);
 * port!.requests.publish();
 * fake.settle();
 * assertEquals(late.written, -1);
 * port!.start();
 * assertEquals((await port!.requests.answer(late)).written, 0);
 * assertEquals(port!.callCount, 2);
 * ```
 */
export class FakeRing {
  /** Of the ring in its device. */
  readonly index: number;
  /** How often the device would have called the driver. */
  callCount: number = 0;
  /** How often `kick` was called: a driver does where the device wants it. */
  kickCount: number = 0;
  readonly #memory: DriverMemory;
  readonly #host: FakeRingHost;
  readonly #options: RequestRingOptions;
  #ring: RingDriver;
  #requests: RequestRing;
  #queue: Virtqueue;
  #enabled = false;
  #running = true;
  /** Calls that nobody has waited for. */
  #calls = 0;

  /** Starts ring `index`, laid out as `ring`, disabled. */
  constructor(
    index: number,
    ring: RingDriver,
    memory: DriverMemory,
    host: FakeRingHost,
    options: RequestRingOptions,
  ) {
    this.index = index;
    this.#memory = memory;
    this.#host = host;
    this.#options = options;
    this.#ring = ring;
    this.#requests = new RequestRing(memory, ring, this, options);
    this.#queue = openVirtqueue(ring.config(index), host.guest);
    host.data.start?.(this.#queue);
  }

  /** The driver's end, for chains of any make, broken ones too. */
  get ring(): RingDriver {
    return this.#ring;
  }

  /** Requests over it. */
  get requests(): RequestRing {
    return this.#requests;
  }

  /** The device's end: what is in flight, whether it is broken. */
  get queue(): Virtqueue {
    return this.#queue;
  }

  /** Whether the device may take chains from it. */
  get enabled(): boolean {
    return this.#enabled;
  }

  /** SET_VRING_ENABLE. */
  enable(enabled: boolean): void {
    if (this.#enabled === enabled) return;
    this.#enabled = enabled;
    this.#host.data.enable?.(this.#queue, enabled);
  }

  /** Stops the ring, as GET_VRING_BASE does, with nothing in flight. */
  stop(): void {
    if (!this.#running) return;
    if (!this.#host.turnUntil(() => this.#queue.inFlight === 0)) {
      throw new Error(
        `${this.#queue.inFlight} chains of ring ${this.index} are in flight ` +
          "for good, wanted each to be pushed",
      );
    }
    this.flush();
    this.#running = false;
    this.#host.data.stop?.(this.#queue);
  }

  /** Starts the ring, which is stopped, where it was; or another one, `ring`. */
  start(ring?: RingDriver): void {
    const config = (ring ?? this.#ring).config(this.index);
    if (ring === undefined) config.nextAvail = this.#queue.resumeAt;
    else {
      this.#ring = ring;
      this.#requests = new RequestRing(this.#memory, ring, this, this.#options);
    }
    this.#queue = openVirtqueue(config, this.#host.guest);
    this.#running = true;
    this.#host.data.start?.(this.#queue);
    if (this.#enabled) this.#host.data.enable?.(this.#queue, true);
  }

  /** Stops the ring and starts it again where it was. */
  restart(): void {
    this.stop();
    this.start();
  }

  /**
   * Lets the device take what there is: served, or discarded while the ring is
   * disabled. Whether it took any.
   */
  drain(): boolean {
    const queue = this.#queue;
    if (!this.isServed || !queue.hasAvailable()) return false;
    const { data } = this.#host;
    const before = queue.nextAvail;
    if (this.#enabled) data.drain(queue);
    else data.discard!(queue);
    return queue.nextAvail !== before;
  }

  /** Publishes what the device pushed, and counts the call where one is due. */
  flush(): void {
    if (!this.#running || !this.#queue.flush()) return;
    this.callCount++;
    this.#calls++;
  }

  /** Whether the device takes chains from it, be it to discard them. */
  get isServed(): boolean {
    return this.#running && this.#queue.broken === "" &&
      (this.#enabled || this.#host.data.discard !== undefined);
  }

  /** Counts. A turn finds the requests by itself. */
  kick(): void {
    this.kickCount++;
  }

  /** Turns the device until it calls; false where it never does. */
  called(): Promise<void | false> {
    const called = this.#host.turnUntil(() => this.#calls > 0);
    this.#calls = 0;
    return Promise.resolve(called ? undefined : false);
  }
}
