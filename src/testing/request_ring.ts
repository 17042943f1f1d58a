/**
 * Requests over a ring, as promises.
 *
 * @module
 */
import { TIMER_MAX_MS } from "../io/timer.ts";
import { BufferPool } from "./buffer_pool.ts";
import type { DriverMemory } from "./driver_memory.ts";
import {
  descriptorsOf,
  type Piece,
  piecesOf,
  type RequestLayout,
  type RequestPart,
} from "./request_layout.ts";
import type { DriverSegment, RingDriver, UsedChain } from "./ring_driver.ts";
import { RingRequest, StalledError, UNTOUCHED } from "./ring_request.ts";

/** How long the device may keep a request, unless said otherwise. */
const TIMEOUT_MS = 30_000;

/** What may come back unasked before the device is told from a sound one. */
const STRAYS_MAX = 1024;

/** What joins the driver of a ring with the device. */
export interface RingPort {
  /** Tells the device that there are requests. */
  kick(): void;
  /**
   * Resolves when the device may have given some back, with `false` where it
   * never will any more.
   */
  called(): Promise<void | false>;
}

/** How long a {@linkcode RequestRing} waits. */
export interface RequestRingOptions {
  /** The longest that the device may keep a request; 30 s by default. */
  timeoutMs?: number;
}

/** How {@linkcode RequestRing.wait} waits. */
export interface WaitOptions {
  /** The longest that it takes; else for ever. */
  timeoutMs?: number;
  /** Ends the wait, which rejects with its reason. */
  signal?: AbortSignal;
}

/** A request that waits for room in the ring. */
interface Queued {
  readonly pieces: readonly Piece[];
  readonly layout: RequestLayout;
  readonly what: string;
  readonly needed: number;
  readonly parts: readonly RequestPart[];
  readonly since: number;
  readonly outcome: PromiseWithResolvers<RingRequest>;
}

/** Somebody who waits for a request to be given back. */
interface Awaited {
  readonly since: number;
  readonly outcome: PromiseWithResolvers<RingRequest>;
}

/** A buffer that a request holds. */
interface Held {
  readonly address: number;
  readonly size: number;
  readonly region: number | undefined;
}

/**
 * Makes requests over one ring of a device, whatever the device is. Those that
 * are made without waiting for each other are in flight together; `submit` and
 * `request` wait for room where the ring is full, first come first served. A
 * device that keeps one for too long makes it reject with a StalledError.
 *
 * @example A device that answers every request with one byte
 * ```ts
 * import { FakeDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * using fake = FakeDriver.over(() => ({
 *   drain(queue) {
 *     while (queue.pop()) {
 *       queue.chain.writer.writeU8(7);
 *       queue.push(queue.chain.head, 1);
 *     }
 *   },
 * }));
 * const { requests } = fake.rings[0]!;
 * const answers = await Promise.all([
 *   requests.request([{ bytes: Uint8Array.of(1, 2, 3) }, { room: 4 }]),
 *   requests.request([{ room: 4 }], { writable: [0, 1, 1], indirect: true }),
 * ]);
 * assertEquals(answers.map((answer) => [...answer.bytes()]), [[7], [7]]);
 * ```
 */
export class RequestRing {
  /** The memory that ring and buffers lie in. */
  readonly memory: DriverMemory;
  /** The ring. */
  readonly ring: RingDriver;
  /** What the device gave back though nobody here had asked for it. */
  readonly strays: UsedChain[] = [];
  readonly #port: RingPort;
  readonly #timeoutMs: number;
  readonly #buffers: BufferPool;
  /** By head: what the device has, or will have. */
  readonly #out = new Map<number, RingRequest>();
  readonly #held = new Map<RingRequest, readonly Held[]>();
  /** Those whose buffers go as soon as the device gives them back. */
  readonly #discarded = new Set<RingRequest>();
  readonly #awaited = new Map<RingRequest, Awaited>();
  #queued: Queued[] = [];
  /** The loop that takes requests back, while somebody waits for one. */
  #running = false;
  /** The call that is waited for. */
  #called: Promise<void | false> | null = null;

  /** Makes requests over `ring`, which lies in `memory`. */
  constructor(
    memory: DriverMemory,
    ring: RingDriver,
    port: RingPort,
    options: RequestRingOptions = {},
  ) {
    this.memory = memory;
    this.ring = ring;
    this.#port = port;
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.#buffers = new BufferPool(memory);
  }

