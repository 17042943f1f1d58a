/**
 * A pretended guest behind a vhost-user socket: memory, rings, notifiers.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import { EventFd } from "../io/event_fd.ts";
import { log } from "../log.ts";
import { Reactor } from "../io/reactor.ts";
import {
  Frontend,
  type Negotiated,
  type NegotiateOptions,
  WANTED_PROTOCOL_FEATURES,
} from "../vhost_user/frontend.ts";
import type { BackendHandlers } from "../vhost_user/frontend_handlers.ts";
import type { InflightBuffer } from "../vhost_user/frontend_inflight.ts";
import { protocolBit, VHOST_USER_PROTOCOL_F } from "../vhost_user/protocol.ts";
import { DriverMemory, type DriverRegionSpec } from "./driver_memory.ts";
import { openRing } from "./open_ring.ts";
import type { RingDriver } from "./ring_driver.ts";
import { SplitDriver } from "./split_driver.ts";

const INFLIGHT = VHOST_USER_PROTOCOL_F.INFLIGHT_SHMFD;
const IN_BAND = VHOST_USER_PROTOCOL_F.INBAND_NOTIFICATIONS;

/** How long a back-end may take to come back. */
const RECONNECT_MS = 10_000;

/** How a {@linkcode Connection} is set up. */
export interface ConnectionOptions extends NegotiateOptions {
  /** Rings to start; 1 by default. */
  queueCount?: number;
  /** Entries of each; 128 by default. */
  queueSize?: number;
  /** Guest memory: bytes, or regions; 64 MiB by default. */
  memory?: number | readonly DriverRegionSpec[];
  /** Milliseconds that a request to the back-end may take; no limit by default. */
  timeoutMs?: number;
  /** What the back-end may ask for; nothing by default. Needs BACKEND_REQ. */
  handlers?: BackendHandlers;
  /**
   * Has the back-end note its requests in flight, where it can, in memory that
   * outlives it: see {@linkcode Connection.reconnect}.
   */
  inflight?: boolean;
  /**
   * Kicks, calls and errors are messages where the back-end offers that; the
   * eventfds of the rings stay between the driver and this.
   */
  inBand?: boolean;
}

/** How a connection is taken up again. */
export interface ReconnectOptions {
  /** The connection to the new back-end; else there is one at the old path. */
  frontend?: Frontend;
  /** Milliseconds to wait for somebody at that path; 10000 by default. */
  timeoutMs?: number;
}

/**
 * A ring of the connection.
 *
 * @example A request by hand
 * ```ts
 * import { completeOptions, devices, Server } from "@ringside/ringside";
 * import { Connection } from "@ringside/ringside/testing";
 * import { Frontend, UnixSocket } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * const device = await devices.rng.open(
 *   completeOptions(devices.rng.options, {}),
 * );
 * const fd = theirs.fd.release();
 * const server = await Server.open("rng", device, { fd, dataPlane: "inline" });
 * const served = server.run();
 * {
 *   using guest = await Connection.open(Frontend.fromSocket(ours), {
 *     memory: 1 << 20,
 *   });
 *   const port = guest.rings[0]!;
 *   const { ring } = port;
 *   const address = guest.memory.allocate(64);
 *   ring.add([{ address, size: 64, writable: true }]);
 *   if (ring.publish()) port.kick();
 *   let used = ring.nextUsed();
 *   while (used === null) {
 *     if (!ring.armInterrupt()) await port.called();
 *     used = ring.nextUsed();
 *   }
 *   assertEquals(used.written, 64);
 * }
 * await served;
 * ```
 */
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
    Reactor.main.cancel(this.kickFd.fd.number);
    for (const eventFd of [this.kickFd, this.callFd, this.errFd]) {
      eventFd[Symbol.dispose]();
    }
  }
}

