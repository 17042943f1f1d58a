/**
 * A vhost-user front-end: what a virtual machine monitor says to a back-end.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import { Reactor } from "../io/reactor.ts";
import { UnixListener, UnixSocket } from "../io/unix_socket.ts";
import type { Message } from "./channel.ts";
import { CryptoRequests } from "./frontend_crypto.ts";
import { NackError } from "./frontend_errors.ts";
import type { BackendHandlers } from "./frontend_handlers.ts";
import { InflightRequests } from "./frontend_inflight.ts";
import { IotlbRequests } from "./frontend_iotlb.ts";
import { type BorrowedFd, FrontendLink } from "./frontend_link.ts";
import { FrontendListener } from "./frontend_listener.ts";
import { MigrationRequests } from "./frontend_migration.ts";
import { NetworkRequests } from "./frontend_network.ts";
import { PostcopyRequests } from "./frontend_postcopy.ts";
import { FrontendRequests } from "./frontend_requests.ts";
import {
  connectWithin,
  negotiate,
  type Negotiated,
  type NegotiateOptions,
  setVring,
  type SharedRegion,
  shareMemory,
  type VringSetup,
} from "./frontend_setup.ts";
import { SharingRequests } from "./frontend_sharing.ts";
import {
  configHeader,
  encodeConfig,
  encodeMemoryTable,
  type MemoryRegion,
  singleMemoryRegion,
  u64,
  type VringAddress,
  vringAddress,
  vringFd,
  vringState,
} from "./message.ts";
import { VHOST_USER, VHOST_USER_PROTOCOL_F } from "./protocol.ts";

export {
  HangUpError,
  NackError,
  RequestTimeoutError,
} from "./frontend_errors.ts";
export type { BorrowedFd } from "./frontend_link.ts";
export {
  type Negotiated,
  type NegotiateOptions,
  type SharedRegion,
  type VringSetup,
  WANTED_PROTOCOL_FEATURES,
} from "./frontend_setup.ts";

/** ACKNOWLEDGE, DRIVER, DRIVER_OK and FEATURES_OK, virtio 1.3 §2.1. */
const DRIVER_OK = 0x0f;

/**
 * One connection to a back-end. Requests are sent in the order of the calls;
 * each method resolves when the back-end has answered, or, where REPLY_ACK was
 * not negotiated and the request has no reply, when it is sent.
 *
 * Methods reject with a {@linkcode NackError} where the back-end says no, with a
 * {@linkcode HangUpError} where it is gone, with a
 * {@linkcode RequestTimeoutError} where it takes longer than `timeoutMs`, with a
 * ProtocolError where it answers nonsense, and with a SystemError where the
 * socket fails.
 *
 * What any device may be asked is here; what takes a feature of its own is by
 * topic, as `frontend.migration.setLogBase`. Nothing checks that the feature was
 * negotiated: that is the back-end's part, and may be what is tested.
 *
 * @example A back-end in this process
 * ```ts
 * import { completeOptions, devices, Server } from "@ringside/ringside";
 * import { Frontend, UnixSocket } from "@ringside/ringside/vhost-user";
 * import { assertEquals } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * const device = await devices.block.open(
 *   completeOptions(devices.block.options, { "blk-null": 1 << 20 }),
 * );
 * const fd = theirs.fd.release();
 * const server = await Server.open("disk", device, { fd, dataPlane: "inline" });
 * const served = server.run();
 * {
 *   using frontend = Frontend.fromSocket(ours); // or Frontend.connect(path)
 *   frontend.timeoutMs = 10_000;
 *   await frontend.negotiate();
 *   assertEquals((await frontend.getConfig(0, 8)).length, 8);
 * }
 * await served;
 * ```
 */
export class Frontend implements Disposable {
  /** SET_LOG_BASE, SET_LOG_FD, SET_DEVICE_STATE_FD, CHECK_DEVICE_STATE. */
  readonly migration: MigrationRequests;
  /** GET_INFLIGHT_FD, SET_INFLIGHT_FD. */
  readonly inflight: InflightRequests;
  /** IOTLB_MSG. */
  readonly iotlb: IotlbRequests;
  /** SEND_RARP, NET_SET_MTU. */
  readonly network: NetworkRequests;
  /** POSTCOPY_ADVISE, POSTCOPY_LISTEN, POSTCOPY_END. */
  readonly postcopy: PostcopyRequests;
  /** GET_SHARED_OBJECT, GET_SHMEM_CONFIG, GPU_SET_SOCKET. */
  readonly sharing: SharingRequests;
  /** CREATE_CRYPTO_SESSION, CLOSE_CRYPTO_SESSION. */
  readonly crypto: CryptoRequests;
  readonly #link: FrontendLink;
  readonly #reactor: Reactor;
  #requests: FrontendRequests | null = null;

