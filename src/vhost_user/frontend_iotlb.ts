/**
 * What a front-end with an IOMMU says: which I/O virtual addresses the device
 * may use.
 *
 * @module
 */
import type { FrontendLink } from "./frontend_link.ts";
import { type IotlbMessage, iotlbMessage } from "./message.ts";
import { VHOST_USER } from "./protocol.ts";

/** `VHOST_IOTLB_*`: what an IOTLB message is. */
export const IOTLB_TYPE = {
  /** The back-end lacks a mapping. */
  MISS: 1,
  /** A mapping. */
  UPDATE: 2,
  /** No mapping any more. */
  INVALIDATE: 3,
  /** The back-end was not allowed an access. */
  ACCESS_FAIL: 4,
} as const;

/** `VHOST_ACCESS_*`: what a mapping allows. */
export const IOTLB_ACCESS = { READ: 1, WRITE: 2, READ_WRITE: 3 } as const;

/** A mapping of I/O virtual addresses. */
export type IotlbMapping = Omit<IotlbMessage, "type">;

/**
 * Requests for an IOTLB. All need VIRTIO_F_ACCESS_PLATFORM.
 *
 * @example A mapping that comes and goes
 * ```ts
 * import { Frontend, UnixSocket } from "@ringside/ringside/vhost-user";
 * import { IOTLB_ACCESS } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * using _backend = theirs;
 * using frontend = Frontend.fromSocket(ours);
 * await frontend.iotlb.update({
 *   iova: 0x1000,
 *   size: 0x1000,
 *   userAddress: 0x7f00_0000_0000,
 *   permissions: IOTLB_ACCESS.READ_WRITE,
 * });
 * await frontend.iotlb.invalidate(0x1000, 0x1000);
 * assertEquals(theirs.receive(new Uint8Array(256)).size, 2 * (12 + 32));
 * ```
 */
export class IotlbRequests {
  readonly #link: FrontendLink;

  /** Over `link`. */
  constructor(link: FrontendLink) {
    this.#link = link;
  }

  /** IOTLB_MSG, update: the device may use `mapping`. */
  update(mapping: IotlbMapping): Promise<void> {
    return this.send({ ...mapping, type: IOTLB_TYPE.UPDATE });
  }

  /** IOTLB_MSG, invalidate: nothing uses the range when this resolves. */
  invalidate(iova: number, size: number): Promise<void> {
    const type = IOTLB_TYPE.INVALIDATE;
    return this.send({ iova, size, userAddress: 0, permissions: 0, type });
  }

  /** IOTLB_MSG of any type. */
  send(message: IotlbMessage): Promise<void> {
    const payload = iotlbMessage.encode(message);
    return this.#link.command(VHOST_USER.IOTLB_MSG, payload);
  }
}
