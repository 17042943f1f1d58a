/**
 * A device on a data plane, as a vhost-user session sees it.
 *
 * @module
 */
import type { Device } from "../device/device.ts";
import { ProtocolError } from "../errors.ts";
import type { MemoryLayout } from "../memory/guest_memory.ts";
import type {
  Backend,
  IotlbBackend,
  VringStart,
} from "../vhost_user/backend.ts";
import {
  RING_FEATURES,
  VIRTIO_F_ACCESS_PLATFORM,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
} from "../device/features.ts";
import { CarrierIotlb } from "./carrier_iotlb.ts";
import type { Carrier, Command } from "./command.ts";

/** What is offered beside the device's own features. */
export interface OfferedFeatures {
  /** Memory behind an IOMMU; not where not said. */
  iommu?: boolean;
  /** Packed virtqueues; they are where not said. */
  packed?: boolean;
  /** Requests in their order; not where not said. */
  inOrder?: boolean;
  /** Kicks and calls as messages; not where not said. */
  inBand?: boolean;
}

/** Joins one open device with the carrier of its data plane. */
export class DeviceBackend implements Backend {
  readonly features: bigint;
  readonly queueCount: number;
  readonly queueSizeMax: number;
  readonly resubmits: boolean;
  readonly inBand: boolean;
  readonly iotlb?: IotlbBackend;
  readonly setMtu?: (mtu: number) => Promise<void>;
  readonly announce?: (mac: Uint8Array) => Promise<void>;
  readonly saveState?: () => Promise<Uint8Array>;
  readonly loadState?: (state: Uint8Array) => Promise<void>;
  readonly #device: Device;
  readonly #carrier: Carrier;
  readonly #name: string;
  #sendConfigChange: (() => void) | null = null;
  /** The rings that run, or are about to. */
  readonly #running = new Set<number>();
  readonly #ending = new AbortController();

  /** Attaches `device`, the log's `name`; commands go to `carrier`. */
  constructor(
    device: Device,
    carrier: Carrier,
    offered: OfferedFeatures = {},
    name = "",
  ) {
    this.#device = device;
    this.#carrier = carrier;
    this.#name = name;
    this.features = device.features | RING_FEATURES;
    if (offered.packed === false) this.features &= ~VIRTIO_F_RING_PACKED;
    if (offered.inOrder === true) this.features |= VIRTIO_F_IN_ORDER;
    if (offered.iommu === true) {
      this.features |= VIRTIO_F_ACCESS_PLATFORM;
      this.iotlb = new CarrierIotlb(carrier);
    }
    this.queueCount = device.queueCount;
    this.queueSizeMax = device.queueSizeMax;
    this.resubmits = device.resubmits ?? false;
    this.inBand = offered.inBand ?? false;
    // The protocol offers what is there.
    if (device.setMtu) this.setMtu = (mtu) => device.setMtu!(mtu);
    if (device.announce) this.announce = (mac) => device.announce!(mac);
    if (device.saveState) this.saveState = () => device.saveState!();
    if (device.loadState) this.loadState = (state) => device.loadState!(state);
    device.attach?.({
      name,
      update: async (state) => {
        await this.#send({ kind: "update", state });
      },
      configChanged: () => this.#sendConfigChange?.(),
    });
  }

  async setFeatures(features: bigint): Promise<void> {
    await this.#device.negotiated?.(features);
  }

  async setMemory(layout: MemoryLayout): Promise<void> {
    await this.#send({ kind: "setMemory", layout });
  }

  async startVring(index: number, start: VringStart): Promise<void> {
    if (this.#running.size === 0) {
      await this.#device.claim?.(this.#ending.signal);
    }
    this.#running.add(index);
    try {
      await this.#start(index, start);
    } catch (error) {
      this.#stopped(index);
      throw error;
    }
  }

  async #start(index: number, start: VringStart): Promise<void> {
    await this.#send({
      kind: "startVring",
      name: this.#name,
      config: {
        index,
        size: start.size,
        descriptorArea: start.descriptorArea,
        driverArea: start.driverArea,
        deviceArea: start.deviceArea,
        nextAvail: start.base,
        packed: (start.features & VIRTIO_F_RING_PACKED) !== 0n,
        inOrder: (start.features & VIRTIO_F_IN_ORDER) !== 0n,
        eventIndex: (start.features & VIRTIO_F_EVENT_IDX) !== 0n,
        indirect: (start.features & VIRTIO_F_INDIRECT_DESC) !== 0n,
        inflight: start.inflight,
        usedLog: start.usedLog,
      },
      virtual: (start.features & VIRTIO_F_ACCESS_PLATFORM) !== 0n,
      kickFd: start.kickFd,
      callFd: start.callFd,
      errFd: start.errFd,
      enabled: start.enabled,
    });
  }

  async stopVring(index: number): Promise<number> {
    const base = await this.#send({ kind: "stopVring", index });
    this.#stopped(index);
    return base;
  }

  async enableVring(index: number, enabled: boolean): Promise<void> {
    await this.#send({ kind: "enableVring", index, enabled });
  }

  async setCall(index: number, fd: number): Promise<void> {
    await this.#send({ kind: "setCall", index, fd });
  }

  async setErr(index: number, fd: number): Promise<void> {
    await this.#send({ kind: "setErr", index, fd });
  }

  async setUsedLog(index: number, address: number): Promise<void> {
    await this.#send({ kind: "setUsedLog", index, address });
  }

  getConfig(offset: number, size: number): Uint8Array | null {
    return this.#device.config.read(offset, size);
  }

  async setConfig(offset: number, bytes: Uint8Array): Promise<void> {
    if (!this.#device.config.write(offset, bytes)) {
      throw new ProtocolError(
        `SET_CONFIG wrote ${bytes.length} bytes at ${offset}, which are not ` +
          "all writable: write only fields the device lets the driver change",
      );
    }
    await this.#device.configWritten?.(offset, bytes.length);
  }

  async reset(): Promise<void> {
    await this.#device.reset?.();
  }

  onConfigChange(send: (() => void) | null): void {
    this.#sendConfigChange = send;
  }

  /** The server ends: a ring that waits for its start is not wanted any more. */
  end(): void {
    this.#ending.abort(new Error("The server ends"));
  }

  #stopped(index: number): void {
    this.#running.delete(index);
    if (this.#running.size === 0) this.#device.release?.();
  }

  #send(command: Command): Promise<number> {
    return this.#carrier.send(command);
  }
}
