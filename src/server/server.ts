/**
 * Serves one device on one socket, front-end after front-end.
 *
 * @module
 */
import type { Device, ResizeRequest } from "../device/device.ts";
import { featureNames } from "../device/features.ts";
import { SystemError, UsageError } from "../errors.ts";
import { Reactor } from "../io/reactor.ts";
import { log } from "../log.ts";
import type { Session, SessionRing } from "../vhost_user/session.ts";
import { type CarrierOptions, closeCarrier, startCarrier } from "./carrier.ts";
import type { Carrier, RingCounters } from "./command.ts";
import { DeviceBackend } from "./device_backend.ts";
import {
  type FrontEndOptions,
  type FrontEnds,
  openFrontEnds,
} from "./front_ends.ts";

export type { CarrierOptions, DataPlaneKind } from "./carrier.ts";

/** How a device is served. */
export interface ServeOptions extends FrontEndOptions, CarrierOptions {
  /**
   * Whether a front-end with an IOMMU is served: ACCESS_PLATFORM is offered.
   * One that accepts it and has none would be misunderstood.
   */
  iommu?: boolean;
  /** Whether packed virtqueues are offered; true where not said. */
  packed?: boolean;
  /** Whether IN_ORDER is offered; false where not said. */
  inOrder?: boolean;
  /** Whether INBAND_NOTIFICATIONS is offered; false where not said. */
  inBand?: boolean;
}

/** What a server tells of itself. */
export interface ServerStatus {
  /** Whether there is a front-end. */
  readonly connected: boolean;
  /** The virtio features that were negotiated, by name, or null before that. */
  readonly features: readonly string[] | null;
  /** Whether the device can be resized. */
  readonly canResize: boolean;
  /** The rings that the front-end set up; those that run have counters. */
  readonly rings: readonly (SessionRing & Partial<RingCounters>)[];
}

/**
 * A device that is being served.
 *
 * @example A device on a socket, until it is stopped
 * ```ts
 * import { completeOptions, devices, Server } from "@ringside/ringside";
 * import { Connection, RngDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const directory = Deno.makeTempDirSync();
 * const socketPath = `${directory}/rng.sock`;
 * const rng = await devices.rng.open(completeOptions(devices.rng.options, {}));
 * const server = await Server.open("rng", rng, {
 *   socketPath,
 *   dataPlane: "inline",
 * });
 * const served = server.run();
 * {
 *   using connection = await Connection.open(socketPath);
 *   const [port] = connection.rings;
 *   const driver = new RngDriver(connection.memory, port!.ring, port!);
 *   assertEquals((await driver.bytes(16)).length, 16);
 * }
 * await server.stop();
 * await served;
 * Deno.removeSync(directory, { recursive: true });
 * ```
 */
export class Server {
  readonly #device: Device;
  readonly #carrier: Carrier;
  readonly #backend: DeviceBackend;
  readonly #reactor: Reactor;
  readonly #name: string;
  readonly #frontEnds: FrontEnds;
  #session: Session | null = null;
  #stopping = false;
  #closed = false;

  private constructor(
    name: string,
    device: Device,
    carrier: Carrier,
    reactor: Reactor,
    options: ServeOptions,
  ) {
    this.#name = name;
    this.#device = device;
    this.#carrier = carrier;
    this.#reactor = reactor;
    this.#backend = new DeviceBackend(device, carrier, options, name);
    this.#frontEnds = openFrontEnds(options, reactor);
    carrier.ready.then(() => this.#announce(), () => {});
  }

  /**
   * Puts `device` on a data plane, and listens for front-ends.
   *
   * @throws {SystemError} Where the socket or the threads can't be had; the
   * device is closed then.
   */
  static async open(
    name: string,
    device: Device,
    options: ServeOptions,
  ): Promise<Server> {
    const server = await Server.listen(name, device, options);
    try {
      await server.ready;
    } catch (error) {
      await server.close();
      throw error;
    }
    return server;
  }

  /**
   * As `open`, but as soon as it listens, while the threads of the data plane
   * still start: who connects meanwhile waits for them.
   */
  static async listen(
    name: string,
    device: Device,
    options: ServeOptions,
  ): Promise<Server> {
    const reactor = Reactor.main;
    try {
      const carrier = await startCarrier(device, options, reactor);
      try {
        return new Server(name, device, carrier, reactor, options);
      } catch (error) {
        await closeCarrier(name, carrier);
        throw error;
      }
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  /** Resolves once its threads take part; rejects where they can't be had. */
  get ready(): Promise<void> {
    return this.#carrier.ready;
  }

  /**
   * Serves until `stop`, or until a connected descriptor's front-end leaves.
   * Rejects when a thread of the data plane ends by itself.
   */
  async run(): Promise<void> {
    try {
      // Without its rings the server is of no use: rather none, to be restarted.
      await Promise.race([this.#serveAll(), this.#carrier.failure]);
    } finally {
      await this.#close();
    }
  }

  /** Closes what was opened; in place of `run`, for one that is never run. */
  close(): Promise<void> {
    return this.#close();
  }

  /** Drains the rings, answers, and lets `run` resolve. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#frontEnds.stop();
    this.#backend.end();
    await this.#session?.stop();
  }

  /** What is served, and to whom. Rejects with a UsageError once it stops. */
  async status(): Promise<ServerStatus> {
    const session = this.#session;
    const features = session?.features ?? null;
    const counters = await this.#unlessStopped(this.#carrier.inspect());
    const rings = (session?.rings ?? []).map((ring) => ({
      ...ring,
      ...counters.find(({ index }) => index === ring.index),
    }));
    return {
      connected: session !== null,
      features: features === null
        ? null
        : featureNames(features, this.#device.featureNames),
      canResize: this.#device.resize !== undefined,
      rings,
    };
  }

  /** Has the device resized, see {@linkcode Device.resize}. */
  resize(wanted: ResizeRequest): Promise<number> {
    if (this.#device.resize !== undefined) {
      return this.#unlessStopped(this.#device.resize(wanted));
    }
    const name = this.#name;
    return Promise.reject(new UsageError(`${name} has no size to change`));
  }

  /** The outcome of `work`, which may fail because the server stops. */
  async #unlessStopped<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const isTold = error instanceof UsageError ||
        error instanceof SystemError;
      if (isTold || !(this.#stopping || this.#closed)) throw error;
      throw new UsageError(
        `${this.#name} stops: ask again when it is served anew`,
        { cause: error },
      );
    }
  }

  #announce(): void {
    const { approach } = this.#frontEnds;
    if (approach !== "" && !this.#closed) log.info(`${this.#name} ${approach}`);
  }

  async #serveAll(): Promise<void> {
    // Not needed to listen, and the threads have yet to start.
    const { Session } = await import("../vhost_user/session.ts");
    await this.#carrier.ready;
    for (;;) {
      const socket = await this.#frontEnds.next();
      if (socket === null) return;
      if (this.#stopping) return socket[Symbol.dispose]();
      await this.#serve(
        new Session(socket, this.#backend, this.#reactor, this.#name),
      );
      // Who connects and leaves without end waits for nothing.
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  async #serve(session: Session): Promise<void> {
    log.info(`${this.#name}: a front-end connected`);
    this.#session = session;
    const end = await session.run();
    this.#session = null;
    log.info(`${this.#name}: the front-end left: ${end.reason}`);
    await this.#backend.reset();
  }

  async #close(): Promise<void> {
    this.#closed = true;
    this.#frontEnds[Symbol.dispose]();
    await closeCarrier(this.#name, this.#carrier);
    await this.#device.close();
  }
}
