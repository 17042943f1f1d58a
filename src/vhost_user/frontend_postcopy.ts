/**
 * What a front-end says for postcopy: a guest that runs before its memory has
 * arrived, whose missing pages are fetched as they are touched.
 *
 * @module
 */
import type { Fd } from "../io/fd.ts";
import { closeFds } from "./channel.ts";
import { NackError } from "./frontend_errors.ts";
import type { BorrowedFd, FrontendLink } from "./frontend_link.ts";
import {
  decodeMemoryTable,
  encodeMemoryTable,
  type MemoryRegion,
  u64,
} from "./message.ts";
import { VHOST_USER } from "./protocol.ts";

/**
 * Requests for postcopy. All need PAGEFAULT.
 *
 * @example What is sent
 * ```ts
 * import { Frontend, UnixSocket } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * using _backend = theirs;
 * using frontend = Frontend.fromSocket(ours);
 * await frontend.postcopy.listen();
 * assertEquals(theirs.receive(new Uint8Array(64)).size, 12);
 * ```
 */
export class PostcopyRequests {
  readonly #link: FrontendLink;

  /** Over `link`. */
  constructor(link: FrontendLink) {
    this.#link = link;
  }

  /** POSTCOPY_ADVISE: the userfaultfd of the back-end, which is the caller's. */
  async advise(): Promise<Fd> {
    const request = VHOST_USER.POSTCOPY_ADVISE;
    const reply = await this.#link.requestMessage(request);
    const [fd] = reply.fds.splice(0, 1);
    closeFds(reply.fds);
    if (fd !== undefined) return fd;
    const value = reply.payload.length < u64.size
      ? 1n
      : u64.decode(reply.payload).value;
    throw new NackError(request, value);
  }

  /** POSTCOPY_LISTEN: from now on memory that is shared may fault. */
  listen(): Promise<void> {
    return this.#link.command(VHOST_USER.POSTCOPY_LISTEN);
  }

  /**
   * SET_MEM_TABLE after `listen`: the regions with the addresses that they have
   * in the back-end, where the userfaultfd will tell of faults. The back-end
   * touches no memory before `memoryIsReady`.
   */
  async setMemTable(
    regions: readonly (MemoryRegion & { readonly fd: BorrowedFd })[],
  ): Promise<MemoryRegion[]> {
    const fds = regions.map((region) => region.fd);
    const payload = encodeMemoryTable(regions);
    return decodeMemoryTable(
      await this.#link.request(VHOST_USER.SET_MEM_TABLE, payload, fds),
    );
  }

  /** The acknowledgement of what `setMemTable` answered: an empty SET_MEM_TABLE. */
  memoryIsReady(): Promise<void> {
    return this.#link.send(VHOST_USER.SET_MEM_TABLE);
  }

  /** POSTCOPY_END: all memory has arrived; the userfaultfd is closed. */
  async end(): Promise<void> {
    const request = VHOST_USER.POSTCOPY_END;
    const value = await this.#link.getU64(request);
    if (value !== 0n) throw new NackError(request, value);
  }
}
