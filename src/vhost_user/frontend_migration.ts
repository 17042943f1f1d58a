/**
 * What a front-end says in order to move a guest: the log of dirty pages, and
 * the state of a device.
 *
 * @module
 */
import { ProtocolError, SystemError } from "../errors.ts";
import { EPIPE } from "../ffi/abi.ts";
import { ByteStream } from "../io/byte_stream.ts";
import type { Fd } from "../io/fd.ts";
import { CancelledError, type Reactor } from "../io/reactor.ts";
import { TIMER_MAX_MS } from "../io/timer.ts";
import { closeFds } from "./channel.ts";
import { NackError, RequestTimeoutError } from "./frontend_errors.ts";
import type { BorrowedFd, FrontendLink } from "./frontend_link.ts";
import { deviceStateTransfer, logDescription, u64 } from "./message.ts";
import {
  DEVICE_STATE_DIRECTION,
  DEVICE_STATE_ERROR_MASK,
  DEVICE_STATE_NOFD_MASK,
  DEVICE_STATE_PHASE_STOPPED,
  MAX_DEVICE_STATE_SIZE,
  VHOST_USER,
  VHOST_USER_PROTOCOL_F,
} from "./protocol.ts";

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

const DIRECTIONS: Record<DeviceStateDirection, number> = {
  save: DEVICE_STATE_DIRECTION.SAVE,
  load: DEVICE_STATE_DIRECTION.LOAD,
};
const ERROR_MASK = BigInt(DEVICE_STATE_ERROR_MASK);
const NO_FD = BigInt(DEVICE_STATE_NOFD_MASK);

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
  readonly #reactor: Reactor;

  /** Over `link`; waits for pipes by `reactor`. */
  constructor(link: FrontendLink, reactor: Reactor) {
    this.#link = link;
    this.#reactor = reactor;
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
   * The state of the device, once all rings are stopped: SET_DEVICE_STATE_FD
   * with a pipe that is read to its end, then CHECK_DEVICE_STATE. Needs
   * DEVICE_STATE.
   */
  async saveDeviceState(): Promise<Uint8Array> {
    const { reading, writing } = ByteStream.pipe();
    const state = await this.#transfer("save", reading, writing, (stream) => {
      return stream.readAll(MAX_DEVICE_STATE_SIZE);
    });
    await this.checkDeviceState();
    return state;
  }

  /** Likewise, into a device that is to go on where another one was. */
  async loadDeviceState(state: Uint8Array): Promise<void> {
    const { reading, writing } = ByteStream.pipe();
    const bytes = new Uint8Array(state);
    await this.#transfer("load", writing, reading, async (stream) => {
      try {
        await stream.writeAll(bytes);
      } catch (error) {
        // It reads no further: the check says why.
        if (!(error instanceof SystemError)) throw error;
        if (error.errno !== EPIPE) throw error;
      }
    });
    await this.checkDeviceState();
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
      phase: DEVICE_STATE_PHASE_STOPPED,
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

  /** Does `work` on our end of the channel, in time, and closes it. */
  async #transfer<T>(
    direction: DeviceStateDirection,
    ours: Fd,
    theirs: Fd,
    work: (stream: ByteStream) => Promise<T>,
  ): Promise<T> {
    using own = ours;
    using stream = await this.#openChannel(direction, own, theirs);
    const { timeoutMs } = this.#link;
    if (timeoutMs === Infinity) return await work(stream);
    const timer = setTimeout(
      () => stream[Symbol.dispose](),
      Math.min(timeoutMs, TIMER_MAX_MS),
    );
    try {
      return await work(stream);
    } catch (error) {
      if (!(error instanceof CancelledError)) throw error;
      const request = VHOST_USER.SET_DEVICE_STATE_FD;
      throw new RequestTimeoutError(request, timeoutMs);
    } finally {
      clearTimeout(timer);
    }
  }

  async #openChannel(
    direction: DeviceStateDirection,
    ours: Fd,
    theirs: Fd,
  ): Promise<ByteStream> {
    using fd = theirs;
    const better = await this.setDeviceStateFd(direction, fd);
    if (better === null) return new ByteStream(ours, this.#reactor);
    ours.close();
    try {
      return new ByteStream(better, this.#reactor);
    } catch (cause) {
      better.close();
      throw new ProtocolError(
        "The back-end has no channel for the state of its device: " +
          (cause as Error).message,
        { cause },
      );
    }
  }
}
