/**
 * A pretended guest behind a vhost-user socket: memory, rings, notifiers.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import { EventFd } from "../io/event_fd.ts";
import { Reactor } from "../io/reactor.ts";
import { Frontend, type NegotiateOptions } from "../vhost_user/frontend.ts";
import { DriverMemory, type DriverRegionSpec } from "./driver_memory.ts";
import { openRing, type RingDriver } from "./ring_driver.ts";

/** How a {@linkcode Connection} is set up. */
export interface ConnectionOptions extends NegotiateOptions {
  /** Rings to start; 1 by default. */
  queueCount?: number;
  /** Entries of each; 128 by default. */
  queueSize?: number;
  /** Guest memory: bytes, or regions; 64 MiB by default. */
  memory?: number | readonly DriverRegionSpec[];
}

/** A ring of the connection. */
export class ConnectionRing implements Disposable {
  /** Of the ring in its device. */
  readonly index: number;
  /** The ring itself. */
  readonly ring: RingDriver;
  /** Kicks the device. */
  readonly kickFd: EventFd = EventFd.open();
  /** What the device calls. */
  readonly callFd: EventFd = EventFd.open();
  /** What the device signals when it finds the ring broken. */
  readonly errFd: EventFd = EventFd.open();

  /** Ring `index`, laid out as `ring`. */
  constructor(index: number, ring: RingDriver) {
    this.index = index;
    this.ring = ring;
  }

  /** Tells the device that there are requests. */
  kick(): void {
    this.kickFd.signal();
  }

  /** Resolves when the device may have given some back. */
  async called(): Promise<void> {
    await Reactor.main.readable(this.callFd.fd.number);
    this.callFd.clear();
  }

  /** Closes the eventfds. */
  [Symbol.dispose](): void {
    Reactor.main.cancel(this.callFd.fd.number);
    for (const eventFd of [this.kickFd, this.callFd, this.errFd]) {
      eventFd[Symbol.dispose]();
    }
  }
}

/** A front-end with memory and rings of its own, connected to a device. */
export class Connection implements Disposable {
  /** The protocol's side of it. */
  readonly frontend: Frontend;
  /** The memory of the pretended guest. */
  readonly memory: DriverMemory;
  /** Negotiated virtio features. */
  readonly features: bigint;
  /** The rings that were started. */
  readonly rings: readonly ConnectionRing[];

  private constructor(
    frontend: Frontend,
    memory: DriverMemory,
    features: bigint,
    rings: readonly ConnectionRing[],
  ) {
    this.frontend = frontend;
    this.memory = memory;
    this.features = features;
    this.rings = rings;
  }

  /** Connects to the back-end at `path`, or over `path` where that is a front-end. */
  static async open(
    path: string | Frontend,
    options: ConnectionOptions = {},
  ): Promise<Connection> {
    const frontend = typeof path === "string" ? Frontend.connect(path) : path;
    const memory = DriverMemory.shared(options.memory ?? 64 << 20);
    const rings: ConnectionRing[] = [];
    const { queueCount = 1, queueSize = 128 } = options;
    try {
      const { features } = await frontend.negotiate(options);
      await frontend.setMemTable(
        memory.regions.map((region) => ({ ...region, fd: region.fd! })),
      );
      const connection = new Connection(frontend, memory, features, rings);
      for (let index = 0; index < queueCount; index++) {
        const ring = openRing(memory, queueSize, features);
        rings.push(new ConnectionRing(index, ring));
        await connection.start(index, 0);
      }
      return connection;
    } catch (error) {
      for (const ring of rings) ring[Symbol.dispose]();
      frontend[Symbol.dispose]();
      memory[Symbol.dispose]();
      throw error;
    }
  }

  /** Starts ring `index`, which is stopped, from `base` on. */
  async start(index: number, base: number): Promise<void> {
    const { ring, kickFd, callFd, errFd } = this.rings[index]!;
    await this.frontend.setVring(index, {
      size: ring.size,
      base,
      descriptor: this.#userAddress(ring.descriptorArea),
      available: this.#userAddress(ring.driverArea),
      used: this.#userAddress(ring.deviceArea),
      kick: kickFd.fd,
      call: callFd.fd,
      err: errFd.fd,
    });
  }

  /** Hangs up; the memory and the eventfds go too. */
  [Symbol.dispose](): void {
    for (const ring of this.rings) ring[Symbol.dispose]();
    this.frontend[Symbol.dispose]();
    this.memory[Symbol.dispose]();
  }

  #userAddress(guestAddress: number): number {
    for (const region of this.memory.regions) {
      const offset = guestAddress - region.guestAddress;
      if (offset >= 0 && offset < region.size) {
        return region.userAddress + offset;
      }
    }
    throw new ProtocolError(
      `Guest address 0x${guestAddress.toString(16)} is in no region`,
    );
  }
}
