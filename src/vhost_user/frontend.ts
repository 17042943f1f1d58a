/**
 * A vhost-user front-end: what a virtual machine monitor says to a back-end.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import type { Fd } from "../io/fd.ts";
import { Reactor } from "../io/reactor.ts";
import { UnixSocket } from "../io/unix_socket.ts";
import { Channel, closeFds, type Message } from "./channel.ts";
import { FrontendRequests } from "./frontend_requests.ts";
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
import {
  protocolBit,
  requestName,
  VHOST_USER,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VHOST_USER_NEED_REPLY_MASK,
  VHOST_USER_PROTOCOL_F,
  VHOST_USER_REPLY_MASK,
  VHOST_USER_VERSION,
} from "./protocol.ts";

const EMPTY = new Uint8Array(0);
const REPLY_FLAGS = VHOST_USER_VERSION | VHOST_USER_REPLY_MASK;

/** The protocol features that {@linkcode Frontend.negotiate} asks for. */
const WANTED_PROTOCOL_FEATURES = [
  VHOST_USER_PROTOCOL_F.MQ,
  VHOST_USER_PROTOCOL_F.REPLY_ACK,
  VHOST_USER_PROTOCOL_F.BACKEND_REQ,
  VHOST_USER_PROTOCOL_F.CONFIG,
  VHOST_USER_PROTOCOL_F.RESET_DEVICE,
  VHOST_USER_PROTOCOL_F.CONFIGURE_MEM_SLOTS,
  VHOST_USER_PROTOCOL_F.STATUS,
].reduce((bits, feature) => bits | protocolBit(feature), 0n);

/** A descriptor to send along; it stays the caller's. */
export type BorrowedFd = Fd | number;

/** A region of memory to share. */
export interface SharedRegion extends MemoryRegion {
  /** What to map: a memfd or a file. Stays the caller's. */
  readonly fd: BorrowedFd;
}

/** Which features to accept. */
export interface NegotiateOptions {
  /** Of the offered virtio features, those to accept; all by default. */
  readonly features?: bigint;
  /** Of the offered protocol features, likewise; those of {@linkcode Frontend} by default. */
  readonly protocolFeatures?: bigint;
}

/** What was agreed on. */
export interface Negotiated {
  /** The virtio features, bit 30 included. */
  readonly features: bigint;
  /** The protocol features. */
  readonly protocolFeatures: bigint;
  /** Rings, as GET_QUEUE_NUM says, or 1 where it can't be asked. */
  readonly queueCount: number;
}

/** How a vring is set up by {@linkcode Frontend.setVring}. */
export interface VringSetup
  extends Omit<VringAddress, "index" | "flags" | "log"> {
  /** Entries. */
  readonly size: number;
  /** The next available index; 0 by default. */
  readonly base?: number;
  /** The kick eventfd; polled without. */
  readonly kick?: BorrowedFd;
  /** The call eventfd; the driver polls without. */
  readonly call?: BorrowedFd;
  /** The err eventfd. */
  readonly err?: BorrowedFd;
}

/** The back-end refused a request. */
export class NackError extends Error {
  /** As of every error of this class. */
  override readonly name = "NackError";
  /** The request that was refused. */
  readonly request: number;
  /** What was answered; 0 would have meant success. */
  readonly value: bigint;

  /** `request` was answered by `value`. */
  constructor(request: number, value: bigint) {
    super(`${requestName(request)} was refused with 0x${value.toString(16)}`);
    this.request = request;
    this.value = value;
  }
}

/**
 * One connection to a back-end. Requests are sent in the order of the calls;
 * each method resolves when the back-end has answered, or, where REPLY_ACK was
 * not negotiated and the request has no reply, when it is sent.
 *
 * Methods reject with a {@linkcode NackError} where the back-end says no, with a
 * ProtocolError where it answers nonsense or hangs up, and with a SystemError
 * where the socket fails.
 */
