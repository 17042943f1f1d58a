/**
 * A load on a network card, virtio 1.3 §5.1.
 *
 * @module
 */
import { VIRTIO_F_EVENT_IDX } from "../device/features.ts";
import type { DriverMemory } from "../testing/driver_memory.ts";
import { LoadError } from "./errors.ts";
import { FRAME_MAX, Frames, NET_HEADER_SIZE } from "./frames.ts";
import { Histogram } from "./histogram.ts";
import { type Lane, RequestLane } from "./lane.ts";
import type { Load, LoadResult } from "./load.ts";
import { type LoadSegment, wordsAt } from "./load_ring.ts";
import { EchoLane, ReceiveLane } from "./net_lanes.ts";
import { Pump, type RunLimit } from "./pump.ts";
import { STALL_MS, Wire, type WireOptions } from "./wire.ts";

const VIRTIO_NET_F_MQ = 1n << 22n;
const LINE = 64;
const DEFAULT_SIZES = [64];
/** Room for a frame of an Ethernet that others send to. */
const RECEIVE_SIZE = 2048;

/** Which way frames go. */
export type Direction = "tx" | "rx" | "loopback";

/** A load on a network card. */
export interface NetLoadOptions extends WireOptions {
  /**
   * `tx` sends, and `rx` receives, what another sends; `loopback` sends to a
   * card that sends back, and measures until then.
   */
  readonly direction?: Direction;
  /** Bytes of the frames, in turn; 64 by default. */
  readonly sizes?: readonly number[];
  /** Queue pairs; 1 by default. */
  readonly pairs?: number;
}

/** A queue pair under load. */
interface Pair {
  readonly frames: Frames;
  readonly receive: ReceiveLane;
  readonly transmit: Lane;
  readonly echo: EchoLane | null;
}

/** Frames over the queue pairs of a card. */
export class NetLoad implements Load {
  readonly facts: Readonly<Record<string, string | number | boolean>>;
  readonly #wire: Wire;
  readonly #pairs: readonly Pair[];
  readonly #histogram: Histogram;
  readonly #pump: Pump;
  readonly #direction: Direction;

  private constructor(
    wire: Wire,
    pairs: readonly Pair[],
    histogram: Histogram,
    options: NetLoadOptions,
  ) {
    const { polled = false, stallMs = STALL_MS } = options;
    this.#wire = wire;
    this.#pairs = pairs;
    this.#histogram = histogram;
    this.#direction = options.direction ?? "loopback";
    // What was received first: it makes room for what is sent.
    const lanes = pairs.flatMap(({ receive, transmit }) => [receive, transmit]);
    this.#pump = new Pump(lanes, polled, stallMs, wire.frontend.fd);
    this.facts = {
      ringSize: lanes[0]!.ring.size,
      eventIndex: wire.has(VIRTIO_F_EVENT_IDX),
    };
  }

  /** Connects to the back-end at `socketPath` and starts its rings. */
  static async open(
    socketPath: string,
    options: NetLoadOptions,
  ): Promise<NetLoad> {
    const { depth, pairs: count = 1 } = options;
    const several = count > 1 ? VIRTIO_NET_F_MQ : 0n;
    const wire = await Wire.open(socketPath, options, several);
    const pairs: Pair[] = [];
    try {
      if (!wire.has(several) || (count > 1 && wire.queueCount < 2 * count)) {
        const has = wire.has(several) ? wire.queueCount >> 1 : 1;
        throw new LoadError(
          `The card has ${has} queue pairs, but ${count} are wanted: ask for ` +
            "fewer",
        );
      }
      // A frame that comes back finds a buffer, and one more than there are out.
      const ringSize = wire.ringSize(1, 2 * depth);
      const receiveSize = roomOf(options, RECEIVE_SIZE);
      const payload = ringSize * receiveSize + depth * roomOf(options, 0);
      const memory = await wire.share(2 * count, ringSize, count * payload);
      const histogram = new Histogram();
      for (let index = 0; index < count; index++) {
        const pair = openPair(wire, memory, ringSize, histogram, options);
        pairs.push(pair);
        await wire.start(2 * index, pair.receive);
        await wire.start(2 * index + 1, pair.transmit);
      }
      await wire.ready();
      return new NetLoad(wire, pairs, histogram, options);
    } catch (error) {
      for (const pair of pairs) closePair(pair);
      wire[Symbol.dispose]();
      throw error;
    }
  }

