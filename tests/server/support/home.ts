/**
 * Back-ends of this process that a guest moves between.
 *
 * @module
 */
import type { Device } from "../../../src/device/device.ts";
import { UnixSocket } from "../../../src/io/unix_socket.ts";
import { type DataPlaneKind, Server } from "../../../mod.ts";
import {
  Frontend,
  WANTED_PROTOCOL_FEATURES,
} from "../../../src/vhost_user/frontend.ts";
import {
  protocolBit,
  VHOST_USER_PROTOCOL_F,
} from "../../../src/vhost_user/protocol.ts";

/** What a front-end negotiates that moves its guest. */
export const MOVING_FEATURES: bigint = WANTED_PROTOCOL_FEATURES |
  protocolBit(VHOST_USER_PROTOCOL_F.DEVICE_STATE);

/** An image of zeros that is gone at the end of its block. */
export class Image implements Disposable {
  /** Where it is. */
  readonly path: string = Deno.makeTempFileSync({ prefix: "ringside-image-" });

  /** Of `size` bytes. */
  constructor(size: number) {
    Deno.truncateSync(this.path, size);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path);
  }
}

/** A back-end and the connection to it. */
export class Home implements AsyncDisposable {
  /** The connection; who takes it over closes it. */
  readonly frontend: Frontend;
  readonly #served: Promise<void>;

  private constructor(frontend: Frontend, served: Promise<void>) {
    this.frontend = frontend;
    this.#served = served;
  }

  /** Serves `device`, which is closed in the end. */
  static async open(device: Device, dataPlane: DataPlaneKind): Promise<Home> {
    const [ours, theirs] = UnixSocket.pair();
    const fd = theirs.fd.release();
    const server = await Server.open("home", device, { fd, dataPlane });
    const frontend = Frontend.fromSocket(ours);
    frontend.timeoutMs = 20_000;
    return new Home(frontend, server.run());
  }

  /** Hangs up, and resolves when the back-end has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.frontend[Symbol.dispose]();
    await this.#served;
  }
}
