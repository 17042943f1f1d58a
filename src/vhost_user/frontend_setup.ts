/**
 * What it takes to set up a connection, request by request: the socket,
 * features, memory, vrings.
 *
 * @module
 */
import { UnixSocket } from "../io/unix_socket.ts";
import type { Frontend } from "./frontend.ts";
import type { BorrowedFd } from "./frontend_link.ts";
import type { MemoryRegion, VringAddress } from "./message.ts";
import {
  protocolBits,
  VHOST_F_LOG_ALL,
  VHOST_MEMORY_BASELINE_NREGIONS,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VHOST_USER_PROTOCOL_F,
  VHOST_VRING_F_LOG,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_RING_PACKED,
} from "./protocol.ts";

/** How often a back-end is looked for that is not there yet. */
const RETRY_MS = 20;

/** VIRTIO_F_ACCESS_PLATFORM: addresses are those of an IOMMU. */
const VIRTIO_F_ACCESS_PLATFORM = 1n << 33n;

/** What only a front-end accepts that has asked for it. */
const UNWANTED_FEATURES = VHOST_F_LOG_ALL | VIRTIO_F_ACCESS_PLATFORM |
  VIRTIO_F_RING_PACKED | VIRTIO_F_IN_ORDER;

/** The protocol features that `Frontend.negotiate` asks for by itself. */
export const WANTED_PROTOCOL_FEATURES: bigint = protocolBits([
  VHOST_USER_PROTOCOL_F.MQ,
  VHOST_USER_PROTOCOL_F.REPLY_ACK,
  VHOST_USER_PROTOCOL_F.BACKEND_REQ,
  VHOST_USER_PROTOCOL_F.CONFIG,
  VHOST_USER_PROTOCOL_F.RESET_DEVICE,
  VHOST_USER_PROTOCOL_F.CONFIGURE_MEM_SLOTS,
  VHOST_USER_PROTOCOL_F.STATUS,
]);

/** A region of memory to share. */
export interface SharedRegion extends MemoryRegion {
  /** What to map: a memfd or a file. Stays the caller's. */
  readonly fd: BorrowedFd;
}

/** Which features to accept. */
export interface NegotiateOptions {
  /**
   * Of the offered virtio features, those to accept; all by default but for
   * RING_PACKED and IN_ORDER, which change what a ring looks like,
   * ACCESS_PLATFORM, which takes an IOMMU, and LOG_ALL, which takes a log.
   */
  readonly features?: bigint;
  /** Of the offered protocol features, likewise; those of {@linkcode WANTED_PROTOCOL_FEATURES} by default. */
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

/** How a vring is set up by `Frontend.setVring`. */
export interface VringSetup
  extends Omit<VringAddress, "index" | "flags" | "log"> {
  /** Entries. */
  readonly size: number;
  /** The next available index; 0 by default, which is right for a split ring only. */
  readonly base?: number;
  /** Where writes of the used ring are logged, a guest address; they aren't by default. */
  readonly log?: number;
  /**
   * The kick eventfd; null: it is polled. Where it is not said, kicks are
   * messages if INBAND_NOTIFICATIONS was negotiated; else it is polled.
   */
  readonly kick?: BorrowedFd | null;
  /** The call eventfd, likewise; null: the driver polls. */
  readonly call?: BorrowedFd | null;
  /** The err eventfd. */
  readonly err?: BorrowedFd;
}

/** As `Frontend.connectWithin`. */
export async function connectWithin(
  path: string,
  timeoutMs: number,
): Promise<UnixSocket> {
  const end = performance.now() + timeoutMs;
  while (performance.now() < end) {
    const socket = UnixSocket.tryConnect(path);
    if (socket !== null) return socket;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  return UnixSocket.connect(path);
}

/** As `Frontend.negotiate`. */
export async function negotiate(
  frontend: Frontend,
  options: NegotiateOptions,
): Promise<Negotiated> {
  const offered = await frontend.getFeatures();
  let queueCount = 1;
  if ((offered & VHOST_USER_F_PROTOCOL_FEATURES) !== 0n) {
    const wanted = options.protocolFeatures ?? WANTED_PROTOCOL_FEATURES;
    await frontend.setProtocolFeatures(
      await frontend.getProtocolFeatures() & wanted,
    );
  }
  if (frontend.hasProtocolFeature(VHOST_USER_PROTOCOL_F.MQ)) {
    queueCount = await frontend.getQueueNum();
  }
  await frontend.setOwner();
  const accepted = options.features ?? offered & ~UNWANTED_FEATURES;
  const features = offered & (accepted | VHOST_USER_F_PROTOCOL_FEATURES);
  await frontend.setFeatures(features);
  const { protocolFeatures } = frontend;
  return { features, protocolFeatures, queueCount };
}

/** As `Frontend.shareMemory`. */
export async function shareMemory(
  frontend: Frontend,
  regions: readonly SharedRegion[],
): Promise<void> {
  if (regions.length <= VHOST_MEMORY_BASELINE_NREGIONS) {
    return await frontend.setMemTable(regions);
  }
  const { CONFIGURE_MEM_SLOTS } = VHOST_USER_PROTOCOL_F;
  const slots = frontend.hasProtocolFeature(CONFIGURE_MEM_SLOTS)
    ? await frontend.getMaxMemSlots()
    : VHOST_MEMORY_BASELINE_NREGIONS;
  if (regions.length > slots) {
    throw new RangeError(
      `The back-end takes ${slots} regions of memory and there are ` +
        `${regions.length}: share fewer`,
    );
  }
  for (const region of regions) await frontend.addMemReg(region);
}

/** As `Frontend.setVring`. */
export async function setVring(
  frontend: Frontend,
  index: number,
  setup: VringSetup,
): Promise<void> {
  const { descriptor, available, used, log } = setup;
  await frontend.setVringNum(index, setup.size);
  await frontend.setVringBase(index, setup.base ?? 0);
  await frontend.setVringAddr({
    index,
    flags: log === undefined ? 0 : VHOST_VRING_F_LOG,
    descriptor,
    used,
    available,
    log: log ?? 0,
  });
  if (setup.err !== undefined) await frontend.setVringErr(index, setup.err);
  const inBand = frontend.hasProtocolFeature(
    VHOST_USER_PROTOCOL_F.INBAND_NOTIFICATIONS,
  );
  const { call = inBand ? undefined : null } = setup;
  const { kick = inBand ? undefined : null } = setup;
  if (call !== undefined) await frontend.setVringCall(index, call);
  if (kick !== undefined) await frontend.setVringKick(index, kick);
  await frontend.setVringEnable(index, true);
}
