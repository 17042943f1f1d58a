/**
 * The driver side of an entropy device, virtio 1.3 §5.4.
 *
 * @module
 */
import type { DriverMemory } from "./driver_memory.ts";
import type { RequestLayout, RequestPart } from "./request_layout.ts";
import {
  RequestRing,
  type RequestRingOptions,
  type RingPort,
} from "./request_ring.ts";
import type { RingDriver } from "./ring_driver.ts";
import type { RingRequest } from "./ring_request.ts";

/** What {@linkcode RngDriver.stream} asks for. */
export interface RngStreamOptions {
  /** Bytes of each request; 64 by default. */
  size?: number;
  /** Requests in flight; 1 by default. */
  depth?: number;
  /** How each is laid out. */
  layout?: RequestLayout;
}

/**
 * Asks for random bytes through a ring.
 *
 * @example Random bytes, as many as are wanted
 * ```ts
 * import { devices } from "@ringside/ringside";
 * import { FakeDriver, RngDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * await using fake = await FakeDriver.open(devices.rng);
 * const [ring] = fake.rings;
 * const rng = new RngDriver(fake.memory, ring!.ring, ring!);
 * assertEquals((await rng.bytes(16)).length, 16);
 * let count = 0;
 * for await (const bytes of rng.stream({ size: 1000, depth: 4 })) {
 *   count += bytes.length;
 *   if (count >= 10_000) break;
 * }
 * ```
 */
export class RngDriver {
  /** The requests beneath: what is out, of any make. */
  readonly requests: RequestRing;

  /** Drives the device at `port` through `ring`, which lies in `memory`. */
  constructor(
    memory: DriverMemory,
    ring: RingDriver,
    port: RingPort,
    options: RequestRingOptions = {},
  ) {
    this.requests = new RequestRing(memory, ring, port, options);
  }

  /** Up to `size` random bytes, at least one. Rejects with a StalledError. */
  async bytes(size: number, layout?: RequestLayout): Promise<Uint8Array> {
    const { requests } = this;
    const what = `${size} random bytes`;
    const request = await requests.request([{ room: size }], layout, what);
    const bytes = request.bytes();
    requests.release(request);
    return bytes;
  }

  /** Random bytes for ever, as the device gives them. */
  async *stream(options: RngStreamOptions = {}): AsyncGenerator<Uint8Array> {
    const { size = 64, depth = 1, layout } = options;
    const asked: Promise<Uint8Array>[] = [];
    for (;;) {
      while (asked.length < depth) {
        const bytes = this.bytes(size, layout);
        // Who ends the stream early does not ask what became of the rest.
        bytes.catch(() => {});
        asked.push(bytes);
      }
      yield await asked.shift()!;
    }
  }

  /**
   * Makes a request of `rooms` in any layout; one given by a number is a
   * descriptor of so many bytes. Throws a RangeError where it does not fit.
   */
  ask(
    rooms: readonly (number | RequestPart)[],
    layout?: RequestLayout,
  ): RingRequest {
    const parts = rooms.map((room) =>
      typeof room === "number" ? { room } : room
    );
    const request = this.requests.stage(parts, layout, "random bytes");
    this.requests.publish();
    return request;
  }
}