  /** What the device has, or will have once it is published. */
  get out(): readonly RingRequest[] {
    return [...this.#out.values()];
  }

  /** How many that are. */
  get outCount(): number {
    return this.#out.size;
  }

  /**
   * Stages a request, which the device sees after `publish`. Throws a
   * RangeError where it does not fit.
   */
  stage(
    parts: readonly RequestPart[],
    layout: RequestLayout = {},
    what = "a request",
  ): RingRequest {
    return this.#stage(parts, piecesOf(parts, layout), layout, what);
  }

  /** Shows what is staged to the device, and kicks it where it wants that. */
  publish(): void {
    if (this.ring.publish()) this.#port.kick();
  }

  /**
   * Publishes a request as soon as there is room for it. Rejects with a
   * StalledError where none comes.
   */
  async submit(
    parts: readonly RequestPart[],
    layout: RequestLayout = {},
    what = "a request",
  ): Promise<RingRequest> {
    const pieces = piecesOf(parts, layout);
    const needed = descriptorsOf(pieces, layout);
    if (needed > this.ring.size) {
      throw new RangeError(
        `A request has ${needed} parts, wanted at most the ` +
          `${this.ring.size} entries of the ring`,
      );
    }
    if (this.#queued.length === 0 && this.ring.freeCount >= needed) {
      const request = this.#stage(parts, pieces, layout, what);
      this.publish();
      return request;
    }
    const outcome = Promise.withResolvers<RingRequest>();
    const since = performance.now();
    this.#queued.push({ parts, pieces, layout, what, needed, since, outcome });
    this.#run();
    return await outcome.promise;
  }

  /** Publishes a request, and resolves with it once the device gave it back. */
  async request(
    parts: readonly RequestPart[],
    layout: RequestLayout = {},
    what = "a request",
  ): Promise<RingRequest> {
    const request = await this.submit(parts, layout, what);
    try {
      return await this.answer(request);
    } catch (error) {
      this.release(request);
      throw error;
    }
  }

  /**
   * Resolves with `request` once the device gave it back. Rejects with a
   * StalledError where it does not, or with the reason why the device can't be
   * waited for.
   */
  answer(request: RingRequest): Promise<RingRequest> {
    if (request.written >= 0) return Promise.resolve(request);
    let awaited = this.#awaited.get(request);
    if (awaited === undefined) {
      const outcome = Promise.withResolvers<RingRequest>();
      awaited = { since: performance.now(), outcome };
      this.#awaited.set(request, awaited);
      this.#run();
    }
    return awaited.outcome.promise;
  }

  /**
   * The next request that the device gave back, in its order, or null. Throws a
   * RangeError once it gave back far more than it had: it might for ever.
   */
  take(): RingRequest | null {
    for (let used; (used = this.ring.nextUsed()) !== null;) {
      const request = this.#out.get(used.head);
      if (request === undefined) {
        this.#keepStray(used);
        continue;
      }
      this.#out.delete(used.head);
      request.written = used.written;
      this.#awaited.get(request)?.outcome.resolve(request);
      this.#awaited.delete(request);
      if (this.#discarded.delete(request)) this.#release(request);
      return request;
    }
    return null;
  }

  /** Takes back what the device gave back: how many requests. As `take`. */
  collect(): number {
    const strays = this.strays.length;
    let count = 0;
    while (this.take() !== null) count++;
    count += this.strays.length - strays;
    if (count > 0) this.#admit();
    return count;
  }

  /**
   * Gives the buffers of `request` to the next ones, as soon as the device has
   * no use for them.
   */
  release(request: RingRequest): void {
    if (request.written >= 0) this.#release(request);
    else this.#discarded.add(request);
  }

  /**
   * Asks for a call and waits for it. False where none comes in time, or ever.
   */
  async wait(options: WaitOptions = {}): Promise<boolean> {
    return await this.#wait(options) === "called";
  }

  #stage(
    parts: readonly RequestPart[],
    pieces: readonly Piece[],
    layout: RequestLayout,
    what: string,
  ): RingRequest {
    const held: Held[] = [];
    const own: DriverSegment[] = [];
    const segments = pieces.map((piece) => {
      if ("writable" in piece) return piece;
      const segment = this.#place(piece, layout.region, held);
      if (segment.writable) own.push(segment);
      return segment;
    });
    const rooms = parts.flatMap((part) => "room" in part ? [part.room] : []);
    const request = new RingRequest(what, this.memory, segments, own, rooms);
    this.#held.set(request, held);
    try {
      const { indirect = false } = layout;
      request.head = this.ring.add(segments, { indirect });
    } catch (error) {
      this.#release(request);
      throw error;
    }
    this.#out.set(request.head, request);
    return request;
  }

  #place(
    piece: Exclude<Piece, DriverSegment>,
    region: number | undefined,
    held: Held[],
  ): DriverSegment {
    const writable = "room" in piece;
    const size = writable ? piece.room : piece.bytes.length;
    let address = piece.address;
    if (address === undefined) {
      address = this.#buffers.take(size, UNTOUCHED, region);
      held.push({ address, size, region });
    }
    if (!writable) this.memory.write(address, piece.bytes);
    return { address, size, writable };
  }

