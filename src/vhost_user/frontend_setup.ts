/**
 * What it takes to set up a connection: features, memory, vrings.
 *
 * @module
 */
import type { BorrowedFd } from "./frontend_link.ts";
import type { MemoryRegion, VringAddress } from "./message.ts";
import { protocolBits, VHOST_USER_PROTOCOL_F } from "./protocol.ts";

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
   * RING_PACKED and IN_ORDER, which change what a ring looks like.
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
  /** The next available index; 0 by default. */
  readonly base?: number;
  /** The kick eventfd; polled without. */
  readonly kick?: BorrowedFd;
  /** The call eventfd; the driver polls without. */
  readonly call?: BorrowedFd;
  /** The err eventfd. */
  readonly err?: BorrowedFd;
}
