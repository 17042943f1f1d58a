/**
 * The driver side of one queue pair of a network device, virtio 1.3 §5.1.
 *
 * @module
 */
import type { DriverMemory } from "./driver_memory.ts";
import { concat, type RequestLayout } from "./request_layout.ts";
import {
  RequestRing,
  type RequestRingOptions,
  type RingPort,
  type WaitOptions,
} from "./request_ring.ts";
import type { RingDriver } from "./ring_driver.ts";
import { type RingRequest, StalledError } from "./ring_request.ts";

/** Bytes of `struct virtio_net_hdr`, §5.1.6. */
export const NET_HEADER_SIZE = 12;

/** One ring of a queue pair, and what joins it with the device. */
export interface NetRing extends RingPort {
  /** The ring. */
  readonly ring: RingDriver;
}

/** How a {@linkcode NetDriver} works. */
export interface NetDriverOptions extends RequestRingOptions {
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

/**
 * Sends and receives frames over one queue pair.
 *
 * @example Frames to a card that sends them back
 * ```ts
 * import { devices } from "@ringside/ringside";
 * import { FakeDriver, NetDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * await using fake = await FakeDriver.open(devices.net, {
 *   backend: "loopback",
 * });
 * const [receive, transmit] = fake.rings;
 * const net = new NetDriver(fake.memory, receive!, transmit!, {
 *   mergeable: true,
 * });
 * net.post();
 * for (const size of [60, 61, 62]) await net.send(new Uint8Array(size));
 * const sizes: number[] = [];
 * for await (const { frame } of net.frames()) {
 *   sizes.push(frame.length);
 *   if (sizes.length === 3) break;
 * }
 * assertEquals(sizes, [60, 61, 62]);
 * ```
 */
export class NetDriver {
  /** The receive buffers. */
  readonly receive: RequestRing;
  /** The frames to send. */
  readonly transmit: RequestRing;
  /** Frames that the device took. */
  sentCount: number = 0;
  readonly #options: NetDriverOptions;

  /** Drives the rings, which lie in `memory`. */
  constructor(
    memory: DriverMemory,
    receive: NetRing,
    transmit: NetRing,
    options: NetDriverOptions = {},
  ) {
    this.receive = new RequestRing(memory, receive.ring, receive, options);
    this.transmit = new RequestRing(memory, transmit.ring, transmit, options);
    this.#options = options;
  }

  /** The ring of receive buffers. */
  get receiveRing(): RingDriver {
    return this.receive.ring;
  }

  /** The ring of frames to send. */
  get transmitRing(): RingDriver {
    return this.transmit.ring;
  }

  /** Posts receive buffers: as many as asked for, or as there are to be. */
  post(count: number = this.#wantedBuffers()): void {
    const { layout, bufferSize = 2048, indirect = false } = this.#options;
    for (let i = 0; i < count; i++) {
      this.postBuffer(layout ?? [bufferSize], { indirect });
    }
    this.publishBuffers();
  }

  /** Stages one receive buffer of descriptors with these sizes. */
  postBuffer(sizes: readonly number[], layout: RequestLayout = {}): void {
    const parts = sizes.map((room) => ({ room }));
    this.receive.stage(parts, layout, "a receive buffer");
  }

  /** Shows the buffers that are staged to the device. */
  publishBuffers(): void {
    this.receive.publish();
  }

  /**
   * Stages a frame to be sent, with a header before it (zeros unless given).
   * Throws a RangeError where it does not fit.
   */
  stage(
    frame: Uint8Array,
    header: Uint8Array = new Uint8Array(NET_HEADER_SIZE),
    layout: RequestLayout = {},
  ): void {
    this.transmit.stage(
      partsOf(frame, header),
      { indirect: this.#options.indirect ?? false, ...layout },
      nameOf(frame),
    );
  }

  /** Shows the frames that are staged to the device. */
  publishFrames(): void {
    this.transmit.publish();
  }

  /**
   * Sends a frame and waits for the device to have taken it, and for room
   * before that. Rejects with a StalledError.
   */
  async send(
    frame: Uint8Array,
    header: Uint8Array = new Uint8Array(NET_HEADER_SIZE),
    layout: RequestLayout = {},
  ): Promise<void> {
    const request = await this.transmit.request(
      partsOf(frame, header),
      { indirect: this.#options.indirect ?? false, ...layout },
      nameOf(frame),
    );
    this.#sent(request);
  }

  /** Waits for the device to have taken every frame that was staged. */
  async flush(): Promise<void> {
    const { transmit } = this;
    const requests = transmit.out.map((request) => transmit.answer(request));
    for (const request of await Promise.all(requests)) this.#sent(request);
  }

  /** Takes back what the device has sent: how many frames. */
  takeSent(): number {
    let count = 0;
    for (let request; (request = this.transmit.take()) !== null; count++) {
      this.#sent(request);
    }
    return count;
  }

  /** The next frame that is there, or null. */
  take(): ReceivedFrame | null {
    const first = this.#takeBuffer();
    if (first === null) return null;
    if (first.length < NET_HEADER_SIZE) {
      throw new Error(
        `A receive buffer came back with ${first.length} bytes, wanted the ` +
          `header of ${NET_HEADER_SIZE} at least`,
      );
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
      if (part === null) {
        throw new Error(`Buffer ${i} of the ${said} of a frame is missing`);
      }
      parts.push(part);
    }
    return { header, frame: concat(parts), bufferCount: said };
  }

  /**
   * The next frame, once there is one; posts buffers in place of its own where
   * their count is given. Rejects with a StalledError where none comes in time,
   * or ever.
   */
  async next(options: WaitOptions = {}): Promise<ReceivedFrame> {
    const { timeoutMs = Infinity } = options;
    const end = performance.now() + timeoutMs;
    for (;;) {
      const frame = this.take();
      if (frame !== null) {
        if (this.#options.bufferCount !== undefined) this.post();
        return frame;
      }
      const left = { ...options, timeoutMs: end - performance.now() };
      if (await this.receive.wait(left)) continue;
      // Before the time was over it is known that there will be none.
      throw new StalledError(this.receive.out, timeoutMs);
    }
  }

  /**
   * The frames as they come, for ever: posts a buffer for each that came back.
   * The options hold for each frame.
   */
  async *frames(options: WaitOptions = {}): AsyncGenerator<ReceivedFrame> {
    for (;;) {
      const frame = await this.next(options);
      this.post();
      yield frame;
    }
  }

  #wantedBuffers(): number {
    const { bufferCount = this.receiveRing.size, layout, indirect = false } =
      this.#options;
    const each = indirect ? 1 : layout?.length ?? 1;
    const room = Math.floor(this.receiveRing.freeCount / each);
    return Math.min(room, bufferCount - this.receive.outCount);
  }

  /** The bytes of the next buffer that the device gave back, or null. */
  #takeBuffer(): Uint8Array | null {
    const request = this.receive.take();
    if (request === null) return null;
    const bytes = request.bytes();
    this.receive.release(request);
    return bytes;
  }

  #sent(request: RingRequest): void {
    if (request.written !== 0) {
      throw new Error(
        `A frame that was sent has ${request.written} bytes, wanted 0`,
      );
    }
    this.transmit.release(request);
    this.sentCount++;
  }
}

function partsOf(
  frame: Uint8Array,
  header: Uint8Array,
): { bytes: Uint8Array }[] {
  return [header, frame].filter(({ length }) => length > 0)
    .map((bytes) => ({ bytes }));
}

function nameOf({ length }: Uint8Array): string {
  return `a frame of ${length} bytes`;
}