/**
 * A front-end with memory and rings of its own, connected to a device.
 *
 * @example A ring that is stopped, and goes on
 * ```ts
 * import { completeOptions, devices, Server } from "@ringside/ringside";
 * import { Connection } from "@ringside/ringside/testing";
 * import { Frontend, UnixSocket } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * const device = await devices.rng.open(
 *   completeOptions(devices.rng.options, {}),
 * );
 * const fd = theirs.fd.release();
 * const server = await Server.open("rng", device, { fd, dataPlane: "inline" });
 * const served = server.run();
 * {
 *   // Connection.open(path), where a back-end listens
 *   using guest = await Connection.open(Frontend.fromSocket(ours), {
 *     memory: 1 << 20,
 *     timeoutMs: 10_000,
 *   });
 *   const base = await guest.stop(0);
 *   await guest.start(0, base);
 *   assertEquals(guest.rings.length, 1);
 * }
 * await served;
 * ```
 */
export class Connection implements Disposable {
  /** The memory of the pretended guest. */
  readonly memory: DriverMemory;
  /** Negotiated virtio features. */
  readonly features: bigint;
  /** Negotiated protocol features. */
  readonly protocolFeatures: bigint;
  /** The rings that were started. */
  readonly rings: readonly ConnectionRing[];
  readonly #path: string | null;
  readonly #options: ConnectionOptions;
  readonly #stopped = new Set<number>();
  #frontend: Frontend;
  #inflight: InflightBuffer | null = null;

  private constructor(
    frontend: Frontend,
    memory: DriverMemory,
    negotiated: Negotiated,
    rings: readonly ConnectionRing[],
    path: string | null,
    options: ConnectionOptions,
  ) {
    this.#frontend = frontend;
    this.memory = memory;
    this.features = negotiated.features;
    this.protocolFeatures = negotiated.protocolFeatures;
    this.rings = rings;
    this.#path = path;
    this.#options = options;
  }

  /** Connects to the back-end at `path`, or over `path` where that is a front-end. */
  static async open(
    path: string | Frontend,
    options: ConnectionOptions = {},
  ): Promise<Connection> {
    const known = typeof path === "string" ? path : null;
    const frontend = typeof path === "string" ? Frontend.connect(path) : path;
    const rings: ConnectionRing[] = [];
    const { queueCount = 1, queueSize = 128, timeoutMs } = options;
    let memory: DriverMemory | null = null;
    try {
      memory = DriverMemory.shared(options.memory ?? 64 << 20);
      if (timeoutMs !== undefined) frontend.timeoutMs = timeoutMs;
      const wanted = options.protocolFeatures ?? wantedBy(options);
      const negotiated = await frontend.negotiate({
        ...options,
        protocolFeatures: wanted,
      });
      const { features } = negotiated;
      for (let index = 0; index < queueCount; index++) {
        const ring = openRing(memory, queueSize, features);
        rings.push(new ConnectionRing(index, ring));
      }
      const connection = new Connection(
        frontend,
        memory,
        negotiated,
        rings,
        known,
        options,
      );
      await connection.#setUp((ring) => ring.config().nextAvail);
      if (connection.#inBand) {
        for (const ring of rings) void connection.#passKicksOn(ring);
      }
      return connection;
    } catch (error) {
      for (const ring of rings) ring[Symbol.dispose]();
      frontend[Symbol.dispose]();
      memory?.[Symbol.dispose]();
      throw error;
    }
  }

