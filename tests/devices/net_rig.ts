/**
 * The two rings of a pair on a host that a test plays by hand.
 *
 * @module
 */
import { Counters } from "../../devices/net/counters.ts";
import type { OutgoingFrame, Port } from "../../devices/net/backend.ts";
import { Receive } from "../../devices/net/receive.ts";
import { Transmit } from "../../devices/net/transmit.ts";
import type { DataPlaneServices } from "../../src/device/mod.ts";
import { EAGAIN } from "../../src/ffi/abi.ts";
import { borrow } from "../../src/ffi/mapping.ts";
import type { IovecList } from "../../src/io/iovec.ts";
import { DriverMemory } from "../../src/testing/driver_memory.ts";
import {
  NetDriver,
  type NetDriverOptions,
} from "../../src/testing/net_driver.ts";
import { SplitDriver } from "../../src/testing/split_driver.ts";
import { SplitVirtqueue } from "../../src/virtqueue/split.ts";

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
  /** Entries of each ring. */
  size?: number;
  /** Bytes that a frame is expected to have. */
  expect?: number;
  /** The ALLOW_* bits. */
  allowed?: number;
}

/** Receive and Transmit, rings and driver. */
export class Rig implements Disposable {
  readonly memory = DriverMemory.shared(16 << 20);
  readonly port = new FakePort();
  readonly counters: Float64Array = new Counters(1).pair(0);
  readonly receive: Receive;
  readonly transmit: Transmit;
  readonly receiveQueue: SplitVirtqueue;
  readonly transmitQueue: SplitVirtqueue;
  readonly driver: NetDriver;

  constructor(options: RigOptions = {}) {
    const memory = this.memory.guestMemory();
    const services: DataPlaneServices = {
      memory,
      uring: null,
      watch: () => {},
      unwatch: () => {},
    };
    this.receive = new Receive(services, this.port, null, this.counters);
    this.transmit = new Transmit(this.port, null, this.counters);
    this.receive.mergeable = options.mergeable ?? false;
    this.receive.expect(options.expect ?? 1518);
    this.transmit.allowed = options.allowed ?? 0;
    const { size = 64 } = options;
    const ring = () => new SplitDriver(this.memory, size, { indirect: true });
    const [rx, tx] = [ring(), ring()];
    this.receiveQueue = SplitVirtqueue.open(rx.config(0), memory);
    this.transmitQueue = SplitVirtqueue.open(tx.config(1), memory);
    const turn = () => Promise.resolve(this.turn());
    const port = {
      kickReceive: () => {},
      kickTransmit: () => {},
      calledReceive: turn,
      calledTransmit: turn,
    };
    this.driver = new NetDriver(this.memory, rx, tx, port, options);
  }

  /** Receives and sends what there is. */
  turn(): void {
    this.receive.drain(this.receiveQueue);
    this.transmit.drain(this.transmitQueue);
    this.receiveQueue.flush();
    this.transmitQueue.flush();
  }

  [Symbol.dispose](): void {
    this.receive[Symbol.dispose]();
    this.transmit[Symbol.dispose]();
    this.memory[Symbol.dispose]();
  }
}
