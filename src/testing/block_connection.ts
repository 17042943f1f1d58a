/**
 * A disk behind a vhost-user socket, ready to be read and written.
 *
 * @module
 */
import { VIRTIO_F_INDIRECT_DESC } from "../device/features.ts";
import type { EventFd } from "../io/event_fd.ts";
import type { Frontend } from "../vhost_user/frontend.ts";
import { BlockDriver, type BlockDriverOptions } from "./block_driver.ts";
import { Connection, type ConnectionOptions } from "./connection.ts";
import type { DriverMemory } from "./driver_memory.ts";
import type { RequestRingOptions } from "./request_ring.ts";
import type { RingDriver } from "./ring_driver.ts";

/** How a {@linkcode BlockConnection} is set up. */
export interface BlockConnectionOptions
  extends ConnectionOptions, RequestRingOptions {
  /** Each request in an indirect table, where negotiated. */
  indirect?: boolean;
}

/** A ring of the connection and what drives it. */
export interface ConnectedRing {
  /** Of the ring in its device. */
  readonly index: number;
  /** The ring itself. */
  readonly ring: RingDriver;
  /** Requests over the ring. */
  readonly driver: BlockDriver;
  /** Kicks the device. */
  readonly kick: EventFd;
  /** What the device calls. */
  readonly call: EventFd;
  /** What the device signals when it finds the ring broken. */
  readonly err: EventFd;
}

/**
 * A front-end with memory and rings of its own, connected to a block device.
 *
 * @example A disk of another process, or of this one
 * ```ts
 * import { completeOptions, devices, Server } from "@ringside/ringside";
 * import { BlockConnection } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const socketPath = `${Deno.makeTempDirSync()}/disk.sock`;
 * const device = await devices.block.open(
 *   completeOptions(devices.block.options, { "blk-null": 1 << 20 }),
 * );
 * const server = await Server.open("disk", device, {
 *   socketPath,
 *   dataPlane: "inline",
 * });
 * const served = server.run();
 * {
 *   using disk = await BlockConnection.open(socketPath, { indirect: true });
 *   assertEquals(disk.capacity, 2048);
 *   await disk.driver.write(0, new Uint8Array(4096).fill(1));
 *   await disk.driver.flush();
 * }
 * server.stop();
 * await served;
 * ```
 */
export class BlockConnection implements Disposable {
  /** In sectors of 512 bytes. */
  readonly capacity: number;
  /** The rings that were started. */
  readonly rings: readonly ConnectedRing[];
  readonly #connection: Connection;

  private constructor(
    connection: Connection,
    capacity: number,
    options: BlockDriverOptions,
  ) {
    const { memory } = connection;
    this.#connection = connection;
    this.capacity = capacity;
    this.rings = connection.rings.map((port) => ({
      index: port.index,
      ring: port.ring,
      driver: new BlockDriver(memory, port.ring, port, options),
      kick: port.kickFd,
      call: port.callFd,
      err: port.errFd,
    }));
  }

  /** Connects to the back-end at `path`, or over `path` where that is a front-end. */
  static async open(
    path: string | Frontend,
    options: BlockConnectionOptions = {},
  ): Promise<BlockConnection> {
    const connection = await Connection.open(path, options);
    try {
      const config = await connection.frontend.getConfig(0, 8);
      const capacity = new DataView(config.buffer, config.byteOffset)
        .getBigUint64(0, true);
      const indirect = (options.indirect ?? false) &&
        (connection.features & VIRTIO_F_INDIRECT_DESC) !== 0n;
      return new BlockConnection(connection, Number(capacity), {
        ...options,
        indirect,
      });
    } catch (error) {
      connection[Symbol.dispose]();
      throw error;
    }
  }

  /** The protocol's side of it. */
  get frontend(): Frontend {
    return this.#connection.frontend;
  }

  /** The memory of the pretended guest. */
  get memory(): DriverMemory {
    return this.#connection.memory;
  }

  /** Negotiated virtio features. */
  get features(): bigint {
    return this.#connection.features;
  }

  /** Requests over the first ring. */
  get driver(): BlockDriver {
    return this.rings[0]!.driver;
  }

  /** Starts ring `index`, which was stopped by GET_VRING_BASE, from `base` on. */
  async restart(index: number, base: number): Promise<void> {
    await this.#connection.start(index, base);
  }

  /** Hangs up; the memory and the eventfds go too. */
  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }
}