  private constructor(socket: UnixSocket, reactor: Reactor) {
    const link = new FrontendLink(socket, reactor);
    this.#link = link;
    this.#reactor = reactor;
    this.migration = new MigrationRequests(link, reactor);
    this.inflight = new InflightRequests(link);
    this.iotlb = new IotlbRequests(link);
    this.network = new NetworkRequests(link);
    this.postcopy = new PostcopyRequests(link);
    this.sharing = new SharingRequests(link);
    this.crypto = new CryptoRequests(link);
  }

  /** Connects to the back-end that listens at `path`. Throws a SystemError. */
  static connect(path: string, reactor: Reactor = Reactor.main): Frontend {
    return new Frontend(UnixSocket.connect(path), reactor);
  }

  /**
   * Connects as soon as there is a back-end that listens at `path`, as one that
   * is being started. Rejects with a SystemError where there is none within
   * `timeoutMs` milliseconds, or where the path is wrong.
   */
  static async connectWithin(
    path: string,
    timeoutMs: number,
    reactor: Reactor = Reactor.main,
  ): Promise<Frontend> {
    return new Frontend(await connectWithin(path, timeoutMs), reactor);
  }

  /**
   * Listens at `path` for back-ends that connect by themselves. Throws a
   * SystemError.
   */
  static listen(
    path: string,
    reactor: Reactor = Reactor.main,
  ): FrontendListener {
    return new FrontendListener(
      UnixListener.bind(path),
      reactor,
      (socket) => new Frontend(socket, reactor),
    );
  }

  /** Takes over a connected `socket`. */
  static fromSocket(
    socket: UnixSocket,
    reactor: Reactor = Reactor.main,
  ): Frontend {
    return new Frontend(socket, reactor);
  }

  /** The protocol features that were negotiated. */
  get protocolFeatures(): bigint {
    return this.#link.protocolFeatures;
  }

  /** Milliseconds that a request may take; without end by default. */
  get timeoutMs(): number {
    return this.#link.timeoutMs;
  }

  /** From the next request on. */
  set timeoutMs(timeoutMs: number) {
    this.#link.timeoutMs = timeoutMs;
  }

  /** Whether protocol feature number `feature` was negotiated. */
  hasProtocolFeature(feature: number): boolean {
    return this.#link.has(feature);
  }

  /** Takes ownership and agrees on features, as far as memory and rings. */
  negotiate(options: NegotiateOptions = {}): Promise<Negotiated> {
    return negotiate(this, options);
  }

  /** Sets up, starts and enables vring `index`. */
  setVring(index: number, setup: VringSetup): Promise<void> {
    return setVring(this, index, setup);
  }

  /** GET_FEATURES: what is offered. */
  getFeatures(): Promise<bigint> {
    return this.#link.getU64(VHOST_USER.GET_FEATURES);
  }

  /** SET_FEATURES. */
  setFeatures(features: bigint): Promise<void> {
    return this.#link.setU64(VHOST_USER.SET_FEATURES, features);
  }

  /** GET_PROTOCOL_FEATURES: what is offered. */
  getProtocolFeatures(): Promise<bigint> {
    return this.#link.getU64(VHOST_USER.GET_PROTOCOL_FEATURES);
  }

  /** SET_PROTOCOL_FEATURES. Acknowledged only where REPLY_ACK was on before. */
  async setProtocolFeatures(features: bigint): Promise<void> {
    await this.#link.setU64(VHOST_USER.SET_PROTOCOL_FEATURES, features);
    this.#link.protocolFeatures = features;
  }

  /** SET_OWNER. */
  setOwner(): Promise<void> {
    return this.command(VHOST_USER.SET_OWNER);
  }

  /** RESET_OWNER: disables the rings. */
  resetOwner(): Promise<void> {
    return this.command(VHOST_USER.RESET_OWNER);
  }

  /** SET_MEM_TABLE: these regions, at most 8, instead of all before. */
  setMemTable(regions: readonly SharedRegion[]): Promise<void> {
    return this.command(
      VHOST_USER.SET_MEM_TABLE,
      encodeMemoryTable(regions),
      regions.map((region) => region.fd),
    );
  }

