/**
 * The back-end that is checked, and what it says of itself.
 *
 * @module
 */
import {
  RING_FEATURES,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
} from "../device/features.ts";

/** Which device is at the socket. */
export type DeviceKind = "block" | "net" | "rng";

/** The devices that can be checked. */
export const DEVICE_KINDS: readonly DeviceKind[] = ["block", "net", "rng"];

/** How a back-end is to be checked. */
export interface CheckOptions {
  /** The socket that it listens on. */
  readonly socketPath: string;
  /** The device behind it. */
  readonly device: DeviceKind;
  /** Rings of this kind; split by default. */
  readonly ring?: "split" | "packed";
  /** Only checks whose id or title has this text. */
  readonly only?: string;
  /** The limit of one check; 5000 by default. */
  readonly timeoutMs?: number;
  /** Whether the disk may be written on; false by default. */
  readonly destructive?: boolean;
  /** The card sends frames back; else that is found out. */
  readonly loopback?: boolean;
  /** Rings to use at most; 4 by default. */
  readonly queueCount?: number;
  /** What random numbers start from; 1 by default. */
  readonly seed?: number;
}

/** Bits of the device itself that the checks understand. */
const DEVICE_BITS: Readonly<Record<DeviceKind, bigint>> = {
  // RO, BLK_SIZE, FLUSH, CONFIG_WCE, MQ, DISCARD, WRITE_ZEROES. Without
  // SIZE_MAX and SEG_MAX a request has any number of segments of any size.
  block: bits([5, 6, 9, 11, 12, 13, 14]),
  // MTU, MAC, MRG_RXBUF, STATUS, MQ: no offloads, so headers stay simple.
  net: bits([3, 5, 15, 16, 22]),
  rng: 0n,
};

/** What a back-end said at the first connection. */
export interface Facts {
  /** The features that it offers. */
  readonly features: bigint;
  /** The protocol features that it offers; 0 where it has none. */
  readonly protocolFeatures: bigint;
  /** What GET_QUEUE_NUM says; 1 where it can't be asked. */
  readonly queueCount: number;
  /** The config space as far as it can be had; empty without CONFIG. */
  readonly config: Uint8Array;
}

/** A back-end, as far as it is known. */
export class Target {
  /** How it is checked. */
  readonly options: CheckOptions;
  /** What it says. */
  readonly facts: Facts;
  /** Bytes at the start of the disk that are known; empty otherwise. */
  known: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /** Whether a card sends back what it is sent. */
  loopsBack = false;

  /** The back-end of `options`, which said `facts`. */
  constructor(options: CheckOptions, facts: Facts) {
    this.options = options;
    this.facts = facts;
  }

  /** The device. */
  get device(): DeviceKind {
    return this.options.device;
  }

  /** Whether packed rings are used. */
  get packed(): boolean {
    return this.options.ring === "packed";
  }

  /** Of what is offered, the features that checks accept unless they say more. */
  get accepted(): bigint {
    const ringBits = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC |
      VIRTIO_F_EVENT_IDX | VHOST_USER_F_PROTOCOL_FEATURES |
      (this.packed ? VIRTIO_F_RING_PACKED : 0n);
    return this.facts.features & (ringBits | DEVICE_BITS[this.device]);
  }

  /** Whether virtio feature `bit` is offered. */
  offers(bit: bigint): boolean {
    return (this.facts.features & bit) === bit;
  }

  /** Whether protocol feature number `feature` is offered. */
  offersProtocol(feature: number): boolean {
    return (this.facts.protocolFeatures >> BigInt(feature) & 1n) === 1n;
  }

  /** The device's own bits of what is offered. */
  get deviceFeatures(): bigint {
    return this.facts.features &
      ~(RING_FEATURES | VHOST_USER_F_PROTOCOL_FEATURES);
  }

  /** The config space as numbers. */
  get config(): DataView {
    const { buffer, byteOffset, byteLength } = this.facts.config;
    return new DataView(buffer, byteOffset, byteLength);
  }
}

function bits(numbers: readonly number[]): bigint {
  return numbers.reduce((sum, bit) => sum | 1n << BigInt(bit), 0n);
}
