/**
 * What a front-end says about memory and sockets that are no guest memory:
 * shared objects, shared memory regions, the socket of a display.
 *
 * @module
 */
import type { Fd } from "../io/fd.ts";
import { closeFds } from "./channel.ts";
import { NackError } from "./frontend_errors.ts";
import type { BorrowedFd, FrontendLink } from "./frontend_link.ts";
import {
  decodeSharedMemoryConfig,
  SHARED_OBJECT_SIZE,
  SHMEM_CONFIG_SIZE,
} from "./message.ts";
import { VHOST_USER } from "./protocol.ts";

/**
 * Requests about what else is shared.
 *
 * @example A back-end with one shared memory region
 * ```ts
 * import {
 *   encodeMessage,
 *   encodeSharedMemoryConfig,
 *   Frontend,
 *   UnixSocket,
 *   VHOST_USER,
 * } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * using _backend = theirs;
 * using frontend = Frontend.fromSocket(ours);
 * const asked = frontend.sharing.getMemorySizes();
 * const answer = encodeSharedMemoryConfig([4096]);
 * theirs.send(encodeMessage(VHOST_USER.GET_SHMEM_CONFIG, 5, answer));
 * assertEquals((await asked)[0], 4096);
 * ```
 */
export class SharingRequests {
  readonly #link: FrontendLink;

  /** Over `link`. */
  constructor(link: FrontendLink) {
    this.#link = link;
  }

  /**
   * GET_SHARED_OBJECT: the dma-buf that the back-end exports under a UUID of 16
   * bytes, which is the caller's, or null where there is none. Needs
   * SHARED_OBJECT.
   */
  async getObject(uuid: Uint8Array): Promise<Fd | null> {
    if (uuid.length !== SHARED_OBJECT_SIZE) {
      throw new RangeError(`A UUID of ${uuid.length} bytes, wanted one of 16`);
    }
    const request = VHOST_USER.GET_SHARED_OBJECT;
    const reply = await this.#link.requestMessage(request, uuid);
    const [fd] = reply.fds.splice(0, 1);
    closeFds(reply.fds);
    return fd ?? null;
  }

  /**
   * GET_SHMEM_CONFIG: the sizes in bytes of the shared memory regions, by their
   * ids; 0 where there is none. Needs SHMEM.
   */
  async getMemorySizes(): Promise<number[]> {
    const request = VHOST_USER.GET_SHMEM_CONFIG;
    const reply = await this.#link.request(request);
    if (reply.length < SHMEM_CONFIG_SIZE) throw new NackError(request, 1n);
    return decodeSharedMemoryConfig(reply);
  }

  /** GPU_SET_SOCKET: where a graphics card finds its display. Stays the caller's. */
  setGpuSocket(socket: BorrowedFd): Promise<void> {
    return this.#link.command(VHOST_USER.GPU_SET_SOCKET, undefined, [socket]);
  }
}
