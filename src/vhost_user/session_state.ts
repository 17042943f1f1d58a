/**
 * What a session negotiated and set up: features, memory, vrings. The requests
 * of the protocol act on it.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import type { Fd } from "../io/fd.ts";
import type { Reactor } from "../io/reactor.ts";
import { UnixSocket } from "../io/unix_socket.ts";
import { log } from "../log.ts";
import type { LogArea } from "../memory/dirty_log.ts";
import type { MemoryLayout } from "../memory/guest_memory.ts";
import { type MemoryChange, MemoryTable } from "../memory/memory_table.ts";
import type { InflightArea } from "../virtqueue/inflight.ts";
import type { Backend } from "./backend.ts";
import { BackendChannel } from "./backend_channel.ts";
import { DeviceState } from "./device_state.ts";
import {
  type Bridge,
  checkInBand,
  type NoticeKind,
  Notices,
} from "./in_band.ts";
import { createInflight, InflightRegion } from "./inflight_region.ts";
import { IotlbSession } from "./iotlb_session.ts";
import { LogRegion } from "./log_region.ts";
import type {
  DeviceStateTransfer,
  InflightDescription,
  IotlbMessage,
  LogDescription,
  MemoryRegion,
} from "./message.ts";
import { checkNotifier } from "./notifier.ts";
import { ringKind } from "./ring_kind.ts";
import {
  protocolBit,
  protocolBits,
  VHOST_F_LOG_ALL,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VHOST_USER_PROTOCOL_F,
  VIRTIO_F_ACCESS_PLATFORM,
} from "./protocol.ts";
import { Vring, type VringHost } from "./vring.ts";

/** The protocol features that a session serves for every device. */
export const OFFERED_PROTOCOL_FEATURES: bigint = protocolBits([
  VHOST_USER_PROTOCOL_F.MQ,
  VHOST_USER_PROTOCOL_F.LOG_SHMFD,
  VHOST_USER_PROTOCOL_F.REPLY_ACK,
  VHOST_USER_PROTOCOL_F.BACKEND_REQ,
  VHOST_USER_PROTOCOL_F.CONFIG,
  VHOST_USER_PROTOCOL_F.BACKEND_SEND_FD,
  VHOST_USER_PROTOCOL_F.RESET_DEVICE,
  VHOST_USER_PROTOCOL_F.CONFIGURE_MEM_SLOTS,
  VHOST_USER_PROTOCOL_F.STATUS,
]);

/**
 * VIRTIO_F_INDIRECT_DESC and VIRTIO_F_EVENT_IDX. QEMU before 10 lets the guest
 * have these two whether the back-end offered them or not.
 */
const TOLERATED_FEATURES = (1n << 28n) | (1n << 29n);

/** virtio 1.3 §2.1: the driver and the device agree on the features. */
const FEATURES_OK = 8;

/** The state of one session. Failing methods throw a ProtocolError. */
export class SessionState implements VringHost {
  /** Runs the rings. */
  readonly backend: Backend;
  /** What the log calls the device, or "". */
  readonly name: string;
  /** One for each ring of the back-end. */
  readonly vrings: readonly Vring[];
  readonly #reactor: Reactor;
  readonly #memory = new MemoryTable();
  #features: bigint | null = null;
  #protocolFeatures = 0n;
  #status = 0;
  #backendChannel: BackendChannel | null = null;
  readonly #notices: Notices;
  #configChanged = false;
  readonly #iotlb: IotlbSession | null;
  readonly #deviceState: DeviceState;
  #inflight: InflightRegion | null = null;
  #log: LogRegion | null = null;
  #logFd: Fd | null = null;

