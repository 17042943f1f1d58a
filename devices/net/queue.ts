// Data plane: the network device on one thread.
/**
 * @module
 */
import type { DataDevice, DataPlaneServices } from "../../src/device/device.ts";
import type { Virtqueue } from "../../src/virtqueue/virtqueue.ts";
import type { HostSeed, Port } from "./backend.ts";
import { Capture, type CaptureSeed } from "./capture.ts";
import { Counters } from "./counters.ts";
import { Mirror } from "./mirror.ts";
import { LoopbackPort } from "./port_loopback.ts";
import { SwitchPort, type SwitchSeed } from "./port_switch.ts";
import { TapPort, type TapSeed } from "./port_tap.ts";
import { Receive } from "./receive.ts";
import { TapSender } from "./tap_sender.ts";
import { Transmit } from "./transmit.ts";

/** What the control side opens the data side with. */
export interface NetSeed {
  /** The host's side. */
  readonly host: HostSeed;
  /** Queue pairs. */
  readonly pairCount: number;
  /** The memory of the {@linkcode Counters}. */
  readonly counters: SharedArrayBuffer;
  /** Where frames are written, or null. */
  readonly capture: CaptureSeed | null;
}

/** What was negotiated. */
export interface NetModes {
  /** A received frame may be spread over several buffers. */
  readonly mergeable: boolean;
  /** The driver takes what the host says of checksums. */
  readonly checksums: boolean;
  /** The ALLOW_* bits. */
  readonly allowed: number;
  /** Bytes of the largest frame that is to be expected. */
  readonly frameSize: number;
}

/** What the control side sends later: one of the two. */
export interface NetState {
  readonly modes?: NetModes;
  /** A message of the host for its ports. */
  readonly message?: unknown;
}

/** Opens the data side from a {@linkcode NetSeed}. */
export function open(seed: unknown, services: DataPlaneServices): DataDevice {
  return new NetPairs(seed as NetSeed, services);
}

function openPort(
  seed: HostSeed,
  pair: number,
  services: DataPlaneServices,
): Port {
  switch (seed.kind) {
    case "tap":
      return new TapPort(seed as TapSeed, pair, services);
    case "switch":
      return new SwitchPort(seed as SwitchSeed, pair, services);
    default:
      return new LoopbackPort(services);
  }
}

/** Where frames need not be sent one by one; else null. */
function openSender(
  port: Port,
  { uring }: DataPlaneServices,
  counters: Float64Array,
): TapSender | null {
  if (uring === null || !(port instanceof TapPort) || !port.hasRoom) {
    return null;
  }
  return new TapSender(uring, port, counters);
}

/** One queue pair. */
class Pair implements Disposable {
  readonly port: Port;
  readonly receive: Receive;
  readonly transmit: Transmit;
  /** The short way of a loopback, and who knows of frames on the long one. */
  readonly #mirror: Mirror | null;
  readonly #loopback: LoopbackPort | null;
  /** Who sends many frames at once to a TAP interface. */
  readonly #sender: TapSender | null;

  constructor(
    seed: NetSeed,
    index: number,
    services: DataPlaneServices,
    capture: Capture | null,
  ) {
    const counters = new Counters(seed.pairCount, seed.counters).pair(index);
    this.port = openPort(seed.host, index, services);
    this.receive = new Receive(services, this.port, capture, counters);
    this.transmit = new Transmit(this.port, capture, counters);
    this.#loopback = this.port instanceof LoopbackPort ? this.port : null;
    // What is captured is gathered in a list for the kernel anyway.
    const isShort = this.#loopback !== null && capture === null;
    this.#mirror = isShort ? new Mirror(counters) : null;
    this.#sender = capture === null
      ? openSender(this.port, services, counters)
      : null;
  }

