/**
 * A network card behind a vhost-user socket, ready to send and receive.
 *
 * @module
 */
import type { Frontend } from "../vhost_user/frontend.ts";
import { Connection, type ConnectionOptions } from "./connection.ts";
import { NetDriver, type NetDriverOptions } from "./net_driver.ts";

/** VIRTIO_NET_F_MRG_RXBUF */
const MRG_RXBUF = 1n << 15n;

/** How a {@linkcode NetConnection} is set up. */
export interface NetConnectionOptions
  extends Omit<ConnectionOptions, "queueCount"> {
  /** Queue pairs to start; 1 by default. */
  pairCount?: number;
  /** How each pair is driven. */
  driver?: Omit<NetDriverOptions, "mergeable">;
}

/**
 * A front-end with memory and queue pairs of its own, connected to a card.
 *
 * @example A card of another process, or of this one
 * ```ts
 * import { completeOptions, devices, Server } from "@ringside/ringside";
 * import { NetConnection } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const socketPath = `${Deno.makeTempDirSync()}/net.sock`;
 * const options = { backend: "loopback" };
 * const device = await devices.net.open(
 *   completeOptions(devices.net.options, options),
 * );
 * const server = await Server.open("net", device, {
 *   socketPath,
 *   dataPlane: "inline",
 * });
 * const served = server.run();
 * {
 *   using net = await NetConnection.open(socketPath);
 *   await net.driver.send(new Uint8Array(60));
 *   assertEquals((await net.driver.next()).frame.length, 60);
 * }
 * server.stop();
 * await served;
 * ```
 */
export class NetConnection implements Disposable {
  /** The whole connection: pair `k` has the rings `2k` and `2k + 1`. */
  readonly connection: Connection;
  /** Drives each pair; the receive buffers are posted. */
  readonly drivers: readonly NetDriver[];

  private constructor(connection: Connection, drivers: readonly NetDriver[]) {
    this.connection = connection;
    this.drivers = drivers;
  }

  /** Connects to the back-end at `path`, or over `path` where that is a front-end. */
  static async open(
    path: string | Frontend,
    options: NetConnectionOptions = {},
  ): Promise<NetConnection> {
    const { pairCount = 1, driver = {} } = options;
    const queueCount = 2 * pairCount;
    const connection = await Connection.open(path, { ...options, queueCount });
    const { memory, rings, features } = connection;
    const mergeable = (features & MRG_RXBUF) !== 0n;
    const drivers: NetDriver[] = [];
    for (let pair = 0; pair < pairCount; pair++) {
      const receive = rings[2 * pair]!;
      const transmit = rings[2 * pair + 1]!;
      drivers.push(
        new NetDriver(memory, receive, transmit, {
          bufferCount: receive.ring.size,
          ...driver,
          mergeable,
        }),
      );
    }
    for (const net of drivers) net.post();
    return new NetConnection(connection, drivers);
  }

  /** Drives the first pair. */
  get driver(): NetDriver {
    return this.drivers[0]!;
  }

  /** Hangs up. */
  [Symbol.dispose](): void {
    this.connection[Symbol.dispose]();
  }
}
