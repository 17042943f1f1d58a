/**
 * What a front-end does when the back-end asks it for something.
 *
 * @module
 */
import type { Fd } from "../io/fd.ts";
import type { BorrowedFd } from "./frontend_link.ts";
import type { IotlbMessage, SharedMemoryMap } from "./message.ts";

/** Where a device can be kicked without an eventfd: a page of its hardware. */
export interface HostNotifier {
  /** The vring. */
  readonly index: number;
  /** Bytes of the area: a page. */
  readonly size: number;
  /** Where the area starts in `fd`. */
  readonly offset: number;
  /** What to map, which is the handler's now; null: unmap what was there. */
  readonly fd: Fd | null;
}

/** What a handler answers with: nothing, be it later. */
export type Done = Promise<void> | void;

/**
 * One method a request of the back-end. A request whose method is missing, or
 * throws, is refused: the back-end hears of it where it asked for an answer.
 * They run one after the other; the back-end may wait for its answer before it
 * serves the main socket, so a handler doesn't wait for a request of its own.
 */
export interface BackendHandlers {
  /** IOTLB_MSG: a mapping is missing, or an access was not allowed. */
  iotlb?(message: IotlbMessage): Done;
  /** CONFIG_CHANGE_MSG: the config space is to be read anew. */
  configChanged?(): Done;
  /** VRING_HOST_NOTIFIER_MSG. */
  hostNotifier?(notifier: HostNotifier): Done;
  /** VRING_CALL: there are used buffers. In-band notifications only. */
  vringCall?(index: number): Done;
  /** VRING_ERR: the vring is broken. In-band notifications only. */
  vringErr?(index: number): Done;
  /** SHARED_OBJECT_ADD: the back-end exports a dma-buf under a UUID of 16 bytes. */
  sharedObjectAdd?(uuid: Uint8Array): Done;
  /** SHARED_OBJECT_REMOVE: it does not any more. */
  sharedObjectRemove?(uuid: Uint8Array): Done;
  /**
   * SHARED_OBJECT_LOOKUP: the dma-buf that anybody exports under a UUID, which
   * stays the handler's, or null where nobody does.
   */
  sharedObjectLookup?(
    uuid: Uint8Array,
  ): Promise<BorrowedFd | null> | BorrowedFd | null;
  /** SHMEM_MAP: shows a part of `fd`, which is the handler's now, to the guest. */
  sharedMemoryMap?(map: SharedMemoryMap, fd: Fd): Done;
  /** SHMEM_UNMAP: takes it away. */
  sharedMemoryUnmap?(map: SharedMemoryMap): Done;
}