  /** Brings the driver what the host has. */
  drainReceive(queue: Virtqueue): void {
    if (this.#mirror === null || !this.#isClear) this.receive.drain(queue);
  }

  /** Takes what the driver sends. */
  drainTransmit(queue: Virtqueue): void {
    const mirror = this.#mirror;
    if (mirror !== null && this.#isClear && mirror.drain(queue)) return;
    const sender = this.#sender;
    if (sender !== null && sender.drain(queue, this.transmit.allowed)) return;
    this.transmit.drain(queue);
  }

  /** The driver takes what is received on `queue`, or no longer. */
  enable(queue: Virtqueue, enabled: boolean): void {
    if (this.#mirror !== null) {
      this.#mirror.receiveQueue = enabled ? queue : null;
    }
    this.port.enable(enabled);
  }

  /** Whether no frame is on the long way, which others would overtake. */
  get #isClear(): boolean {
    return this.#loopback!.waiting === 0 && !this.receive.isShort;
  }

  apply(modes: NetModes): void {
    this.receive.mergeable = modes.mergeable;
    this.receive.checksums = modes.checksums;
    this.receive.expect(modes.frameSize);
    this.transmit.allowed = modes.allowed;
  }

  [Symbol.dispose](): void {
    this.receive[Symbol.dispose]();
    this.transmit[Symbol.dispose]();
    this.#sender?.[Symbol.dispose]();
    this.port[Symbol.dispose]();
  }
}

/** The pairs of one thread: ring 2k receives for pair k, ring 2k+1 sends. */
class NetPairs implements DataDevice {
  readonly #seed: NetSeed;
  readonly #services: DataPlaneServices;
  readonly #capture: Capture | null;
  /** By pair, kept from one start to the next. */
  readonly #pairs: (Pair | null)[];
  #modes: NetModes | null = null;
  /** What the host said last, for pairs that come later. */
  #message: unknown = undefined;

  constructor(seed: NetSeed, services: DataPlaneServices) {
    this.#seed = seed;
    this.#services = services;
    this.#capture = seed.capture === null ? null : new Capture(seed.capture);
    this.#pairs = new Array<Pair | null>(seed.pairCount).fill(null);
  }

  start(queue: Virtqueue): void {
    const index = queue.index >> 1;
    let pair = this.#pairs[index]!;
    if (pair === null) {
      pair = new Pair(this.#seed, index, this.#services, this.#capture);
      this.#pairs[index] = pair;
      if (this.#message !== undefined) pair.port.update?.(this.#message);
      if (this.#modes !== null) pair.apply(this.#modes);
    }
    if (isReceive(queue)) pair.receive.start();
  }

  drain(queue: Virtqueue): void {
    const pair = this.#pairs[queue.index >> 1]!;
    if (isReceive(queue)) pair.drainReceive(queue);
    else pair.drainTransmit(queue);
  }

  /** A frame that is parked waits for buffers; all else waits for the host. */
  wantsMore(queue: Virtqueue): boolean {
    const { receive } = this.#pairs[queue.index >> 1]!;
    return isReceive(queue) && receive.isShort;
  }

  /** A ring to send from is emptied while it is disabled, one to receive waits. */
  discard(queue: Virtqueue): void {
    if (isReceive(queue)) return;
    this.#pairs[queue.index >> 1]!.transmit.discard(queue);
  }

  enable(queue: Virtqueue, enabled: boolean): void {
    if (isReceive(queue)) this.#pairs[queue.index >> 1]!.enable(queue, enabled);
  }

  stop(queue: Virtqueue): void {
    if (isReceive(queue)) this.#pairs[queue.index >> 1]!.enable(queue, false);
  }

  update(state: unknown): void {
    const { modes, message } = state as NetState;
    if (modes !== undefined) this.#modes = modes;
    if (message !== undefined) this.#message = message;
    for (const pair of this.#pairs) {
      if (pair === null) continue;
      if (modes !== undefined) pair.apply(modes);
      if (message !== undefined) pair.port.update?.(message);
    }
  }

  [Symbol.dispose](): void {
    for (const pair of this.#pairs) pair?.[Symbol.dispose]();
    this.#capture?.[Symbol.dispose]();
  }
}

function isReceive(queue: Virtqueue): boolean {
  return (queue.index & 1) === 0;
}
