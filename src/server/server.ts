/**
 * Serves one device on one socket, front-end after front-end.
 *
 * @module
 */
import type { Device } from "../device/device.ts";
import { SystemError } from "../errors.ts";
import { EMFILE, ENFILE, ENOMEM } from "../ffi/abi.ts";
import { Fd } from "../io/fd.ts";
import { Reactor } from "../io/reactor.ts";
import { isListening, UnixListener, UnixSocket } from "../io/unix_socket.ts";
import { log } from "../log.ts";
import { Session } from "../vhost_user/session.ts";
import type { Carrier } from "./command.ts";
import { DataPlane } from "./data_plane.ts";
import { DeviceBackend } from "./device_backend.ts";
import { InlinePlane } from "./inline_plane.ts";
import { openUring } from "./open_uring.ts";
import { WorkerPlane } from "./worker_plane.ts";

/** Where the rings run. `auto`: on workers where modules may be read. */
export type DataPlaneKind = "auto" | "inline" | "worker";

/** How often a connection is tried that there is a shortage for. */
const SHORTAGE_MS = 100;

/** How a device is served. */
export interface ServeOptions {
  /** The path to listen on; exclusive with `fd`. */
  socketPath?: string;
  /** A descriptor to take over: listening or connected. */
  fd?: number;
  /** Threads for the rings, at least 1; more than one needs workers. */
  queueThreads?: number;
  /** Where the rings run. */
  dataPlane?: DataPlaneKind;
  /**
   * Whether a front-end with an IOMMU is served: ACCESS_PLATFORM is offered.
   * One that accepts it and has none would be misunderstood.
   */
  iommu?: boolean;
}

/** A device that is being served. */
export class Server {
  readonly #device: Device;
  readonly #carrier: Carrier;
  readonly #backend: DeviceBackend;
  readonly #reactor: Reactor;
  readonly #name: string;
  #listener: UnixListener | null = null;
  #connected: UnixSocket | null = null;
  #session: Session | null = null;
  #stopping = false;

  private constructor(
    name: string,
    device: Device,
    carrier: Carrier,
    reactor: Reactor,
    iommu: boolean,
  ) {
    this.#name = name;
    this.#device = device;
    this.#carrier = carrier;
    this.#reactor = reactor;
    this.#backend = new DeviceBackend(device, carrier, iommu);
  }

  /**
   * Puts `device` on a data plane and listens.
   *
   * @throws {SystemError} Where the socket or the threads can't be had; the
   * device is closed then.
   */
  static async open(
    name: string,
    device: Device,
    options: ServeOptions,
  ): Promise<Server> {
    const reactor = Reactor.main;
    try {
      const carrier = await openCarrier(device, options, reactor);
      const iommu = options.iommu ?? false;
      const server = new Server(name, device, carrier, reactor, iommu);
      try {
        server.#listen(options);
      } catch (error) {
        await server.#closeCarrier();
        throw error;
      }
      return server;
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  /**
   * Serves until `stop`, or until a connected descriptor's front-end leaves.
   * Rejects when a thread of the data plane ends by itself.
   */
  async run(): Promise<void> {
    try {
      const served = this.#connected !== null
        ? this.#serve(this.#connected)
        : this.#accept(this.#listener!);
      // Without its rings the server is of no use: rather none, to be restarted.
      await Promise.race([served, this.#carrier.failure]);
    } finally {
      await this.#close();
    }
  }

  /** Closes what was opened; in place of `run`, for one that is never run. */
  async close(): Promise<void> {
    this.#connected?.[Symbol.dispose]();
    await this.#close();
  }

  /** Drains the rings, answers, and lets `run` resolve. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#listener !== null) this.#reactor.cancel(this.#listener.fd.number);
    await this.#session?.stop();
  }

  #listen(options: ServeOptions): void {
    if (options.fd === undefined) {
      this.#listener = UnixListener.bind(options.socketPath!);
      log.info(`${this.#name} listens on ${options.socketPath}`);
      return;
    }
    const fd = new Fd(options.fd);
    if (isListening(fd)) {
      this.#listener = UnixListener.fromFd(fd);
      log.info(`${this.#name} listens on descriptor ${options.fd}`);
    } else this.#connected = UnixSocket.fromFd(fd);
  }

  async #accept(listener: UnixListener): Promise<void> {
    while (!this.#stopping) {
      let socket: UnixSocket | null;
      try {
        socket = listener.accept();
      } catch (error) {
        if (!isShortage(error)) throw error;
        // Another device's front-end may hold what is missing, and leave.
        log.warnOnce(`${error.message}: the front-end waits until there is`);
        await new Promise((resolve) => setTimeout(resolve, SHORTAGE_MS));
        continue;
      }
      if (socket !== null) {
        await this.#serve(socket);
        // Who connects and leaves without end waits for nothing.
        await new Promise<void>((resolve) => setImmediate(resolve));
        continue;
      }
      try {
        await this.#reactor.readable(listener.fd.number);
      } catch (error) {
        if (!this.#stopping) throw error;
      }
    }
  }

  async #serve(socket: UnixSocket): Promise<void> {
    log.info(`${this.#name}: a front-end connected`);
    const session = new Session(socket, this.#backend, this.#reactor);
    this.#session = session;
    const end = await session.run();
    this.#session = null;
    log.info(`${this.#name}: the front-end left: ${end.reason}`);
    await this.#backend.reset();
  }

  async #close(): Promise<void> {
    this.#listener?.[Symbol.dispose]();
    await this.#closeCarrier();
    await this.#device.close();
  }

  async #closeCarrier(): Promise<void> {
    try {
      await this.#carrier.send({ kind: "close" });
    } catch (error) {
      // It failed before, and whoever awaits `failure` knows.
      log.debug(`${this.#name}: the data plane is gone: ${error}`);
    }
    await this.#carrier.close();
  }
}

/** Whether there are no descriptors or no memory for one more connection. */
function isShortage(error: unknown): error is SystemError {
  return error instanceof SystemError &&
    [EMFILE, ENFILE, ENOMEM].includes(error.errno);
}

async function openCarrier(
  device: Device,
  options: ServeOptions,
  reactor: Reactor,
): Promise<Carrier> {
  const ringCount = device.queueCount;
  const useUring = device.usesUring ?? true;
  const threads = options.queueThreads ?? 1;
  if (await useWorkers(options.dataPlane ?? "auto")) {
    return await WorkerPlane.open(
      threads,
      device.data.url,
      { seed: device.seed, ringCount, useUring },
      device.ringsTogether,
    );
  }
  const uring = useUring ? openUring(false) : null;
  const plane = new DataPlane(
    device.data.open,
    device.seed,
    uring,
    ringCount,
  );
  return new InlinePlane(plane, reactor);
}

async function useWorkers(kind: DataPlaneKind): Promise<boolean> {
  if (kind !== "auto") return kind === "worker";
  const read = await Deno.permissions.query({ name: "read" });
  return read.state === "granted";
}
