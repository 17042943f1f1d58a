/**
 * One request over a ring.
 *
 * @module
 */
import type { DriverMemory } from "./driver_memory.ts";
import { concat } from "./request_layout.ts";
import type { DriverSegment } from "./ring_driver.ts";

/** What room for the device holds until it has written there. */
export const UNTOUCHED = 0xa5;

/**
 * A request that the device has, or gave back. Made by a RequestRing.
 *
 * @example What a request says when it is back
 * ```ts
 * import { FakeDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * using fake = FakeDriver.over(() => ({
 *   drain(queue) {
 *     while (queue.pop()) {
 *       queue.chain.writer.writeU16(0x0201);
 *       queue.push(queue.chain.head, 2);
 *     }
 *   },
 * }));
 * const request = await fake.request([{ room: 1 }, { room: 4 }]);
 * assertEquals([...request.bytes()], [1, 2]);
 * const [first, second] = request.rooms();
 * assertEquals([first!.length, second!.length], [1, 4]);
 * ```
 */
export class RingRequest {
  /** What it is, for messages. */
  readonly what: string;
  /** Its descriptors, in order. */
  readonly segments: readonly DriverSegment[];
  /** As `RingDriver.add` returned it; -1 before that. */
  head: number = -1;
  /** The bytes that the device says it wrote; -1 while it has the request. */
  written: number = -1;
  readonly #memory: DriverMemory;
  readonly #rooms: readonly number[];
  readonly #pieces: readonly DriverSegment[];

  /**
   * A request of `segments` in `memory`: those in `pieces` are the rooms, of
   * `rooms` bytes each whatever they were cut into.
   */
  constructor(
    what: string,
    memory: DriverMemory,
    segments: readonly DriverSegment[],
    pieces: readonly DriverSegment[],
    rooms: readonly number[],
  ) {
    this.what = what;
    this.segments = segments;
    this.#memory = memory;
    this.#pieces = pieces;
    this.#rooms = rooms;
  }

  /** What is in each of its rooms now, whatever the device says it wrote. */
  rooms(): Uint8Array[] {
    const all = this.#all();
    let at = 0;
    return this.#rooms.map((size) => all.slice(at, at += size));
  }

  /**
   * The bytes that the device says it wrote. Throws an Error where it has not
   * given the request back, said more than there was room for, or wrote a byte
   * beyond.
   */
  bytes(): Uint8Array {
    const all = this.#all();
    const { written } = this;
    if (written < 0 || written > all.length) {
      const how = written < 0 ? "is still out" : `has ${written} bytes`;
      throw new Error(`${this} ${how}, wanted up to ${all.length} of them`);
    }
    const beyond = all.subarray(written).findIndex((byte) =>
      byte !== UNTOUCHED
    );
    if (beyond >= 0) {
      throw new Error(
        `Byte ${written + beyond} of ${this} was written, wanted none behind ` +
          `the ${written} that were told`,
      );
    }
    return all.slice(0, written);
  }

  /** What it is, and its head. */
  toString(): string {
    return this.head < 0 ? this.what : `${this.what} (head ${this.head})`;
  }

  #all(): Uint8Array<ArrayBuffer> {
    return concat(
      this.#pieces.map(({ address, size }) =>
        this.#memory.read(Number(address), size)
      ),
    );
  }
}

/**
 * The device kept requests for too long.
 *
 * @example A device that keeps what it takes
 * ```ts
 * import { FakeDriver, StalledError } from "@ringside/ringside/testing";
 * import { assertRejects } from "@std/assert";
 *
 * const heads: number[] = [];
 * using fake = FakeDriver.over(() => ({
 *   drain(queue) {
 *     while (queue.pop()) heads.push(queue.chain.head);
 *   },
 * }));
 * await assertRejects(() => fake.request([{ room: 1 }]), StalledError);
 * fake.rings[0]!.queue.push(heads[0]!, 0);
 * ```
 */
export class StalledError extends Error {
  /** The name of the class, as in a stack. */
  override readonly name = "StalledError";
  /** What it has not given back. */
  readonly requests: readonly RingRequest[];

  /** The device has `requests`, and did not give them back within a time. */
  constructor(requests: readonly RingRequest[], timeoutMs: number) {
    const shown = requests.slice(0, 8).join(", ");
    const more = requests.length > 8 ? `, ${requests.length - 8} more` : "";
    const count = requests.length === 1
      ? "1 request is"
      : `${requests.length} requests are`;
    const time = timeoutMs < Infinity ? ` after ${timeoutMs / 1000} s` : "";
    super(
      `${count} out${time}, wanted back from the device: ` +
        (requests.length === 0 ? "room in the ring" : shown + more),
    );
    this.requests = requests;
  }
}