export class Frontend implements Disposable {
  readonly #channel: Channel;
  readonly #reactor: Reactor;
  #protocolFeatures = 0n;
  #turn: Promise<unknown> = Promise.resolve();
  #requests: FrontendRequests | null = null;

  private constructor(socket: UnixSocket, reactor: Reactor) {
    this.#channel = new Channel(socket, reactor);
    this.#reactor = reactor;
  }

  /** Connects to the back-end that listens at `path`. Throws a SystemError. */
  static connect(path: string, reactor: Reactor = Reactor.main): Frontend {
    return new Frontend(UnixSocket.connect(path), reactor);
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
    return this.#protocolFeatures;
  }

  /** Whether protocol feature number `feature` was negotiated. */
  hasProtocolFeature(feature: number): boolean {
    return (this.#protocolFeatures & protocolBit(feature)) !== 0n;
  }

  /** Takes ownership and agrees on features, as far as memory and rings. */
  async negotiate(options: NegotiateOptions = {}): Promise<Negotiated> {
    const offered = await this.getFeatures();
    let queueCount = 1;
    if ((offered & VHOST_USER_F_PROTOCOL_FEATURES) !== 0n) {
      const wanted = options.protocolFeatures ?? WANTED_PROTOCOL_FEATURES;
      await this.setProtocolFeatures(
        await this.getProtocolFeatures() & wanted,
      );
    }
    if (this.hasProtocolFeature(VHOST_USER_PROTOCOL_F.MQ)) {
      queueCount = await this.getQueueNum();
    }
    await this.setOwner();
    const features = offered &
      ((options.features ?? offered) | VHOST_USER_F_PROTOCOL_FEATURES);
    await this.setFeatures(features);
    const protocolFeatures = this.#protocolFeatures;
    return { features, protocolFeatures, queueCount };
  }

  /** Sets up, starts and enables vring `index`. */
  async setVring(index: number, setup: VringSetup): Promise<void> {
    const { descriptor, available, used } = setup;
    await this.setVringNum(index, setup.size);
    await this.setVringBase(index, setup.base ?? 0);
    await this.setVringAddr({
      index,
      flags: 0,
      descriptor,
      used,
      available,
      log: 0,
    });
    if (setup.err !== undefined) await this.setVringErr(index, setup.err);
    await this.setVringCall(index, setup.call ?? null);
    await this.setVringKick(index, setup.kick ?? null);
    await this.setVringEnable(index, true);
  }

  /** GET_FEATURES: what is offered. */
  getFeatures(): Promise<bigint> {
    return this.#getU64(VHOST_USER.GET_FEATURES);
  }

  /** SET_FEATURES. */
  setFeatures(features: bigint): Promise<void> {
    return this.#setU64(VHOST_USER.SET_FEATURES, features);
  }

  /** GET_PROTOCOL_FEATURES: what is offered. */
  getProtocolFeatures(): Promise<bigint> {
    return this.#getU64(VHOST_USER.GET_PROTOCOL_FEATURES);
  }

  /** SET_PROTOCOL_FEATURES. Acknowledged only where REPLY_ACK was on before. */
  async setProtocolFeatures(features: bigint): Promise<void> {
    await this.#setU64(VHOST_USER.SET_PROTOCOL_FEATURES, features);
    this.#protocolFeatures = features;
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

  /** GET_MAX_MEM_SLOTS: how many regions there can be. */
  async getMaxMemSlots(): Promise<number> {
    return Number(await this.#getU64(VHOST_USER.GET_MAX_MEM_SLOTS));
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
  async getVringBase(index: number): Promise<number> {
    const request = VHOST_USER.GET_VRING_BASE;
    const payload = vringState.encode({ index, num: 0 });
    const reply = await this.request(request, payload);
    const state = vringState.decode(reply);
    if (state.index === index) return state.num;
    throw new NackError(request, u64.decode(reply).value);
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

  /** GET_QUEUE_NUM: how many vrings there are. */
  async getQueueNum(): Promise<number> {
    return Number(await this.#getU64(VHOST_USER.GET_QUEUE_NUM));
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
    return this.#setU64(VHOST_USER.SET_STATUS, BigInt(status));
  }

  /** GET_STATUS. */
  async getStatus(): Promise<number> {
    return Number(await this.#getU64(VHOST_USER.GET_STATUS));
  }

  /**
   * SET_BACKEND_REQ_FD: opens the second socket, on which the back-end can say
   * that the configuration changed.
   */
  async listenToBackend(onConfigChange: () => void): Promise<void> {
    const [ours, theirs] = UnixSocket.pair();
    this.#requests?.[Symbol.dispose]();
    this.#requests = new FrontendRequests(
      ours,
      this.#reactor,
      onConfigChange,
    );
    try {
      await this.command(VHOST_USER.SET_BACKEND_REQ_FD, EMPTY, [theirs.fd]);
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
    payload: Uint8Array = EMPTY,
    fds: readonly BorrowedFd[] = [],
  ): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.hasProtocolFeature(VHOST_USER_PROTOCOL_F.REPLY_ACK)) {
        await this.send(request, payload, fds);
        return;
      }
      await this.send(request, payload, fds, VHOST_USER_NEED_REPLY_MASK);
      const reply = await this.#receive(request);
      const { value } = u64.decode(reply.payload);
      if (value !== 0n) throw new NackError(request, value);
    });
  }

  /** Sends a request that has a reply of its own; the payload of the reply. */
  request(
    request: number,
    payload: Uint8Array = EMPTY,
    fds: readonly BorrowedFd[] = [],
  ): Promise<Uint8Array> {
    return this.#inTurn(async () => {
      // With it the back-end can refuse; without, it can only hang up.
      const replyAck = VHOST_USER_PROTOCOL_F.REPLY_ACK;
      const flags = this.hasProtocolFeature(replyAck)
        ? VHOST_USER_NEED_REPLY_MASK
        : 0;
      await this.send(request, payload, fds, flags);
      return (await this.#receive(request)).payload;
    });
  }

  /** Sends a message as it is, waiting for nothing; `flags` are added to the version. */
  send(
    request: number,
    payload: Uint8Array = EMPTY,
    fds: readonly BorrowedFd[] = [],
    flags = 0,
  ): Promise<void> {
    return this.#channel.send(
      request,
      VHOST_USER_VERSION | flags,
      payload,
      fds,
    );
  }

  /** Sends any bytes, for tests of a back-end. */
  sendRaw(
    bytes: Uint8Array<ArrayBuffer>,
    fds: readonly BorrowedFd[] = [],
  ): Promise<void> {
    return this.#channel.sendRaw(bytes, fds);
  }

  /** The next message of the back-end, or null where it hung up; for tests. */
  receive(): Promise<Message | null> {
    return this.#channel.receive();
  }

  /** Hangs up. */
  [Symbol.dispose](): void {
    this.#requests?.[Symbol.dispose]();
    this.#channel[Symbol.dispose]();
  }

  #getU64(request: number): Promise<bigint> {
    return this.request(request).then((reply) => u64.decode(reply).value);
  }

  #setU64(request: number, value: bigint): Promise<void> {
    return this.command(request, u64.encode({ value }));
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

  async #receive(request: number): Promise<Message> {
    const reply = await this.#channel.receive();
    const name = requestName(request);
    if (reply === null) {
      throw new ProtocolError(
        `The back-end hung up instead of answering ${name}`,
      );
    }
    closeFds(reply.fds);
    // libvhost-user leaves NEED_REPLY of the request set.
    const flags = reply.flags & ~VHOST_USER_NEED_REPLY_MASK;
    if (reply.request !== request || flags !== REPLY_FLAGS) {
      throw new ProtocolError(
        `${name} was answered by ${requestName(reply.request)} with flags ` +
          `0x${reply.flags.toString(16)}, wanted a reply to it with flags 0x5`,
      );
    }
    return reply;
  }

  /** One request at a time, so that each gets its own reply. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }
}
