/**
 * What a vhost-user session needs from the server behind it. The protocol does
 * not know devices or threads; the server implements this.
 *
 * @module
 */
import type { MemoryLayout } from "../memory/guest_memory.ts";
import type { InflightArea } from "../virtqueue/inflight.ts";

/** A ring as the data plane must run it. Addresses are guest addresses. */
export interface VringStart {
  /** Entries; a power of two for a split ring. */
  size: number;
  /** virtio 1.3 §2.7.5, guest address. */
  descriptorArea: number;
  /** The available ring (§2.7.6), guest address. */
  driverArea: number;
  /** The used ring (§2.7.8), guest address. */
  deviceArea: number;
  /** SET_VRING_BASE: the next available index, 0..65535. */
  base: number;
  /** The negotiated feature bits. */
  features: bigint;
  /** The kick eventfd, or -1: then the ring is polled. Owned by the session. */
  kickFd: number;
  /** The call eventfd, or -1. Owned by the session. */
  callFd: number;
  /** The err eventfd, or -1. Owned by the session. */
  errFd: number;
  /** Whether the ring is enabled at once. */
  enabled: boolean;
  /**
   * Where to record what is in flight, or null. Stays mapped while the ring
   * runs. What is on record there is run again, before anything else.
   */
  inflight: InflightArea | null;
  /** As `setUsedLog`. */
  usedLog: number;
}

/** A mapping of the front-end's IOMMU, whole in one region of the memory. */
export interface IotlbEntry {
  /** The first I/O virtual address. */
  iova: number;
  /** In bytes, at least 1. */
  size: number;
  /** Where that is in the front-end. */
  userAddress: number;
  /** Bit 0: the device may read; bit 1: it may write. */
  permissions: number;
}

/** A mapping that a ring lacks. */
export interface IotlbQuestion {
  /** The address in question. */
  readonly iova: number;
  /** The access that is wanted, as in {@linkcode IotlbEntry}. */
  readonly permissions: number;
}

/** The part of a back-end that serves rings behind an IOMMU. */
export interface IotlbBackend {
  /** From now on all threads have `entry`. */
  update(entry: IotlbEntry): Promise<void>;
  /** Resolves once nothing uses what is mapped in the range. */
  invalidate(iova: number, size: number): Promise<void>;
  /** There is no mapping for `question`: the chain that needs it is malformed. */
  refuse(question: IotlbQuestion): Promise<void>;
  /** The session takes questions, or null when it ends. */
  onMiss(ask: ((question: IotlbQuestion) => void) | null): void;
}

/** The back-end as one session sees it. Rejections become NACKs. */
export interface Backend {
  /** Offered virtio feature bits, ring bits included, PROTOCOL_FEATURES (30) excluded. */
  readonly features: bigint;
  /** Rings. */
  readonly queueCount: number;
  /** The largest ring accepted. */
  readonly queueSizeMax: number;
  /**
   * Whether a request may be run once more where it is not known if it was:
   * then INFLIGHT_SHMFD is offered.
   */
  readonly resubmits?: boolean;
  /**
   * Whether INBAND_NOTIFICATIONS is offered. QEMU accepts that wherever it is
   * offered, and knows none of its messages.
   */
  readonly inBand?: boolean;
  /**
   * Where it is there, `features` has ACCESS_PLATFORM; once that is negotiated
   * the addresses of rings, and those in them, are I/O virtual ones.
   */
  readonly iotlb?: IotlbBackend;
  /** The driver accepted `features`. */
  setFeatures(features: bigint): Promise<void>;
  /**
   * The memory table changed. Resolves once no thread and no request uses any
   * memory that is not in `layout`; only then does the session unmap it.
   * Running rings go on, re-translated; one that no longer fits breaks. With
   * a log in `layout`, all that is written from then on is logged there.
   */
  setMemory(layout: MemoryLayout): Promise<void>;
  /** Starts ring `index`, which is stopped. */
  startVring(index: number, start: VringStart): Promise<void>;
  /** Stops ring `index` after draining it; the next available index. */
  stopVring(index: number): Promise<number>;
  /** Enables or disables a started ring. */
  enableVring(index: number, enabled: boolean): Promise<void>;
  /** Replaces the call eventfd of a started ring (-1: none) and signals it once. */
  setCall(index: number, fd: number): Promise<void>;
  /** Replaces the err eventfd of a started ring (-1: none). */
  setErr(index: number, fd: number): Promise<void>;
  /**
   * Where writes to the used ring of a started ring are logged, a guest
   * address, or -1. Only where `setMemory` gave a log.
   */
  setUsedLog(index: number, address: number): Promise<void>;
  /** Bytes of the config space, zero-padded, or null where the range is bad. */
  getConfig(offset: number, size: number): Uint8Array | null;
  /** Writes the config space; rejects on a range that can't be written. */
  setConfig(offset: number, bytes: Uint8Array): Promise<void>;
  /** NET_SET_MTU, 68..65535 bytes. The feature is offered where this is there. */
  setMtu?(mtu: number): Promise<void>;
  /** SEND_RARP for the MAC address of 6 bytes. Offered likewise. */
  announce?(mac: Uint8Array): Promise<void>;
  /**
   * The state of the device that its driver can see, for another back-end.
   * Every ring is stopped. DEVICE_STATE is offered where this and `loadState`
   * are there.
   */
  saveState?(): Promise<Uint8Array>;
  /**
   * Goes on with a state of `saveState`. Rejects, and changes nothing, where it
   * is another device's, or one that this device can't go on from.
   */
  loadState?(state: Uint8Array): Promise<void>;
  /** Virtio reset: every ring is already stopped. */
  reset(): Promise<void>;
  /** The session offers its way to tell the front-end of a config change, or null when it ends. */
  onConfigChange(send: (() => void) | null): void;
}
