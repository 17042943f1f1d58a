/**
 * The two rings of a pair on a fake driver, and a host that a test plays.
 *
 * @module
 */
import { Counters } from "../../devices/net/counters.ts";
import type { OutgoingFrame, Port } from "../../devices/net/backend.ts";
import { Receive } from "../../devices/net/receive.ts";
import { Transmit } from "../../devices/net/transmit.ts";
import type { DataDevice } from "../../src/device/mod.ts";
import { EAGAIN } from "../../src/ffi/abi.ts";
import { borrow } from "../../src/ffi/mapping.ts";
import type { IovecList } from "../../src/io/iovec.ts";
import {
  FakeDriver,
  NetDriver,
  type NetDriverOptions,
  RING_KINDS,
  type RingKind,
} from "../../src/testing/mod.ts";
import type { Virtqueue } from "../../src/virtqueue/mod.ts";

/** Bytes of a header. */
export const HEADER = 12;

/** A frame of `size` bytes that differ. */
export function frameOf(size: number, seed = 1): Uint8Array {
  return new Uint8Array(size).map((_, i) => (i * 7 + seed * 31) & 255);
}

/** A host whose frames are arrays. */
export class FakePort implements Port {
  headSize = HEADER;
  /** To be received, with their headers. */
  readonly incoming: Uint8Array[] = [];
  /** What was sent, with its header. */
  readonly sent: Uint8Array[] = [];
  /** Frames that there is room for. */
  room = Infinity;
  /** What every send answers then. */
  failure = 0;

  /** A frame of the host, with an empty header. */
  offer(frame: Uint8Array, flags = 0): void {
    const bytes = new Uint8Array(HEADER + frame.length);
    bytes[0] = flags;
    // As from the kernel: what is in the last two bytes is chance.
    bytes.fill(0x77, 10, 12);
    bytes.set(frame, HEADER);
    this.incoming.push(bytes);
  }

  receive(list: IovecList, first: number, count: number): number {
    const frame = this.incoming.shift();
    if (frame === undefined) return -EAGAIN;
    let done = 0;
    for (let i = first; i < first + count && done < frame.length; i++) {
      const piece = frame.subarray(done, done + list.size(i));
      new Uint8Array(borrow(list.base(i), list.size(i))).set(piece);
      done += piece.length;
    }
    // As readv: what does not fit is lost.
    return done;
  }

  send(frame: OutgoingFrame): number {
    if (this.failure !== 0) return -this.failure;
    if (this.room === 0) return -EAGAIN;
    this.room--;
    const bytes = new Uint8Array(frame.size);
    let done = 0;
    for (let i = 0; i < frame.count; i++) {
      const size = frame.list.size(i);
      bytes.set(new Uint8Array(borrow(frame.list.base(i), size)), done);
      done += size;
    }
    if (done !== frame.size) throw new Error(`${done} bytes of ${frame.size}`);
    this.sent.push(bytes);
    return done;
  }

  enable(): void {}

  [Symbol.dispose](): void {}
}

/** How a {@linkcode Rig} is set up. */
export interface RigOptions extends NetDriverOptions {
  /** The kind of the rings. */
  kind?: RingKind;
  /** Entries of each ring. */
  size?: number;
  /** Bytes that a frame is expected to have. */
  expect?: number;
  /** The ALLOW_* bits. */
  allowed?: number;
}

/** Receive and Transmit, rings and driver. */
export class Rig implements Disposable {
  readonly fake: FakeDriver;
  readonly port = new FakePort();
  readonly counters: Float64Array = new Counters(1).pair(0);
  readonly receive: Receive;
  readonly transmit: Transmit;
  readonly driver: NetDriver;

  constructor(options: RigOptions = {}) {
    const transmit = new Transmit(this.port, null, this.counters);
    let receive: Receive | null = null;
    const { size: queueSize = 64, kind } = options;
    this.fake = FakeDriver.over((services) => {
      receive = new Receive(services, this.port, null, this.counters);
      return sides(receive, transmit);
    }, { queueCount: 2, queueSize, eventIndex: false, ...(kind && { kind }) });
    this.receive = receive!;
    this.transmit = transmit;
    this.receive.mergeable = options.mergeable ?? false;
    this.receive.expect(options.expect ?? 1518);
    this.transmit.allowed = options.allowed ?? 0;
    const { memory, rings } = this.fake;
    this.driver = new NetDriver(memory, rings[0]!, rings[1]!, options);
  }

  /** The ring of receive buffers. */
  get receiveQueue(): Virtqueue {
    return this.fake.rings[0]!.queue;
  }

  /** The ring of frames to send. */
  get transmitQueue(): Virtqueue {
    return this.fake.rings[1]!.queue;
  }

  /** Receives and sends what there is. */
  turn(): void {
    this.receive.drain(this.receiveQueue);
    this.transmit.drain(this.transmitQueue);
    for (const ring of this.fake.rings) ring.flush();
  }

  [Symbol.dispose](): void {
    this.fake[Symbol.dispose]();
  }
}

/** Registers a test for each kind of ring, with what opens a rig on it. */
export function eachKind(
  name: string,
  fn: (open: (options?: RigOptions) => Rig) => void,
): void {
  for (const kind of RING_KINDS) {
    Deno.test(
      `${name} (${kind.name})`,
      () => fn((options) => new Rig({ kind, ...options })),
    );
  }
}

/** The data side of a pair. */
function sides(receive: Receive, transmit: Transmit): DataDevice {
  return {
    drain: (queue) =>
      queue.index === 0 ? receive.drain(queue) : transmit.drain(queue),
    [Symbol.dispose]() {
      receive[Symbol.dispose]();
      transmit[Symbol.dispose]();
    },
  };
}
