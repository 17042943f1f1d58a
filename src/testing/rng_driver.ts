/**
 * The driver side of an entropy device, virtio 1.3 §5.4.
 *
 * @module
 */
import type { DriverMemory } from "./driver_memory.ts";
import type { DriverSegment } from "./ring_driver.ts";
import type { RingDriver } from "./ring_driver.ts";

/** What the buffers hold until the device has written them. */
const UNTOUCHED = 0xa5;

/** What joins the driver with the device. */
export interface RngDriverPort {
  /** Tells the device that there are requests. */
  kick(): void;
  /** Resolves when the device may have given some back. */
  called(): Promise<void>;
}

/** One buffer of a request, by its size in bytes or in full. */
export type RngRoom = number | DriverSegment;

/** A request that is under way, or was given back. */
export interface RngRequest {
  /** Its buffers. */
  readonly segments: readonly DriverSegment[];
  /** The bytes that the device says it wrote; -1 while it has the request. */
  written: number;
}

/** Asks for random bytes through a ring. */
export class RngDriver {
  readonly #memory: DriverMemory;
  readonly #ring: RingDriver;
  readonly #port: RngDriverPort;
  /** By head: those that the device has. */
  readonly #waiting = new Map<number, RngRequest>();

  /** Drives the device at `port` through `ring`, which lies in `memory`. */
  constructor(
    memory: DriverMemory,
    ring: RingDriver,
    port: RngDriverPort,
  ) {
    this.#memory = memory;
    this.#ring = ring;
    this.#port = port;
  }

  /** Up to `size` random bytes, at least one. */
  async bytes(size: number): Promise<Uint8Array> {
    const request = this.ask([size]);
    await this.answer(request);
    return this.read(request);
  }

  /**
   * Makes a request of `rooms` in any layout, in an indirect table where asked
   * for. A room given by its size gets memory of its own.
   */
  ask(
    rooms: readonly RngRoom[],
    options: { indirect?: boolean } = {},
  ): RngRequest {
    const segments = rooms.map((room) =>
      typeof room === "number" ? this.#room(room) : room
    );
    const request: RngRequest = { segments, written: -1 };
    this.#waiting.set(this.#ring.add(segments, options), request);
    if (this.#ring.publish()) this.#port.kick();
    return request;
  }

  /** Resolves with what the device says it wrote for `request`. */
  async answer(request: RngRequest): Promise<number> {
    for (;;) {
      this.collect();
      if (request.written >= 0) return request.written;
      if (!this.#ring.armInterrupt()) await this.#port.called();
    }
  }

  /** Takes back what the device gave back: how many requests. */
  collect(): number {
    let count = 0;
    for (let used; (used = this.#ring.nextUsed()) !== null; count++) {
      const request = this.#waiting.get(used.head);
      if (request === undefined) {
        throw new Error(`Head ${used.head} was given back unasked`);
      }
      this.#waiting.delete(used.head);
      request.written = used.written;
    }
    return count;
  }

  /**
   * The bytes that the device says it wrote. Fails where it said more than
   * there was room for, or wrote a byte beyond.
   */
  read(request: RngRequest): Uint8Array {
    const rooms = request.segments.filter(({ writable }) => writable);
    const bytes = rooms.flatMap(({ address, size }) => [
      ...this.#memory.read(Number(address), size),
    ]);
    const { written } = request;
    if (written < 0 || written > bytes.length) {
      throw new Error(`${written} of ${bytes.length} bytes were written`);
    }
    const beyond = bytes.slice(written).findIndex((byte) => byte !== UNTOUCHED);
    if (beyond >= 0) {
      throw new Error(
        `Byte ${written + beyond} was written, behind the ${written} told`,
      );
    }
    return Uint8Array.from(bytes.slice(0, written));
  }

  #room(size: number): DriverSegment {
    const address = this.#memory.allocate(size, 1);
    this.#memory.write(address, new Uint8Array(size).fill(UNTOUCHED));
    return { address, size, writable: true };
  }
}