  run(limit: RunLimit): LoadResult {
    this.#histogram.clear();
    for (const { frames, receive, echo } of this.#pairs) {
      frames.clear();
      receive.clear();
      if (echo !== null) echo.lost = 0;
    }
    const pumped = this.#pump.run(limit);
    const sum = (of: (pair: Pair) => number) =>
      this.#pairs.reduce((all, pair) => all + of(pair), 0);
    const sent = sum(({ frames }) => frames.sent);
    const received = sum(({ receive }) => receive.received);
    const errors = sum(({ receive }) => receive.errors);
    const lost = sum(({ echo }) => echo?.lost ?? 0);
    const isSending = this.#direction === "tx";
    // Of what comes, only what went out before is an answer.
    const answered = this.#direction === "loopback"
      ? this.#histogram.count
      : received;
    return {
      ...pumped,
      counts: { sent, received, lost },
      requests: isSending ? sent : answered + errors,
      errors,
      // Some may get lost; where all are, nothing was measured.
      failures: errors + (answered === 0 ? lost : 0),
      bytes: isSending
        ? sum(({ frames }) => frames.bytes)
        : sum(({ receive }) => receive.bytes),
      latency: this.#direction === "rx" ? null : this.#histogram,
      complaints: [
        ...(errors === 0 ? [] : [
          `${errors} buffers came back without a frame, or with more than ` +
          "they have room for",
        ]),
        ...(lost === 0 ? [] : [
          answered === 0
            ? `None of ${lost} frames came back: the card does not send back ` +
              "what it gets, for which there is --direction tx"
            : `${lost} frames did not come back`,
        ]),
      ],
    };
  }

  /** Hangs up. */
  [Symbol.dispose](): void {
    this.#pump[Symbol.dispose]();
    for (const pair of this.#pairs) closePair(pair);
    this.#wire[Symbol.dispose]();
  }
}

function openPair(
  wire: Wire,
  memory: DriverMemory,
  ringSize: number,
  histogram: Histogram,
  options: NetLoadOptions,
): Pair {
  const { depth, sizes = DEFAULT_SIZES, direction = "loopback" } = options;
  const room = roomOf(options, 0);
  const sent = buffersOf(memory, depth, room);
  const toSend = sent.addresses.map((address) =>
    sizes.map((size): LoadSegment[] => [
      { address, size: NET_HEADER_SIZE + size, writable: false },
    ])
  );
  const receiveSize = roomOf(options, RECEIVE_SIZE);
  const got = buffersOf(memory, ringSize, receiveSize);
  const toFill = got.addresses.map((address): LoadSegment[][] => [
    [{ address, size: receiveSize, writable: true }],
  ]);
  const frames = new Frames(sent.words, sizes);
  const receiveRing = wire.layOut(memory, ringSize, toFill);
  const ring = wire.layOut(memory, ringSize, toSend);
  const echo = direction === "loopback"
    ? new EchoLane(ring, depth, frames, histogram)
    : null;
  // Who only receives has nothing to send.
  const transmit = echo ??
    new RequestLane(ring, direction === "rx" ? 0 : depth, frames, histogram);
  const isLimit = direction === "rx";
  const receive = new ReceiveLane(receiveRing, got.words, echo, isLimit);
  return { frames, receive, transmit, echo };
}

function closePair({ receive, transmit }: Pair): void {
  receive[Symbol.dispose]();
  transmit[Symbol.dispose]();
}

function buffersOf(memory: DriverMemory, count: number, size: number) {
  const addresses: number[] = [];
  const words: Uint32Array[] = [];
  for (let i = 0; i < count; i++) {
    const address = memory.allocate(size, LINE);
    addresses.push(address);
    words.push(wordsAt(memory, address, size)[1]);
  }
  return { addresses, words };
}

/** Room for the largest frame and its header, whole cache lines. */
function roomOf({ sizes = DEFAULT_SIZES }: NetLoadOptions, least: number) {
  const largest = Math.min(Math.max(...sizes), FRAME_MAX) + NET_HEADER_SIZE;
  return Math.ceil(Math.max(largest, least) / LINE) * LINE;
}