  /** The protocol's side of it: another one after each `reconnect`. */
  get frontend(): Frontend {
    return this.#frontend;
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
      ...this.#inBand
        ? {}
        : { kick: kickFd.fd, call: callFd.fd, err: errFd.fd },
    });
    this.#stopped.delete(index);
  }

  /** Stops ring `index` when its requests are done: the base to start it from. */
  async stop(index: number): Promise<number> {
    const base = await this.frontend.getVringBase(index);
    this.#stopped.add(index);
    return base;
  }

  /**
   * Goes on with another back-end in place of one that died: the same features,
   * the same memory, the same rings from where their used rings end. Requests
   * that the old one had taken and not given back are done again.
   *
   * With an inflight buffer the new back-end knows which these are. Without, it
   * takes the last ones that were made available, which is right only for a
   * device that gives back in the order in which it takes; and of a packed ring
   * all that is used must have been taken back before.
   *
   * @throws {ProtocolError} Where the new back-end lacks features of the old.
   * @throws {SystemError} Where nobody listens in time.
   */
  async reconnect(options: ReconnectOptions = {}): Promise<void> {
    this.#frontend[Symbol.dispose]();
    const { timeoutMs = RECONNECT_MS } = options;
    const frontend = options.frontend ?? await this.#find(timeoutMs);
    this.#frontend = frontend;
    frontend.timeoutMs = this.#options.timeoutMs ?? frontend.timeoutMs;
    const { features, protocolFeatures } = await frontend.negotiate(this);
    const lost = (this.features & ~features) |
      (this.protocolFeatures & ~protocolFeatures);
    if (lost !== 0n) {
      throw new ProtocolError(
        "The back-end does not offer all that was negotiated before, the bits " +
          `0x${lost.toString(16)} are gone: start it with the same options`,
      );
    }
    await this.#setUp(resumeBase);
    // For those that the old one was kicked for and did not see.
    for (const ring of this.rings) ring.kick();
  }

  /** Hangs up; the memory and the eventfds go too. */
  [Symbol.dispose](): void {
    for (const ring of this.rings) ring[Symbol.dispose]();
    this.frontend[Symbol.dispose]();
    this.memory[Symbol.dispose]();
    this.#inflight?.[Symbol.dispose]();
  }

  /** Shares the memory, starts the rings and says so, after the negotiation. */
  async #setUp(baseOf: (ring: RingDriver) => number): Promise<void> {
    const { frontend, memory, rings } = this;
    const { inflight = false } = this.#options;
    await frontend.shareMemory(
      memory.regions.map((region) => ({ ...region, fd: region.fd! })),
    );
    if (inflight && frontend.hasProtocolFeature(INFLIGHT)) {
      const { queueCount = 1, queueSize = 128 } = this.#options;
      this.#inflight ??= await frontend.inflight.getFd(queueCount, queueSize);
      if (this.#inflight !== null) {
        await frontend.inflight.setFd(this.#inflight);
      }
    }
    const handlers = this.#handlers();
    if (handlers !== undefined) await frontend.listenToBackend(handlers);
    for (const { index, ring } of rings) {
      if (!this.#stopped.has(index)) await this.start(index, baseOf(ring));
    }
    await frontend.driverOk();
  }

  get #inBand(): boolean {
    return this.#frontend.hasProtocolFeature(IN_BAND);
  }

  /** What the back-end may ask for: in-band also what it says of the rings. */
  #handlers(): BackendHandlers | undefined {
    const { handlers } = this.#options;
    if (!this.#inBand) return handlers;
    return {
      ...handlers,
      vringCall: (index) => this.#ring(index).callFd.signal(),
      vringErr: (index) => this.#ring(index).errFd.signal(),
    };
  }

  #ring(index: number): ConnectionRing {
    const ring = this.rings[index];
    if (ring === undefined) throw new RangeError(`There is no ring ${index}`);
    return ring;
  }

  /** The driver's kicks as messages, until the connection is closed. */
  async #passKicksOn({ index, kickFd }: ConnectionRing): Promise<void> {
    for (;;) {
      try {
        await Reactor.main.readable(kickFd.fd.number);
      } catch {
        return;
      }
      if (!kickFd.clear()) continue;
      try {
        await this.#frontend.vringKick(index);
      } catch (error) {
        // Whoever waits for an answer finds that there is none.
        log.debug(`The kick of ring ${index} did not arrive: ${error}`);
      }
    }
  }

  async #find(timeoutMs: number): Promise<Frontend> {
    if (this.#path !== null) {
      return await Frontend.connectWithin(this.#path, timeoutMs);
    }
    throw new TypeError(
      "The connection was opened over a front-end, and there is no path to " +
        "go back to: pass the new front-end",
    );
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

function wantedBy(options: ConnectionOptions): bigint {
  const { inflight = false, inBand = false } = options;
  let wanted = WANTED_PROTOCOL_FEATURES;
  if (inflight) wanted |= protocolBit(INFLIGHT);
  if (inBand) wanted |= protocolBit(IN_BAND);
  return wanted;
}

/**
 * Where a back-end goes on whose predecessor died: at the end of the used ring.
 * In a packed ring nobody but the driver knows that, from what it took back.
 */
function resumeBase(ring: RingDriver): number {
  return ring instanceof SplitDriver
    ? ring.publishedUsedIndex
    : ring.config().nextAvail;
}
