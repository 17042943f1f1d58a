/**
 * What a front-end says in order to move a guest: the log of dirty pages, and
 * the state of a device.
 *
 * @module
 */
import type { Fd } from "../io/fd.ts";
import { closeFds } from "./channel.ts";
import { NackError } from "./frontend_errors.ts";
import type { BorrowedFd, FrontendLink } from "./frontend_link.ts";
import { deviceStateTransfer, logDescription, u64 } from "./message.ts";
import { VHOST_USER, VHOST_USER_PROTOCOL_F } from "./protocol.ts";

/** Where the log of dirty pages is: a bit for each page of 4096 bytes. */
export interface DirtyLogArea {
  /** What to map. Stays the caller's. */
  readonly fd: BorrowedFd;
  /** Bytes of the log. */
  readonly size: number;
  /** Where it starts in `fd`; 0 by default. */
  readonly offset?: number;
}

/** Which way a device state goes: out of the back-end, or into it. */
export type DeviceStateDirection = "save" | "load";

const DIRECTIONS: Record<DeviceStateDirection, number> = { save: 0, load: 1 };
/** The only phase that there is: all rings are stopped. */
const PHASE_STOPPED = 0;
/** Of the answer to SET_DEVICE_STATE_FD: bits 0 to 7 are an error. */
const ERROR_MASK = 0xffn;
/** Of the same: no descriptor comes along, the front-end's is used. */
const NO_FD = 0x100n;

/**
 * Requests for live migration.
 *
 * @example A log of dirty pages
 * ```ts
 * import { Frontend, UnixSocket } from "@ringside/ringside/vhost-user";
 * import { DriverMemory } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * using _backend = theirs;
 * using frontend = Frontend.fromSocket(ours);
 * using log = DriverMemory.shared(4096); // for 128 MiB of guest memory
 * const { fd, size } = log.regions[0]!;
 * await frontend.migration.setLogBase({ fd: fd!, size });
 * const { fds } = theirs.receive(new Uint8Array(64));
 * assertEquals(fds.length, 1);
 * fds[0]!.close();
 * ```
 */
export class MigrationRequests {
  readonly #link: FrontendLink;

  /** Over `link`. */
  constructor(link: FrontendLink) {
    this.#link = link;
  }

  /**
   * SET_LOG_BASE: the back-end logs there what it writes from the moment that
   * VHOST_F_LOG_ALL is among the features. Needs LOG_SHMFD.
   */
  async setLogBase(area: DirtyLogArea): Promise<void> {
    const request = VHOST_USER.SET_LOG_BASE;
    const { fd, size, offset = 0 } = area;
    const payload = logDescription.encode({ size, offset });
    if (!this.#link.has(VHOST_USER_PROTOCOL_F.LOG_SHMFD)) {
      return await this.#link.command(request, payload, [fd]);
    }
    const reply = await this.#link.request(request, payload, [fd]);
    // The specification wants an answer and does not say which: DPDK's is
    // empty, libvhost-user's is the size that was asked for.
    if (reply.length === 0) return;
    const { value } = u64.decode(reply);
    if (value !== 0n && value !== BigInt(size)) {
      throw new NackError(request, value);
    }
  }

  /** SET_LOG_FD: an eventfd that is signalled when something was logged. */
  setLogFd(fd: BorrowedFd): Promise<void> {
    return this.#link.command(VHOST_USER.SET_LOG_FD, undefined, [fd]);
  }

  /**
   * SET_DEVICE_STATE_FD: the back-end writes its state to the pipe or socket
   * `fd`, or reads it from there, until the end of the stream; all rings are
   * stopped. The descriptor that it would rather use, which then is the
   * caller's, or null where it uses `fd`. Needs DEVICE_STATE.
   */
  async setDeviceStateFd(
    direction: DeviceStateDirection,
    fd: BorrowedFd,
  ): Promise<Fd | null> {
    const request = VHOST_USER.SET_DEVICE_STATE_FD;
    const payload = deviceStateTransfer.encode({
      direction: DIRECTIONS[direction],
      phase: PHASE_STOPPED,
    });
    const reply = await this.#link.requestMessage(request, payload, [fd]);
    try {
      const { value } = u64.decode(reply.payload);
      if ((value & ERROR_MASK) !== 0n) throw new NackError(request, value);
      if ((value & NO_FD) !== 0n) return null;
      const [own] = reply.fds.splice(0, 1);
      if (own === undefined) throw new NackError(request, value);
      return own;
    } finally {
      closeFds(reply.fds);
    }
  }

  /**
   * CHECK_DEVICE_STATE: whether the whole state went over, asked after the end
   * of the stream. Rejects with a NackError where not. Needs DEVICE_STATE.
   */
  async checkDeviceState(): Promise<void> {
    const request = VHOST_USER.CHECK_DEVICE_STATE;
    const value = await this.#link.getU64(request);
    if (value !== 0n) throw new NackError(request, value);
  }
}
