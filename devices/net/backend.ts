/**
 * What is on the host's side of a network device. A new one is two modules:
 *
 * - control (`backend_<name>.ts`): a {@linkcode Host}, made from the options of
 *   the command line by one line in `mod.ts`;
 * - data (`port_<name>.ts`): a {@linkcode Port} for each queue pair, opened on
 *   the thread of that pair from {@linkcode Host.seed} by one line in
 *   `queue.ts`.
 *
 * A frame on its way has a header before it, `struct virtio_net_hdr` of 12
 * bytes (virtio 1.3 §5.1.6): all zeros where the host offers no offloads.
 * `num_buffers` is none of the host's business.
 *
 * @module
 */
import type { IovecList } from "../../src/io/iovec.ts";

/** The control side: on the main thread, may await and throw. */
export interface Host {
  /** Of the offload features, `VIRTIO_NET_F_{,GUEST_,HOST_}*`, those it can do. */
  readonly features: bigint;
  /** What the driver is told unless the user says otherwise, in bytes. */
  readonly mtu: number;
  /** What its ports are opened with, structured-cloneable. */
  readonly seed: HostSeed;
  /** Called once, with the way to all of its ports. */
  attach?(control: HostControl): void;
  /** The driver accepted `features`: what may be handed to it. */
  negotiated?(features: bigint): void;
  /** There is no driver any more. */
  reset?(): void;
  /** Sends a frame of our own, with its header, to the network. */
  inject(frame: Uint8Array<ArrayBuffer>): void;
  /** Frames for the driver that were dropped before a port had them. */
  dropped?(): number;
  /** Every port is closed. */
  close(): Promise<void>;
}

/** What a host can have its device do. */
export interface HostControl {
  /** Sends `message` to {@linkcode Port.update} on every thread; resolves once all have it. */
  update(message: unknown): Promise<void>;
  /** The link is up, or down: the driver learns of it where it can. */
  setLink(up: boolean): void;
}

/** Says which module opens the ports, and what else they need. */
export interface HostSeed {
  /** As `--backend`. */
  readonly kind: string;
}

/**
 * The data side: one queue pair, on the thread of its rings. Nothing here
 * throws, waits or allocates for each frame.
 */
export interface Port extends Disposable {
  /**
   * How many bytes of a frame that is sent are wanted in memory of our own,
   * where the guest can't change them: header and more, up to 26.
   */
  readonly headSize: number;
  /**
   * Receives one frame, with its header, into `count` elements of `list` from
   * `first`: its bytes, or a negative errno. -EAGAIN: none now. It is asked
   * again after an event of its thread, so it watches a descriptor that tells
   * (`services.watch`), or knows that one of its rings moves by itself. What
   * does not fit is lost; there is always room for the largest frame.
   */
  receive(list: IovecList, first: number, count: number): number;
  /**
   * Sends a frame: 0 or more, or a negative errno. -EAGAIN: no room now; the
   * same frame comes again, before any other, after an event of its thread.
   * With any other errno the frame is dropped, and counted.
   */
  send(frame: OutgoingFrame): number;
  /** The driver takes what is received, or no longer: drop it then. */
  enable(enabled: boolean): void;
  /** A message of the control side. */
  update?(message: unknown): void;
}

/** A frame that the driver sends. Of the sender, and re-aimed for each. */
export interface OutgoingFrame {
  /** Header and frame; element 0 is `head`. */
  readonly list: IovecList;
  /** Elements in use. */
  readonly count: number;
  /** Bytes, the header's 12 included. */
  readonly size: number;
  /** The first {@linkcode Port.headSize} bytes, or fewer where it is shorter. */
  readonly head: DataView;
}
