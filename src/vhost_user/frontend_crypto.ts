/**
 * What a front-end says to a crypto device.
 *
 * @module
 */
import type { FrontendLink } from "./frontend_link.ts";
import { u64 } from "./message.ts";
import { VHOST_USER } from "./protocol.ts";

/**
 * Requests for crypto devices only. Both need CRYPTO_SESSION.
 *
 * @example What is sent
 * ```ts
 * import { Frontend, UnixSocket } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * using _backend = theirs;
 * using frontend = Frontend.fromSocket(ours);
 * await frontend.crypto.closeSession(7n);
 * assertEquals(theirs.receive(new Uint8Array(64)).size, 20);
 * ```
 */
export class CryptoRequests {
  readonly #link: FrontendLink;

  /** Over `link`. */
  constructor(link: FrontendLink) {
    this.#link = link;
  }

  /**
   * CREATE_CRYPTO_SESSION: the session that `description` asks for. Both are
   * the bytes of a crypto session description, whose layout the two ends agree
   * on; in the answer the id of the session is filled in, negative where there
   * is no session.
   */
  createSession(description: Uint8Array): Promise<Uint8Array> {
    return this.#link.request(VHOST_USER.CREATE_CRYPTO_SESSION, description);
  }

  /** CLOSE_CRYPTO_SESSION, by its id. */
  closeSession(id: bigint): Promise<void> {
    const payload = u64.encode({ value: BigInt.asUintN(64, id) });
    return this.#link.command(VHOST_USER.CLOSE_CRYPTO_SESSION, payload);
  }
}
