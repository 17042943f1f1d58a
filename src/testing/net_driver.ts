/**
 * The driver side of one queue pair of a network device, virtio 1.3 §5.1.
 *
 * @module
 */
import type { DriverMemory } from "./driver_memory.ts";
import type { DriverSegment } from "./ring_driver.ts";
import type { RingDriver } from "./ring_driver.ts";

/** Bytes of `struct virtio_net_hdr`, §5.1.6. */
export const NET_HEADER_SIZE = 12;
/** What the buffers hold until the device has written them. */
const UNTOUCHED = 0xa5;

/** What joins the driver with the device. */
export interface NetDriverPort {
  /** Tells the device of frames to send. */
  kickTransmit(): void;
  /** Tells the device of buffers to receive into. */
  kickReceive(): void;
  /** Resolves when the device may have sent frames. */
  calledTransmit(): Promise<void>;
  /** Resolves when the device may have received frames. */
  calledReceive(): Promise<void>;
}

/** How a {@linkcode NetDriver} works. */
export interface NetDriverOptions {
  /** Frames may come in several buffers (MRG_RXBUF). */
  mergeable?: boolean;
  /** Buffers that are posted, each of them one descriptor unless `layout`. */
  bufferCount?: number;
  /** Bytes of each; 2048 by default. */
  bufferSize?: number;
  /** Sizes of the descriptors of each buffer, in place of `bufferSize`. */
  layout?: readonly number[];
  /** Buffers and frames in indirect tables. */
  indirect?: boolean;
}

/** A frame that the device received for the driver. */
export interface ReceivedFrame {
  /** The header before it, 12 bytes. */
  readonly header: Uint8Array;
  /** The frame. */
  readonly frame: Uint8Array;
  /** Buffers that it came in. */
  readonly bufferCount: number;
}

/** Sends and receives frames over one queue pair. */
export class NetDriver {
  /** The ring of receive buffers. */
  readonly receiveRing: RingDriver;
  /** The ring of frames to send. */
  readonly transmitRing: RingDriver;
  /** Frames that the device took. */
  sentCount = 0;
  readonly #memory: DriverMemory;
  readonly #port: NetDriverPort;
  readonly #options: NetDriverOptions;
  /** By head. */
  readonly #posted = new Map<number, readonly DriverSegment[]>();
  readonly #sending = new Map<number, readonly DriverSegment[]>();
  /** Memory to be used again, by its size. */
  readonly #free = new Map<number, number[]>();

  /** Drives the rings, which lie in `memory`. */
  constructor(
    memory: DriverMemory,
    receiveRing: RingDriver,
    transmitRing: RingDriver,
    port: NetDriverPort,
    options: NetDriverOptions = {},
  ) {
    this.#memory = memory;
    this.receiveRing = receiveRing;
    this.transmitRing = transmitRing;
    this.#port = port;
    this.#options = options;
  }

  /** Posts receive buffers: as many as asked for, or as there are to be. */
  post(count: number = this.#wantedBuffers()): void {
    const { layout, bufferSize = 2048, indirect = false } = this.#options;
    for (let i = 0; i < count; i++) {
      this.postBuffer(layout ?? [bufferSize], indirect);
    }
    this.publishBuffers();
  }

  /** Stages one receive buffer of descriptors with these sizes. */
  postBuffer(sizes: readonly number[], indirect = false): void {
    const segments = sizes.map((size): DriverSegment => {
      const address = this.#allocate(size);
      this.#memory.write(address, new Uint8Array(size).fill(UNTOUCHED));
      return { address, size, writable: true };
    });
    const head = this.receiveRing.add(segments, { indirect });
    this.#posted.set(head, segments);
  }

  /** Shows the buffers that are staged to the device. */
  publishBuffers(): void {
    if (this.receiveRing.publish()) this.#port.kickReceive();
  }

  /**
   * Stages a frame to be sent, with a header before it (zeros unless given),
   * in pieces of `sizes` bytes where they are given, the rest in one.
   */
  stage(
    frame: Uint8Array,
    header: Uint8Array = new Uint8Array(NET_HEADER_SIZE),
    sizes: readonly number[] = [header.length],
  ): void {
    const bytes = new Uint8Array(header.length + frame.length);
    bytes.set(header);
    bytes.set(frame, header.length);
    const segments: DriverSegment[] = [];
    let at = 0;
    for (const size of [...sizes, bytes.length]) {
      const piece = bytes.subarray(at, at + size);
      if (piece.length === 0) continue;
      const address = this.#allocate(piece.length);
      this.#memory.write(address, piece);
      segments.push({ address, size: piece.length, writable: false });
      at += piece.length;
    }
    const { indirect = false } = this.#options;
    const head = this.transmitRing.add(segments, { indirect });
    this.#sending.set(head, segments);
  }