  /**
   * Shares `regions` with a back-end that has none: by SET_MEM_TABLE, or one by
   * one where they are more than that takes. Rejects with a RangeError where
   * they are too many for the back-end.
   */
  shareMemory(regions: readonly SharedRegion[]): Promise<void> {
    return shareMemory(this, regions);
  }

  /** GET_MAX_MEM_SLOTS: how many regions there can be. */
  async getMaxMemSlots(): Promise<number> {
    return Number(await this.#link.getU64(VHOST_USER.GET_MAX_MEM_SLOTS));
  }

  /** ADD_MEM_REG: one region more. */
  addMemReg(region: SharedRegion): Promise<void> {
    const payload = singleMemoryRegion.encode(region);
    return this.command(VHOST_USER.ADD_MEM_REG, payload, [region.fd]);
  }

  /** REM_MEM_REG: one region less. */
  removeMemReg(region: MemoryRegion): Promise<void> {
    const payload = singleMemoryRegion.encode(region);
    return this.command(VHOST_USER.REM_MEM_REG, payload);
  }

  /** SET_VRING_NUM: the size of a vring. */
  setVringNum(index: number, size: number): Promise<void> {
    return this.#setState(VHOST_USER.SET_VRING_NUM, index, size);
  }

  /** SET_VRING_ADDR: where the areas of a vring are, in user addresses. */
  setVringAddr(address: VringAddress): Promise<void> {
    const payload = vringAddress.encode(address);
    return this.command(VHOST_USER.SET_VRING_ADDR, payload);
  }

  /** SET_VRING_BASE: the next available index. */
  setVringBase(index: number, base: number): Promise<void> {
    return this.#setState(VHOST_USER.SET_VRING_BASE, index, base);
  }

  /** GET_VRING_BASE: drains and stops a vring; its next available index. */
  getVringBase(index: number): Promise<number> {
    return this.#takeBase(VHOST_USER.GET_VRING_BASE, index);
  }

  /**
   * GET_VRING_BASE_SKIP_DRAIN: stops a vring with requests in flight, which the
   * inflight area tells of. Needs GET_VRING_BASE_SKIP_DRAIN.
   */
  getVringBaseSkipDrain(index: number): Promise<number> {
    return this.#takeBase(VHOST_USER.GET_VRING_BASE_SKIP_DRAIN, index);
  }

  /** SET_VRING_KICK: starts a vring; null means that it is polled. */
  setVringKick(index: number, fd: BorrowedFd | null): Promise<void> {
    return this.#setFd(VHOST_USER.SET_VRING_KICK, index, fd);
  }

  /** SET_VRING_CALL; null means that the driver polls. */
  setVringCall(index: number, fd: BorrowedFd | null): Promise<void> {
    return this.#setFd(VHOST_USER.SET_VRING_CALL, index, fd);
  }

  /** SET_VRING_ERR; null for none. */
  setVringErr(index: number, fd: BorrowedFd | null): Promise<void> {
    return this.#setFd(VHOST_USER.SET_VRING_ERR, index, fd);
  }

  /** SET_VRING_ENABLE. */
  setVringEnable(index: number, enabled: boolean): Promise<void> {
    const num = enabled ? 1 : 0;
    return this.#setState(VHOST_USER.SET_VRING_ENABLE, index, num);
  }

  /** SET_VRING_ENDIAN: the byte order of a legacy vring. Needs CROSS_ENDIAN. */
  setVringEndian(index: number, order: "little" | "big"): Promise<void> {
    const num = order === "big" ? 1 : 0;
    return this.#setState(VHOST_USER.SET_VRING_ENDIAN, index, num);
  }

  /** VRING_KICK: a kick as a message. Needs INBAND_NOTIFICATIONS. */
  vringKick(index: number): Promise<void> {
    return this.#setState(VHOST_USER.VRING_KICK, index, 0);
  }

  /** GET_QUEUE_NUM: how many vrings there are. */
  async getQueueNum(): Promise<number> {
    return Number(await this.#link.getU64(VHOST_USER.GET_QUEUE_NUM));
  }

  /**
   * GET_CONFIG: `size` bytes of the config space. Rejects with a NackError
   * where the range is bad.
   */
  async getConfig(offset: number, size: number): Promise<Uint8Array> {
    const request = VHOST_USER.GET_CONFIG;
    const payload = encodeConfig(offset, 0, new Uint8Array(size));
    const reply = await this.request(request, payload);
    if (reply.length === 0) throw new NackError(request, 1n);
    if (reply.length !== payload.length) {
      throw new ProtocolError(
        `GET_CONFIG was answered by ${reply.length} bytes, wanted ` +
          `${payload.length}`,
      );
    }
    return reply.slice(configHeader.size);
  }

  /** SET_CONFIG: writes to the config space. */
  setConfig(offset: number, bytes: Uint8Array, flags = 0): Promise<void> {
    const payload = encodeConfig(offset, flags, bytes);
    return this.command(VHOST_USER.SET_CONFIG, payload);
  }

  /** RESET_DEVICE. */
  resetDevice(): Promise<void> {
    return this.command(VHOST_USER.RESET_DEVICE);
  }

  /** SET_STATUS: the device status, virtio 1.3 §2.1. */
  setStatus(status: number): Promise<void> {
    return this.#link.setU64(VHOST_USER.SET_STATUS, BigInt(status));
  }

  /**
   * Tells the device that its driver is ready, once the rings are started: sets
   * the status up to DRIVER_OK. Sends nothing where STATUS was not negotiated.
   */
  async driverOk(): Promise<void> {
    if (!this.hasProtocolFeature(VHOST_USER_PROTOCOL_F.STATUS)) return;
    await this.setStatus(DRIVER_OK);
  }

  /** GET_STATUS. */
  async getStatus(): Promise<number> {
    return Number(await this.#link.getU64(VHOST_USER.GET_STATUS));
  }

  /**
   * SET_BACKEND_REQ_FD: opens the second socket, on which the back-end asks
   * `handlers`. Needs BACKEND_REQ.
   */
  async listenToBackend(handlers: BackendHandlers): Promise<void> {
    const [ours, theirs] = UnixSocket.pair();
    this.#requests?.[Symbol.dispose]();
    this.#requests = new FrontendRequests(ours, this.#reactor, handlers);
    try {
      const request = VHOST_USER.SET_BACKEND_REQ_FD;
      await this.command(request, undefined, [theirs.fd]);
    } finally {
      theirs[Symbol.dispose]();
    }
  }

  /**
   * Sends a request that has no reply of its own. With REPLY_ACK waits for the
   * acknowledgement.
   */
  command(
    request: number,
    payload?: Uint8Array,
    fds?: readonly BorrowedFd[],
  ): Promise<void> {
    return this.#link.command(request, payload, fds);
  }

  /** Sends a request that has a reply of its own; the payload of the reply. */
  request(
    request: number,
    payload?: Uint8Array,
    fds?: readonly BorrowedFd[],
  ): Promise<Uint8Array> {
    return this.#link.request(request, payload, fds);
  }

  /** Sends a message as it is, waiting for nothing; `flags` are added to the version. */
  send(
    request: number,
    payload?: Uint8Array,
    fds?: readonly BorrowedFd[],
    flags?: number,
  ): Promise<void> {
    return this.#link.send(request, payload, fds, flags);
  }

  /** Sends any bytes, for tests of a back-end. */
  sendRaw(
    bytes: Uint8Array<ArrayBuffer>,
    fds?: readonly BorrowedFd[],
  ): Promise<void> {
    return this.#link.sendRaw(bytes, fds);
  }

  /** The next message of the back-end, or null where it hung up; for tests. */
  receive(): Promise<Message | null> {
    return this.#link.receive();
  }

  /**
   * The descriptor of the connection, for who blocks and would see its end
   * there; it stays this one's, and is -1 once disposed.
   */
  get fd(): number {
    return this.#link.fd;
  }

  /**
   * Resolves when the back-end hung up or died. Rejects with a CancelledError
   * when this connection is disposed before.
   */
  hungUp(): Promise<void> {
    return this.#link.hungUp();
  }

  /** Hangs up. */
  [Symbol.dispose](): void {
    this.#requests?.[Symbol.dispose]();
    this.#link[Symbol.dispose]();
  }

  async #takeBase(request: number, index: number): Promise<number> {
    const payload = vringState.encode({ index, num: 0 });
    const reply = await this.request(request, payload);
    const state = vringState.decode(reply);
    if (state.index === index) return state.num;
    throw new NackError(request, u64.decode(reply).value);
  }

  #setState(request: number, index: number, num: number): Promise<void> {
    return this.command(request, vringState.encode({ index, num }));
  }

  #setFd(
    request: number,
    index: number,
    fd: BorrowedFd | null,
  ): Promise<void> {
    const noFd = fd === null;
    const payload = vringFd.encode({ index: BigInt(index), noFd });
    return this.command(request, payload, noFd ? [] : [fd]);
  }
}