  #keepStray(used: UsedChain): void {
    if (this.strays.length < STRAYS_MAX) {
      this.strays.push(used);
      return;
    }
    throw new RangeError(
      `The device gave head ${used.head} back, the ${STRAYS_MAX + 1}th that ` +
        "it did not have, wanted what it has",
    );
  }

  #release(request: RingRequest): void {
    for (const { address, size, region } of this.#held.get(request) ?? []) {
      this.#buffers.give(address, size, region);
    }
    this.#held.delete(request);
  }

  /** Stages those that wait for room, as far as there is any. */
  #admit(): void {
    let count = 0;
    for (const queued of this.#queued) {
      if (this.ring.freeCount < queued.needed) break;
      count++;
      const { parts, pieces, layout, what, outcome } = queued;
      try {
        outcome.resolve(this.#stage(parts, pieces, layout, what));
      } catch (error) {
        outcome.reject(error);
      }
    }
    if (count === 0) return;
    this.#queued.splice(0, count);
    this.publish();
  }

  async #wait(options: WaitOptions): Promise<"called" | "late" | "quiet"> {
    const { timeoutMs = Infinity, signal } = options;
    signal?.throwIfAborted();
    if (this.ring.armInterrupt()) return "called";
    if (this.#called === null) {
      this.#called = this.#port.called().finally(() => this.#called = null);
      // Who waited may be gone when it fails.
      this.#called.catch(() => {});
    }
    const called = this.#called.then((result) =>
      result === false ? "quiet" : "called"
    );
    if (timeoutMs === Infinity && signal === undefined) return await called;
    const end = Promise.withResolvers<"late">();
    const timer = timeoutMs < Infinity
      ? setTimeout(() => end.resolve("late"), Math.min(timeoutMs, TIMER_MAX_MS))
      : undefined;
    const abort = () => end.reject(signal!.reason);
    signal?.addEventListener("abort", abort);
    try {
      return await Promise.race([called, end.promise]);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Takes requests back for as long as somebody waits for one. */
  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    // First let the others of the same turn publish theirs.
    await Promise.resolve();
    try {
      while (this.#awaited.size > 0 || this.#queued.length > 0) {
        if (this.collect() > 0) continue;
        const since = this.#since();
        const timeoutMs = since + this.#timeoutMs - performance.now();
        const event = timeoutMs > 0 ? await this.#wait({ timeoutMs }) : "late";
        if (event === "called" || this.collect() > 0) continue;
        const limit = event === "late" ? this.#timeoutMs : Infinity;
        const error = new StalledError(this.out, limit);
        this.#fail((other) => event === "quiet" || other <= since, error);
      }
    } catch (error) {
      this.#fail(() => true, error);
    }
    this.#running = false;
  }

  /** Since when the first of those who wait does. */
  #since(): number {
    const [awaited] = this.#awaited.values();
    const [queued] = this.#queued;
    return Math.min(awaited?.since ?? Infinity, queued?.since ?? Infinity);
  }

  #fail(which: (since: number) => boolean, error: unknown): void {
    for (const [request, { since, outcome }] of this.#awaited) {
      if (!which(since)) continue;
      this.#awaited.delete(request);
      outcome.reject(error);
    }
    const late = this.#queued.filter(({ since }) => which(since));
    this.#queued = this.#queued.filter(({ since }) => !which(since));
    for (const { outcome } of late) outcome.reject(error);
  }
}