  /** Shows the frames that are staged to the device. */
  publishFrames(): void {
    if (this.transmitRing.publish()) this.#port.kickTransmit();
  }

  /** Sends a frame and waits for the device to have taken it. */
  async send(frame: Uint8Array, header?: Uint8Array): Promise<void> {
    this.stage(frame, header);
    this.publishFrames();
    await this.flush();
  }

  /** Waits for the device to have taken every frame. */
  async flush(): Promise<void> {
    for (;;) {
      this.takeSent();
      if (this.#sending.size === 0) return;
      if (!this.transmitRing.armInterrupt()) await this.#port.calledTransmit();
    }
  }

  /** Takes back what the device has sent: how many frames. */
  takeSent(): number {
    let count = 0;
    for (let used; (used = this.transmitRing.nextUsed()) !== null; count++) {
      if (used.written !== 0) {
        throw new Error(`A frame that was sent has ${used.written} bytes`);
      }
      this.#release(this.#sending, used.head);
    }
    this.sentCount += count;
    return count;
  }

  /** The next frame that is there, or null; posts buffers in place of its own. */
  take(): ReceivedFrame | null {
    const first = this.#takeBuffer();
    if (first === null) return null;
    if (first.length < NET_HEADER_SIZE) {
      throw new Error(`A buffer came back with ${first.length} bytes`);
    }
    const header = first.subarray(0, NET_HEADER_SIZE);
    const said = header[10]! | header[11]! << 8;
    if (!this.#options.mergeable && said !== 1) {
      throw new Error(`num_buffers is ${said}, wanted 1`);
    }
    const parts = [first.subarray(NET_HEADER_SIZE)];
    for (let i = 1; i < said; i++) {
      const part = this.#takeBuffer();
      // §5.1.6.4: all of them are there at once.
      if (part === null) throw new Error("A buffer of a frame is missing");
      parts.push(part);
    }
    return { header, frame: concat(parts), bufferCount: said };
  }

  /** The next frame, once there is one. */
  async next(): Promise<ReceivedFrame> {
    for (;;) {
      const frame = this.take();
      if (frame !== null) {
        if (this.#options.bufferCount !== undefined) this.post();
        return frame;
      }
      if (!this.receiveRing.armInterrupt()) await this.#port.calledReceive();
    }
  }

  #wantedBuffers(): number {
    const { bufferCount = this.receiveRing.size, layout, indirect = false } =
      this.#options;
    const each = indirect ? 1 : layout?.length ?? 1;
    const room = Math.floor(this.receiveRing.freeCount / each);
    return Math.min(room, bufferCount - this.#posted.size);
  }

  /** The bytes of the next buffer that the device gave back, or null. */
  #takeBuffer(): Uint8Array | null {
    const used = this.receiveRing.nextUsed();
    if (used === null) return null;
    const segments = this.#posted.get(used.head);
    if (segments === undefined) {
      throw new Error(`Head ${used.head} was not posted`);
    }
    const parts: Uint8Array[] = [];
    let rest = used.written;
    for (const { address, size } of segments) {
      const written = Math.min(rest, size);
      parts.push(this.#memory.read(Number(address), written));
      const behind = this.#memory.read(
        Number(address) + written,
        size - written,
      );
      if (behind.some((byte) => byte !== UNTOUCHED)) {
        throw new Error("There are bytes behind those that were written");
      }
      rest -= written;
    }
    if (rest > 0) throw new Error(`A buffer has ${rest} bytes too many`);
    this.#release(this.#posted, used.head);
    return concat(parts);
  }

  #allocate(size: number): number {
    const known = this.#free.get(size)?.pop();
    return known ?? this.#memory.allocate(size);
  }

  #release(
    chains: Map<number, readonly DriverSegment[]>,
    head: number,
  ): void {
    for (const { address, size } of chains.get(head) ?? []) {
      const free = this.#free.get(size) ?? [];
      this.#free.set(size, free);
      free.push(Number(address));
    }
    chains.delete(head);
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  const all = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
