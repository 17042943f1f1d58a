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

/** A front-end with memory and queue pairs of its own, connected to a card. */
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
      const port = {
        kickReceive: () => receive.kick(),
        kickTransmit: () => transmit.kick(),
        calledReceive: () => receive.called(),
        calledTransmit: () => transmit.called(),
      };
      drivers.push(
        new NetDriver(memory, receive.ring, transmit.ring, port, {
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
