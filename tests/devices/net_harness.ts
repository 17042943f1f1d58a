/**
 * A network device on its queue pairs, without sockets or threads: the test is
 * the driver, and turns the data side by hand.
 *
 * @module
 */
import type {
  DataDevice,
  DataPlaneServices,
  Device,
  ReadySource,
} from "../../src/device/mod.ts";
import { completeOptions } from "../../src/device/mod.ts";
import { net } from "../../devices/net/mod.ts";
import { VIRTIO_NET_F_MRG_RXBUF } from "../../devices/net/protocol.ts";
import { Epoll } from "../../src/io/epoll.ts";
import { DriverMemory } from "../../src/testing/driver_memory.ts";
import {
  NetDriver,
  type NetDriverOptions,
} from "../../src/testing/net_driver.ts";
import { SplitDriver } from "../../src/testing/split_driver.ts";
import { SplitVirtqueue } from "../../src/virtqueue/split.ts";
import type { Given } from "./harness.ts";

/** How often a test turns a device that does nothing. */
const TURNS_MAX = 10_000;

/** How the device is run. */
export interface NetHarnessOptions {
  /** Feature bits that the driver accepts, all that are offered unless given. */
  features?: bigint;
  /** Entries of each ring. */
  size?: number;
  /** How each pair is driven. */
  driver?: Omit<NetDriverOptions, "mergeable">;
  /** Bytes of guest memory. */
  memory?: number;
}

/** One ring as the plane runs it. */
interface LiveQueue {
  queue: SplitVirtqueue;
  enabled: boolean;
}

/** One device, all of its pairs. */
export class NetHarness implements AsyncDisposable {
  readonly device: Device;
  readonly memory: DriverMemory;
  readonly drivers: readonly NetDriver[];
  readonly data: DataDevice;
  readonly features: bigint;
  /** Rings in the order of the device. */
  readonly rings: LiveQueue[] = [];
  /** Config changes that the device told of. */
  configChanges = 0;
  readonly #epoll = Epoll.open();
  readonly #sources = new Map<number, ReadySource>();

  private constructor(device: Device, options: NetHarnessOptions) {
    this.device = device;
    this.memory = DriverMemory.shared(options.memory ?? 16 << 20);
    this.features = device.features & (options.features ?? device.features);
    const memory = this.memory.guestMemory();
    const services: DataPlaneServices = {
      memory,
      uring: null,
      watch: (fd, source, writable = false) => {
        const events = Epoll.IN | Epoll.EDGE | (writable ? Epoll.OUT : 0);
        this.#epoll.add(fd, events);
        this.#sources.set(fd, source);
      },
      unwatch: (fd) => {
        this.#epoll.remove(fd);
        this.#sources.delete(fd);
      },
    };
    this.data = device.data.open(structuredClone(device.seed), services);
    const { size = 256, driver = {} } = options;
    const mergeable = (this.features & VIRTIO_NET_F_MRG_RXBUF) !== 0n;
    const ringOptions = { indirect: true, eventIndex: true };
    const drivers: NetDriver[] = [];
    for (let pair = 0; pair < device.queueCount / 2; pair++) {
      const receive = new SplitDriver(this.memory, size, ringOptions);
      const transmit = new SplitDriver(this.memory, size, ringOptions);
      for (const [i, ring] of [receive, transmit].entries()) {
        const queue = SplitVirtqueue.open(ring.config(2 * pair + i), memory);
        this.data.start?.(queue);
        this.rings.push({ queue, enabled: false });
      }
      drivers.push(
        new NetDriver(this.memory, receive, transmit, this.port, {
          ...driver,
          mergeable,
        }),
      );
    }
    this.drivers = drivers;
    device.attach?.({
      update: (state) => {
        this.data.update?.(structuredClone(state));
        return Promise.resolve();
      },
      configChanged: () => this.configChanges++,
    });
  }

  /** Opens a card, negotiates, and enables its first pair. */
  static async open(
    given: Given,
    options: NetHarnessOptions = {},
  ): Promise<NetHarness> {
    const values = completeOptions(net.options, given);
    const harness = new NetHarness(await net.open(values), options);
    await harness.device.negotiated?.(harness.features);
    harness.enablePair(0, true);
    return harness;
  }

  /** The driver of the first pair. */
  get driver(): NetDriver {
    return this.drivers[0]!;
  }

  /** For drivers that wait for calls: a turn is all that ever calls. */
  get port(): ConstructorParameters<typeof NetDriver>[3] {
    const called = () => {
      if (this.turnUntilWork()) return Promise.resolve();
      return Promise.reject(new Error("The device gave nothing back"));
    };
    return {
      kickReceive: () => {},
      kickTransmit: () => {},
      calledReceive: called,
      calledTransmit: called,
    };
  }

  /** SET_VRING_ENABLE for both rings of a pair. */
  enablePair(pair: number, enabled: boolean): void {
    for (const ring of this.rings.slice(2 * pair, 2 * pair + 2)) {
      ring.enabled = enabled;
      this.data.enable?.(ring.queue, enabled);
    }
  }

  /** One turn of the data plane: whether chains were taken. */
  turn(): boolean {
    const count = this.#epoll.wait(0);
    for (let i = 0; i < count; i++) {
      this.#sources.get(this.#epoll.dataAt(i))?.ready();
    }
    let worked = false;
    for (const { queue, enabled } of this.rings) {
      if (!queue.hasAvailable()) continue;
      const before = queue.nextAvail;
      if (enabled) this.data.drain(queue);
      else this.data.discard?.(queue);
      worked ||= queue.nextAvail !== before;
    }
    for (const { queue } of this.rings) queue.flush();
    return worked;
  }

  /** Turns until nothing moves any more. */
  settle(): void {
    for (let i = 0; i < TURNS_MAX; i++) if (!this.turn()) return;
    throw new Error("The device never rests");
  }

  /** Turns until something moved; false where nothing ever does. */
  turnUntilWork(): boolean {
    const end = performance.now() + 5000;
    while (performance.now() < end) {
      if (this.turn()) return true;
      // What is to come comes from the kernel.
      this.#epoll.wait(10);
    }
    return false;
  }

  /** Stops both rings of a pair and starts them again where they were. */
  restartPair(pair: number): void {
    for (const ring of this.rings.slice(2 * pair, 2 * pair + 2)) {
      this.data.stop?.(ring.queue);
      const { index } = ring.queue;
      const driver = this.drivers[pair]!;
      const side = index % 2 === 0 ? driver.receiveRing : driver.transmitRing;
      const config = { ...side.config(index), nextAvail: ring.queue.nextAvail };
      ring.queue = SplitVirtqueue.open(config, this.memory.guestMemory());
      this.data.start?.(ring.queue);
      this.data.enable?.(ring.queue, ring.enabled);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { queue } of this.rings) this.data.stop?.(queue);
    this.data[Symbol.dispose]?.();
    await this.device.close();
    this.#epoll[Symbol.dispose]();
    this.memory[Symbol.dispose]();
  }
}
