/**
 * A load on an entropy device, virtio 1.3 §5.4.
 *
 * @module
 */
import { VIRTIO_F_EVENT_IDX } from "../device/features.ts";
import { Histogram } from "./histogram.ts";
import { RequestLane } from "./lane.ts";
import type { Load, LoadResult } from "./load.ts";
import type { LoadSegment } from "./load_ring.ts";
import { Pump, type RunLimit } from "./pump.ts";
import { RngWork } from "./rng_work.ts";
import { STALL_MS, Wire, type WireOptions } from "./wire.ts";

const LINE = 64;
const DEFAULT_SIZE = 64;

/** A load on an entropy device. */
export interface RngLoadOptions extends WireOptions {
  /** Bytes that each request asks for; 64 by default. */
  readonly size?: number;
}

/** Asks for random bytes over the one ring. */
export class RngLoad implements Load {
  readonly facts: Readonly<Record<string, string | number | boolean>>;
  readonly #wire: Wire;
  readonly #lane: RequestLane;
  readonly #work: RngWork;
  readonly #pump: Pump;

  private constructor(
    wire: Wire,
    lane: RequestLane,
    work: RngWork,
    options: RngLoadOptions,
  ) {
    const { polled = false, stallMs = STALL_MS } = options;
    this.#wire = wire;
    this.#lane = lane;
    this.#work = work;
    this.#pump = new Pump([lane], polled, stallMs, wire.frontend.fd);
    this.facts = {
      ringSize: lane.ring.size,
      eventIndex: wire.has(VIRTIO_F_EVENT_IDX),
    };
  }

  /** Connects to the back-end at `socketPath` and starts its ring. */
  static async open(
    socketPath: string,
    options: RngLoadOptions,
  ): Promise<RngLoad> {
    const { depth, size = DEFAULT_SIZE } = options;
    const wire = await Wire.open(socketPath, options, 0n);
    let lane: RequestLane | null = null;
    try {
      const ringSize = wire.ringSize(1);
      const room = Math.ceil(size / LINE) * LINE;
      const memory = await wire.share(1, ringSize, depth * room);
      const slots = Array.from({ length: depth }, (): LoadSegment[][] => {
        const address = memory.allocate(room, LINE);
        return [[{ address, size, writable: true }]];
      });
      const ring = wire.layOut(memory, ringSize, slots);
      const work = new RngWork(size);
      lane = new RequestLane(ring, depth, work, new Histogram());
      await wire.start(0, lane);
      await wire.ready();
      return new RngLoad(wire, lane, work, options);
    } catch (error) {
      lane?.[Symbol.dispose]();
      wire[Symbol.dispose]();
      throw error;
    }
  }

  run(limit: RunLimit): LoadResult {
    const work = this.#work;
    const { histogram } = this.#lane;
    histogram.clear();
    work.clear();
    const pumped = this.#pump.run(limit);
    return {
      ...pumped,
      counts: { answered: work.count },
      requests: work.count + work.errors,
      errors: work.errors,
      failures: work.errors,
      bytes: work.bytes,
      latency: histogram,
      complaints: work.errors === 0 ? [] : [
        `${work.errors} requests came back with no byte, or with more than ` +
        "they have room for",
      ],
    };
  }

  /** Hangs up. */
  [Symbol.dispose](): void {
    this.#pump[Symbol.dispose]();
    this.#lane[Symbol.dispose]();
    this.#wire[Symbol.dispose]();
  }
}
