/**
 * What a front-end says to a network card.
 *
 * @module
 */
import type { FrontendLink } from "./frontend_link.ts";
import { u64 } from "./message.ts";
import { VHOST_USER } from "./protocol.ts";

/**
 * Requests for network cards only.
 *
 * @example What is sent
 * ```ts
 * import { Frontend, UnixSocket } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * using _backend = theirs;
 * using frontend = Frontend.fromSocket(ours);
 * await frontend.network.setMtu(1500);
 * assertEquals(theirs.receive(new Uint8Array(64)).size, 20);
 * ```
 */
export class NetworkRequests {
  readonly #link: FrontendLink;

  /** Over `link`. */
  constructor(link: FrontendLink) {
    this.#link = link;
  }

  /**
   * SEND_RARP: the card is to announce the 6 bytes of `mac` in its network,
   * where the guest can't do it. Needs RARP.
   */
  async sendRarp(mac: Uint8Array): Promise<void> {
    if (mac.length !== 6) {
      throw new RangeError(
        `A MAC address of ${mac.length} bytes, wanted one of 6`,
      );
    }
    const payload = new Uint8Array(u64.size);
    payload.set(mac);
    await this.#link.command(VHOST_USER.SEND_RARP, payload);
  }

  /** NET_SET_MTU: the MTU of the guest in bytes, 68 to 65535. Needs NET_MTU. */
  setMtu(mtu: number): Promise<void> {
    return this.#link.setU64(VHOST_USER.NET_SET_MTU, BigInt(mtu));
  }
}