  /** Nothing negotiated, nothing set up. */
  constructor(backend: Backend, reactor: Reactor, name = "") {
    this.backend = backend;
    this.name = name;
    this.#reactor = reactor;
    this.#notices = new Notices(reactor);
    this.vrings = Array.from(
      { length: backend.queueCount },
      (_, index) => new Vring(index, this),
    );
    this.#deviceState = new DeviceState(backend, reactor);
    const { iotlb } = backend;
    this.#iotlb = iotlb === undefined
      ? null
      : new IotlbSession(iotlb, this.#memory);
  }

  /** The virtio features that are offered, those of the transport included. */
  get offeredFeatures(): bigint {
    return this.backend.features | VHOST_USER_F_PROTOCOL_FEATURES |
      VHOST_F_LOG_ALL;
  }

  /** The protocol features that are offered: some depend on the device. */
  get offeredProtocolFeatures(): bigint {
    const { backend } = this;
    let features = OFFERED_PROTOCOL_FEATURES;
    if (backend.setMtu !== undefined) {
      features |= protocolBit(VHOST_USER_PROTOCOL_F.NET_MTU);
    }
    if (backend.announce !== undefined) {
      features |= protocolBit(VHOST_USER_PROTOCOL_F.RARP);
    }
    if (backend.inBand) {
      features |= protocolBit(VHOST_USER_PROTOCOL_F.INBAND_NOTIFICATIONS);
    }
    if (backend.saveState !== undefined && backend.loadState !== undefined) {
      features |= protocolBit(VHOST_USER_PROTOCOL_F.DEVICE_STATE);
    }
    if (backend.resubmits) {
      features |= protocolBit(VHOST_USER_PROTOCOL_F.INFLIGHT_SHMFD);
    }
    return features;
  }

  /** The negotiated features of device and rings, or null before SET_FEATURES. */
  get features(): bigint | null {
    return this.#features === null ? null : this.#features & ~VHOST_F_LOG_ALL;
  }

  /** Whether rings are behind the front-end's IOMMU. */
  get isVirtual(): boolean {
    return ((this.#features ?? 0n) & VIRTIO_F_ACCESS_PLATFORM) !== 0n;
  }

  /** The device status, virtio 1.3 §2.1. */
  get status(): number {
    return this.#status;
  }

  /** Whether the front-end has shared any memory. */
  get hasMemory(): boolean {
    return this.#memory.layout().regions.length > 0;
  }

  /** Where what vring `index` says becomes messages, or null. */
  bridge(kind: NoticeKind, index: number): Bridge | null {
    return this.hasProtocolFeature(VHOST_USER_PROTOCOL_F.INBAND_NOTIFICATIONS)
      ? this.#notices.bridge(kind, index)
      : null;
  }

  /** Whether protocol feature number `feature` was negotiated. */
  hasProtocolFeature(feature: number): boolean {
    return (this.#protocolFeatures & protocolBit(feature)) !== 0n;
  }

  /**
   * The guest address of a range of user addresses, or -1. Behind an IOMMU
   * rings are told I/O virtual addresses, which the data plane looks up.
   */
  userToGuest(userAddress: number, size: number): number {
    if (this.isVirtual) {
      return Number.isSafeInteger(userAddress + size) ? userAddress : -1;
    }
    return this.#memory.userToGuest(userAddress, size);
  }

  /** Where vring `index` of `size` entries records what is in flight, or null. */
  inflightArea(index: number, size: number): InflightArea | null {
    const kind = ringKind(this.#features ?? 0n);
    return this.#inflight?.area(index, size, kind) ?? null;
  }

  /** GET_INFLIGHT_FD: blank memory for the front-end to keep. */
  createInflight(
    wanted: InflightDescription,
  ): { description: InflightDescription; fd: Fd } {
    const features = this.#features;
    const kind = features === null ? null : ringKind(features);
    return createInflight(wanted, this.backend, kind);
  }

  /** SET_INFLIGHT_FD: rings that start from now on record there. */
  setInflight(description: InflightDescription, fd: Fd): void {
    if (this.vrings.some((vring) => vring.started)) {
      throw new ProtocolError(
        "Rings run, their record of requests in flight can't change: send " +
          "GET_VRING_BASE for each ring first",
      );
    }
    const region = InflightRegion.map(description, fd, this.backend);
    this.#inflight?.[Symbol.dispose]();
    this.#inflight = region;
  }

  /** The vring `index`, whose full width is compared. */
  vring(index: number | bigint): Vring {
    if (index < this.vrings.length) return this.vrings[Number(index)]!;
    throw new ProtocolError(
      `There is no vring ${index}: the device has ${this.vrings.length}`,
    );
  }

  /** SET_FEATURES, with bit 30 or without. */
  async setFeatures(features: bigint): Promise<void> {
    const unknown = features & ~(this.offeredFeatures | TOLERATED_FEATURES);
    if (unknown !== 0n) {
      throw new ProtocolError(
        `The features 0x${unknown.toString(16)} were not offered`,
      );
    }
    const negotiated = features & ~VHOST_USER_F_PROTOCOL_FEATURES;
    if (negotiated !== this.#features) {
      this.#checkLiveChange(negotiated);
      await this.#changeFeatures(negotiated);
    }
    if ((features & VHOST_USER_F_PROTOCOL_FEATURES) === 0n) {
      for (const vring of this.vrings) await vring.setEnabled(true);
    }
    await this.#startVrings();
  }

  /**
   * SET_LOG_BASE: where pages that are written are logged, once LOG_ALL is on.
   * The log before it is in use until then.
   */
  async setLogBase(description: LogDescription, fd: Fd): Promise<void> {
    const log = LogRegion.map(description, fd);
    const before = this.#log;
    try {
      log.checkFor(this.#memory.layout().regions);
      this.#log = log;
      await this.#updateLog();
    } catch (error) {
      this.#log = before;
      await this.#updateLog();
      log[Symbol.dispose]();
      throw error;
    }
    before?.[Symbol.dispose]();
  }

  /** SET_LOG_FD: signalled when something was logged. Takes the descriptor over. */
  async setLogFd(fd: Fd): Promise<void> {
    checkNotifier("log descriptor", fd);
    const before = this.#logFd;
    this.#logFd = fd;
    await this.#updateLog();
    before?.close();
  }

  /** SET_PROTOCOL_FEATURES. */
  setProtocolFeatures(features: bigint): void {
    const unknown = features & ~this.offeredProtocolFeatures;
    if (unknown !== 0n) {
      throw new ProtocolError(
        `The protocol features 0x${unknown.toString(16)} were not offered`,
      );
    }
    checkInBand(features);
    this.#protocolFeatures = features;
  }

  /** SET_MEM_TABLE: these regions instead of all. Takes the descriptors over. */
  setMemoryTable(regions: readonly MemoryRegion[], fds: Fd[]): Promise<void> {
    return this.#changeMemory(this.#memory.replace(regions, fds));
  }

  /** ADD_MEM_REG: one region more. Takes the descriptor over. */
  addMemoryRegion(region: MemoryRegion, fd: Fd): Promise<void> {
    return this.#changeMemory(this.#memory.add(region, fd));
  }

  /** REM_MEM_REG: one region less. */
  removeMemoryRegion(region: MemoryRegion): Promise<void> {
    return this.#changeMemory(this.#memory.remove(region));
  }

  /** SET_BACKEND_REQ_FD. Takes the descriptor over where it is a socket. */
  setBackendChannel(fd: Fd): void {
    const socket = socketOf(fd);
    this.#backendChannel?.[Symbol.dispose]();
    this.#backendChannel = new BackendChannel(
      socket,
      this.#reactor,
      this.hasProtocolFeature(VHOST_USER_PROTOCOL_F.REPLY_ACK),
    );
    if (this.#iotlb !== null) this.#iotlb.channel = this.#backendChannel;
    this.#notices.channel = this.#backendChannel;
  }

  /** IOTLB_MSG: a mapping that comes or goes. */
  async receiveIotlb(message: IotlbMessage): Promise<void> {
    if (this.#iotlb === null || !this.isVirtual) {
      throw new ProtocolError(
        "IOTLB_MSG needs VIRTIO_F_ACCESS_PLATFORM, which was not negotiated",
      );
    }
    await this.#iotlb.receive(message);
  }

  /** GET_VRING_BASE: stops vring `index`; its next available index. */
  async takeBase(index: number): Promise<number> {
    const base = await this.vring(index).takeBase();
    await this.#forgetMappings();
    return base;
  }

  /** SET_STATUS: 0 resets; FEATURES_OK only stays where there are features. */
  async setStatus(status: number): Promise<void> {
    if (status === 0) return await this.#reset(false);
    this.#status = this.#features === null ? status & ~FEATURES_OK : status;
  }

  /** RESET_OWNER: disables the rings and keeps everything else. */
  async disableVrings(): Promise<void> {
    for (const vring of this.vrings) await vring.setEnabled(false);
  }

  /** RESET_DEVICE: blank vrings, no features; memory and sockets stay. */
  async resetDevice(): Promise<void> {
    await this.#reset(true);
  }

  /** SET_DEVICE_STATE_FD. Takes the descriptor over. */
  beginDeviceState(wanted: DeviceStateTransfer, fd: Fd): Promise<void> {
    return this.#deviceState.begin(wanted, fd, this.#isRunning);
  }

  /** CHECK_DEVICE_STATE. */
  checkDeviceState(): Promise<void> {
    return this.#deviceState.check(this.#isRunning);
  }

  /** The device's configuration changed: the front-end is told when it may be. */
  configChanged(): void {
    this.#configChanged = true;
    this.sendConfigChange();
  }

  /**
   * Tells the front-end of a config change that it was not told of, unless all
   * rings are stopped: a suspended device says nothing by itself.
   */
  sendConfigChange(): void {
    const channel = this.#backendChannel;
    if (!this.#configChanged || channel === null) return;
    if (!this.hasProtocolFeature(VHOST_USER_PROTOCOL_F.CONFIG)) return;
    if (!this.vrings.some((vring) => vring.started)) return;
    this.#configChanged = false;
    channel.configChanged();
  }

  /**
   * Drains and stops all rings, then gives the memory and all descriptors
   * back. Where the data plane can't let go of the memory it stays mapped.
   */
  async close(): Promise<void> {
    this.#backendChannel?.[Symbol.dispose]();
    this.#backendChannel = null;
    this.#notices.channel = null;
    this.#iotlb?.close();
    this.#deviceState[Symbol.dispose]();
    try {
      for (const vring of this.vrings) await vring.stop();
      const { generation } = this.#memory.layout();
      await this.backend.setMemory({ generation: generation + 1, regions: [] });
      this.#memory[Symbol.dispose]();
      this.#log?.[Symbol.dispose]();
      this.#log = null;
      this.#inflight?.[Symbol.dispose]();
      this.#inflight = null;
    } finally {
      for (const vring of this.vrings) vring.close();
      this.#logFd?.close();
      this.#logFd = null;
    }
  }

  /** The device hears of all but the log, which is none of its business. */
  async #changeFeatures(features: bigint): Promise<void> {
    const before = this.#features;
    const forDevice = features & ~VHOST_F_LOG_ALL;
    const logBefore = this.#logArea();
    if (before === null || (before & ~VHOST_F_LOG_ALL) !== forDevice) {
      await this.backend.setFeatures(forDevice);
    }
    this.#features = features;
    if (this.#logArea()?.address !== logBefore?.address) {
      await this.#updateLog();
    }
  }

  /** Where the data plane is to log, or null. */
  #logArea(): LogArea | null {
    const features = this.#features ?? 0n;
    if (this.#log === null || (features & VHOST_F_LOG_ALL) === 0n) return null;
    const { address, size } = this.#log;
    return { address, size, eventFd: this.#logFd?.number ?? -1 };
  }

  /**
   * The log is switched on, off or replaced as memory is: requests in flight
   * are done first, so that each is logged as a whole or not at all.
   */
  #updateLog(): Promise<void> {
    return this.backend.setMemory(this.#withLog(this.#memory.layout()));
  }

  #withLog(layout: MemoryLayout): MemoryLayout {
    return { ...layout, log: this.#logArea() };
  }

  get #isRunning(): boolean {
    return this.vrings.some((vring) => vring.started);
  }

  async #reset(forgetBases: boolean): Promise<void> {
    for (const vring of this.vrings) await vring.reset(forgetBases);
    await this.#forgetMappings();
    await this.backend.reset();
    const logged = this.#logArea() !== null;
    this.#features = null;
    if (logged) await this.#updateLog();
    this.#status = 0;
  }

  async #changeMemory(change: MemoryChange): Promise<void> {
    try {
      await this.backend.setMemory(this.#withLog(change.layout));
    } catch (error) {
      // Some thread may have gone over to the new memory. Unless all are back
      // on the old one nothing is unmapped, which is the lesser evil.
      const { regions } = this.#memory.layout();
      const { generation } = change.layout;
      await this.backend.setMemory(this.#withLog({ generation, regions }));
      change.abort();
      throw error;
    }
    change.commit();
    await this.#startVrings();
  }

  /**
   * A front-end tells of no changes while no ring runs, so that mappings could
   * be stale when the next one does.
   */
  async #forgetMappings(): Promise<void> {
    if (!this.isVirtual || this.vrings.some((vring) => vring.started)) return;
    await this.#iotlb?.clear();
  }

  /** Started rings can't change their features, but for the log. */
  #checkLiveChange(features: bigint): void {
    if (!this.vrings.some((vring) => vring.started)) return;
    const changed = (features ^ (this.#features ?? 0n)) & ~VHOST_F_LOG_ALL;
    if (changed === 0n) return;
    throw new ProtocolError(
      `Rings run, the features 0x${changed.toString(16)} can't change: send ` +
        "GET_VRING_BASE for each ring first",
    );
  }

  /** A ring that can't start yet is not the fault of what was asked for now. */
  async #startVrings(): Promise<void> {
    for (const vring of this.vrings) {
      try {
        await vring.startIfReady();
      } catch (error) {
        log.debug(`Vring ${vring.index} does not start: ${error}`);
      }
    }
  }
}

function socketOf(fd: Fd): UnixSocket {
  try {
    return UnixSocket.fromFd(fd);
  } catch (cause) {
    throw new ProtocolError(
      "SET_BACKEND_REQ_FD came without a connected Unix stream socket",
      { cause },
    );
  }
}
