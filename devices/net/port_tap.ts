// Data plane: the frames of one queue of a TAP interface.
/**
 * @module
 */
import type {
  DataPlaneServices,
  ReadySource,
} from "../../src/device/device.ts";
import { EAGAIN, EBADFD, ENETDOWN } from "../../src/ffi/abi.ts";
import { signalEventFd } from "../../src/io/event_fd.ts";
import type { IovecList } from "../../src/io/iovec.ts";
import { TapQueue } from "../../src/io/tap_queue.ts";
import type { HostSeed, OutgoingFrame, Port } from "./backend.ts";
import { HEADER_SIZE } from "./protocol.ts";

/** What the ports of a TAP interface are opened with. */
export interface TapSeed extends HostSeed {
  readonly kind: "tap";
  /** One descriptor a pair, which the control side owns. */
  readonly fds: readonly number[];
  /** Whether queues can be detached. */
  readonly multiQueue: boolean;
  /** To be signalled when the interface was removed. */
  readonly lostFd: number;
}

/** The control side attached to the interface again. */
export const REATTACHED = "reattached";

/** One queue of a TAP interface. */
export class TapPort implements Port, ReadySource {
  readonly headSize = HEADER_SIZE;
  /** The interface was removed, and is not there again yet. */
  isLost = false;
  readonly #services: DataPlaneServices;
  readonly #queue: TapQueue;
  readonly #detaches: boolean;
  readonly #lostFd: number;
  #enabled = false;
  /** There may be frames; until the kernel says that there are none. */
  #readable = true;
  #writable = true;

  /** The queue of pair `pair`. */
  constructor(seed: TapSeed, pair: number, services: DataPlaneServices) {
    this.#services = services;
    this.#queue = new TapQueue(seed.fds[pair]!);
    // The first takes what comes while no other one does.
    this.#detaches = seed.multiQueue && pair > 0;
    this.#lostFd = seed.lostFd;
    services.watch(this.#queue.fd.number, this, true);
  }

  /** Its descriptor. */
  get fd(): number {
    return this.#queue.fd.number;
  }

  /** Whether the kernel always has room for a frame. */
  get hasRoom(): boolean {
    return this.#queue.hasRoom;
  }

  receive(list: IovecList, first: number, count: number): number {
    if (!this.#readable) return -EAGAIN;
    const result = this.#queue.receive(list, first, count);
    if (result >= 0) return result;
    this.#readable = false;
    if (result === -EBADFD) this.lose();
    return -EAGAIN;
  }

  send(frame: OutgoingFrame): number {
    if (this.isLost) return -ENETDOWN;
    if (!this.#writable) return -EAGAIN;
    const result = this.#queue.send(frame.list, frame.count);
    if (result === -EAGAIN) this.#writable = false;
    else if (result === -EBADFD) this.lose();
    return result;
  }

  /** Writes a frame in `count` elements from `first`: bytes, or likewise. */
  write(list: IovecList, first: number, count: number): number {
    return this.#queue.send(list, count, first);
  }

  enable(enabled: boolean): void {
    this.#enabled = enabled;
    if (this.#detaches) this.#queue.attach(enabled);
    this.#readable = true;
  }

  update(message: unknown): void {
    if (message !== REATTACHED) return;
    if (this.#detaches) this.#queue.attach(this.#enabled);
    this.isLost = false;
    this.#readable = true;
    this.#writable = true;
  }

  ready(): void {
    this.#readable = true;
    this.#writable = true;
  }

  /** The interface was removed: the control side sees to it. */
  lose(): void {
    // A queue that is detached answers the same.
    if (this.isLost || (this.#detaches && !this.#enabled)) return;
    this.isLost = true;
    signalEventFd(this.#lostFd);
  }

  [Symbol.dispose](): void {
    this.#services.unwatch(this.#queue.fd.number);
    this.#queue[Symbol.dispose]();
  }
}
