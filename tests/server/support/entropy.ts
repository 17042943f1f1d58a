/**
 * An entropy device of a back-end process, connected.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import {
  Connection,
  type ConnectionOptions,
  type ConnectionRing,
} from "../../../src/testing/connection.ts";
import { RngDriver } from "../../../src/testing/rng_driver.ts";
import { withDeadline } from "../../vm/deadline.ts";
import { PATIENCE_MS } from "./hostile_target.ts";

const MIB = 1 << 20;

/** A front-end, its ring and the requests over it. */
export class Entropy implements Disposable {
  /** The connection. */
  readonly connection: Connection;
  /** Its only ring. */
  readonly port: ConnectionRing;
  /** Requests over the ring. */
  readonly driver: RngDriver;

  private constructor(connection: Connection) {
    this.connection = connection;
    this.port = connection.rings[0]!;
    const { ring } = this.port;
    this.driver = new RngDriver(connection.memory, ring, this.port);
  }

  /** Connects to the device that listens at `path`. */
  static async open(
    path: string,
    options: ConnectionOptions = {},
  ): Promise<Entropy> {
    const connection = Connection.open(path, { memory: 16 * MIB, ...options });
    return new Entropy(await withDeadline(connection, PATIENCE_MS));
  }

  /** Gets random bytes. */
  async serves(): Promise<void> {
    const bytes = await withDeadline(this.driver.bytes(64), PATIENCE_MS);
    assertEquals(bytes.length, 64);
  }

  /** Stops the ring, as GET_VRING_BASE does: its base. */
  stop(): Promise<number> {
    const { frontend } = this.connection;
    return withDeadline(frontend.getVringBase(0), PATIENCE_MS);
  }

  /** Hangs up. */
  [Symbol.dispose](): void {
    this.connection[Symbol.dispose]();
  }
}
