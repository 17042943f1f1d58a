/**
 * A device on one ring, without sockets or threads: the test is the driver,
 * and turns the data side by hand.
 *
 * @module
 */
import type {
  DataDevice,
  DataPlaneServices,
  Device,
  DeviceDescriptor,
  OptionSpecs,
  ReadySource,
} from "../../src/device/mod.ts";
import { completeOptions } from "../../src/device/mod.ts";
import { IoUring } from "../../src/io/io_uring.ts";
import { DriverMemory } from "../../src/testing/driver_memory.ts";
import { SplitDriver } from "../../src/testing/split_driver.ts";
import { SplitVirtqueue } from "../../src/virtqueue/split.ts";

/** How often a test turns a device that gives nothing back. */
const TURNS_MAX = 10_000;

/** How the device is run. */
export interface HarnessOptions {
  /** With an io_uring. */
  uring?: boolean;
  /** Feature bits of the ring. */
  indirect?: boolean;
  eventIndex?: boolean;
  /** Entries of the ring. */
  size?: number;
  /** The driver's memory, 8 MiB unless given. Owned by the harness. */
  memory?: DriverMemory;
  /** Feature bits of the device that the driver accepts, all unless given. */
  features?: bigint;
}

/** The options of a device as a test gives them. */
export type Given = Record<string, string | number | boolean>;

/** One device, one ring. */
export class Harness implements AsyncDisposable {
  readonly device: Device;
  readonly memory: DriverMemory;
  readonly ring: SplitDriver;
  readonly uring: IoUring | null;
  readonly data: DataDevice;
  /** The states that the control side sent. */
  readonly states: unknown[] = [];
  queue: SplitVirtqueue;
  /** What the device watches, by descriptor: a test calls `ready` itself. */
  readonly watched = new Map<number, ReadySource>();
  readonly #services: DataPlaneServices;

  private constructor(device: Device, options: HarnessOptions) {
    this.device = device;
    this.memory = options.memory ?? DriverMemory.shared(8 << 20);
    const { indirect = true, eventIndex = true, size = 256 } = options;
    this.ring = new SplitDriver(this.memory, size, { indirect, eventIndex });
    this.uring = options.uring ? IoUring.open(64) : null;
    const memory = this.memory.guestMemory();
    this.#services = {
      memory,
      uring: this.uring,
      watch: (fd, source) => this.watched.set(fd, source),
      unwatch: (fd) => this.watched.delete(fd),
    };
    const seed = structuredClone(device.seed);
    this.data = device.data.open(seed, this.#services);
    this.queue = SplitVirtqueue.open(this.ring.config(), memory);
    this.data.start?.(this.queue);
    device.attach?.({
      update: (state) => {
        this.states.push(state);
        this.data.update?.(structuredClone(state));
        return Promise.resolve();
      },
      configChanged: () => {},
    });
  }

  /** Opens a device and starts a ring of it. */
  static async open<S extends OptionSpecs>(
    descriptor: DeviceDescriptor<S>,
    given: Given,
    options: HarnessOptions = {},
  ): Promise<Harness> {
    const values = completeOptions(descriptor.options, given);
    const device = await descriptor.open(values);
    const harness = new Harness(device, options);
    await device.negotiated?.(options.features ?? device.features);
    return harness;
  }

  /** One turn of the data plane, which waits for I/O that is under way. */
  turn(): void {
    this.data.drain(this.queue);
    const { uring } = this;
    if (uring !== null && uring.inFlight > 0) {
      uring.submitAndWait(1);
      uring.reap(4096);
    }
    this.queue.flush();
  }

  /** Turns until everything that was popped is given back. */
  settle(): void {
    for (let i = 0; i < TURNS_MAX; i++) {
      this.turn();
      if (this.queue.inFlight === 0) return;
    }
    throw new Error(`${this.queue.inFlight} requests are never given back`);
  }

  /** For drivers that wait for calls: a turn is all that ever calls. */
  readonly port = {
    kick: (): void => {},
    called: (): Promise<void> => {
      const before = this.ring.publishedUsedIndex;
      for (let i = 0; i < TURNS_MAX; i++) {
        this.turn();
        if (this.ring.publishedUsedIndex !== before) return Promise.resolve();
      }
      return Promise.reject(new Error("The device gave nothing back"));
    },
  };

  /** Stops the ring and starts it again where it was. */
  restart(): void {
    this.settle();
    this.data.stop?.(this.queue);
    this.queue = SplitVirtqueue.open(this.ring.config(), this.#services.memory);
    this.data.start?.(this.queue);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.queue.inFlight > 0) this.settle();
    this.data.stop?.(this.queue);
    this.data[Symbol.dispose]?.();
    this.uring?.[Symbol.dispose]();
    await this.device.close();
    this.memory[Symbol.dispose]();
  }
}
