/**
 * The shared memory in which a back-end notes the requests that it has taken
 * and not given back: what a front-end keeps for the next back-end when this
 * one dies.
 *
 * @module
 */
import type { Fd } from "../io/fd.ts";
import { closeFds } from "./channel.ts";
import { NackError } from "./frontend_errors.ts";
import type { FrontendLink } from "./frontend_link.ts";
import { type InflightDescription, inflightDescription } from "./message.ts";
import { VHOST_USER } from "./protocol.ts";

/**
 * A buffer as a back-end made it. Owns its descriptor.
 *
 * @example Made by a back-end, handed over to it
 * ```ts
 * import { completeOptions, devices, Server } from "@ringside/ringside";
 * import {
 *   Frontend,
 *   protocolBits,
 *   UnixSocket,
 *   VHOST_USER_PROTOCOL_F,
 * } from "@ringside/ringside/vhost-user";
 * import { assert } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * const device = await devices.block.open(
 *   completeOptions(devices.block.options, { "blk-null": 1 << 20 }),
 * );
 * const fd = theirs.fd.release();
 * const server = await Server.open("disk", device, { fd, dataPlane: "inline" });
 * const served = server.run();
 * {
 *   using frontend = Frontend.fromSocket(ours);
 *   const { REPLY_ACK, INFLIGHT_SHMFD } = VHOST_USER_PROTOCOL_F;
 *   await frontend.negotiate({
 *     protocolFeatures: protocolBits([REPLY_ACK, INFLIGHT_SHMFD]),
 *   });
 *   using buffer = await frontend.inflight.getFd(1, 256);
 *   assert(buffer !== null && buffer.description.mmapSize >= 256 * 16);
 *   // Here, or to the next back-end after this one died:
 *   await frontend.inflight.setFd(buffer);
 * }
 * await served;
 * ```
 */
export class InflightBuffer implements Disposable {
  /** What to hand over to the next back-end, byte for byte. */
  readonly description: InflightDescription;
  /** The shared memory. */
  readonly fd: Fd;

  /** Takes over `fd`. */
  constructor(description: InflightDescription, fd: Fd) {
    this.description = description;
    this.fd = fd;
  }

  /** Closes the descriptor. */
  [Symbol.dispose](): void {
    this.fd.close();
  }
}

/**
 * Requests for inflight tracking. All need INFLIGHT_SHMFD.
 *
 * @example A back-end that wants none
 * ```ts
 * import {
 *   encodeMessage,
 *   Frontend,
 *   inflightDescription,
 *   UnixSocket,
 *   VHOST_USER,
 * } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * using _backend = theirs;
 * using frontend = Frontend.fromSocket(ours);
 * const asked = frontend.inflight.getFd(1, 256);
 * const none = { mmapSize: 0, mmapOffset: 0, queueCount: 1, queueSize: 256 };
 * const answer = inflightDescription.encode(none);
 * theirs.send(encodeMessage(VHOST_USER.GET_INFLIGHT_FD, 5, answer));
 * assertEquals(await asked, null);
 * ```
 */
export class InflightRequests {
  readonly #link: FrontendLink;

  /** Over `link`. */
  constructor(link: FrontendLink) {
    this.#link = link;
  }

  /**
   * GET_INFLIGHT_FD: a new buffer for `queueCount` rings of up to `queueSize`
   * entries, or null where the back-end wants none.
   */
  async getFd(
    queueCount: number,
    queueSize: number,
  ): Promise<InflightBuffer | null> {
    const request = VHOST_USER.GET_INFLIGHT_FD;
    const reply = await this.#link.requestMessage(
      request,
      inflightDescription.encode({
        mmapSize: 0,
        mmapOffset: 0,
        queueCount,
        queueSize,
      }),
    );
    try {
      // A refusal of ours is a number; those of others are empty.
      if (reply.payload.length < inflightDescription.size) {
        throw new NackError(request, 1n);
      }
      const description = inflightDescription.decode(reply.payload);
      if (description.mmapSize === 0) return null;
      const [fd] = reply.fds.splice(0, 1);
      if (fd === undefined) throw new NackError(request, 1n);
      return new InflightBuffer(description, fd);
    } finally {
      closeFds(reply.fds);
    }
  }

  /** SET_INFLIGHT_FD: the buffer to use, before the rings start. Stays the caller's. */
  setFd(buffer: InflightBuffer): Promise<void> {
    const payload = inflightDescription.encode(buffer.description);
    return this.#link.command(
      VHOST_USER.SET_INFLIGHT_FD,
      payload,
      [buffer.fd],
    );
  }
}
