// Data plane: one ring of the block device, and what its requests are doing.
/**
 * @module
 */
import type { DataPlaneServices } from "../../src/device/device.ts";
import { EAGAIN, EINTR, EOPNOTSUPP } from "../../src/ffi/abi.ts";
import { errnoName } from "../../src/ffi/errno.ts";
import { Mapping } from "../../src/ffi/mapping.ts";
import type { UringConsumer } from "../../src/io/io_uring.ts";
import { IovecList } from "../../src/io/iovec.ts";
import { log } from "../../src/log.ts";
import type { Virtqueue } from "../../src/virtqueue/virtqueue.ts";
import { BOUNCE_SIZE, BounceBuffers } from "./bounce.ts";
import { type Engine, PENDING } from "./engine.ts";
import type { Losses } from "./losses.ts";
import { VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK } from "./protocol.ts";
import {
  ACCEPTED,
  BUSY,
  type DiskLimits,
  MALFORMED,
  Requests,
  STEP_DISCARD,
  STEP_FILL,
  STEP_FLUSH,
  STEP_READ,
  STEP_READ_BOUNCED,
  STEP_WRITE,
  STEP_WRITE_BOUNCED,
  STEP_ZERO,
} from "./request.ts";

/** How often one step is tried again before it counts as failed. */
const RETRIES_MAX = 200;
/**
 * Bytes that are taken on in one drain. The kernel may copy all of them before
 * it returns, and others wait meanwhile: sibling rings, commands, signals.
 */
const DRAIN_BYTES = 16 << 20;
/** What a request without data counts for: it may take as long. */
const OTHER_BYTES = 1 << 20;
/** Bytes of zeros that are written at once. */
const FILL_SIZE = 1 << 20;

/** Serves one virtqueue; kept for its index while the thread lives. */
export class BlockRing implements UringConsumer, Disposable {
  /** Every write is on the medium before it is answered. */
  writethrough = false;
  readonly #disk: DiskLimits;
  readonly #services: DataPlaneServices;
  readonly #engine: Engine;
  readonly #losses: Losses | null;
  #queue: Virtqueue;
  #requests: Requests;
  /** Where some guest memory is not fit for the medium. */
  readonly #bounce: BounceBuffers | null;
  /** The slot that got the buffer of one that is done, or -1. */
  #resumed = -1;
  #resuming = false;
  #zeros: Mapping | null = null;
  #zeroList: IovecList | null = null;
  /** False once the medium refused the operation. */
  #discards = true;
  #unmaps = true;
  #zeroes = true;

  /**
   * Serves `queue` from the medium behind the engine that `openEngine` makes.
   * Where that has a cache, `losses` are known to all rings of the disk.
   */
  constructor(
    queue: Virtqueue,
    disk: DiskLimits,
    services: DataPlaneServices,
    openEngine: (ring: UringConsumer) => Engine,
    losses: Losses | null = null,
  ) {
    this.#disk = disk;
    this.#losses = losses;
    this.#services = services;
    this.#queue = queue;
    this.#requests = this.#newRequests(queue);
    this.#bounce = disk.memoryAlignment > 1 ? new BounceBuffers() : null;
    this.#engine = openEngine(this);
  }

  /** The ring was started again: `queue` is served now. */
  restart(queue: Virtqueue): void {
    this.#queue = queue;
    const { size, segments } = this.#requests;
    if (queue.size <= size && queue.chain.sizes.length <= segments) return;
    this.#requests[Symbol.dispose]();
    this.#requests = this.#newRequests(queue);
  }

  /** Takes the requests that are there, or a fair part of them. */
  drain(): void {
    const queue = this.#queue;
    const requests = this.#requests;
    let left = DRAIN_BYTES;
    const share = this.#engine.share;
    for (let i = 0; i < share && left > 0 && queue.pop(); i++) {
      const chain = queue.chain;
      const head = chain.head;
      const verdict = requests.accept(chain);
      if (verdict === ACCEPTED) {
        left -= requests.step[head]! <= STEP_WRITE_BOUNCED
          ? requests.remaining[head]!
          : OTHER_BYTES;
        this.#run(head);
      } else if (verdict === MALFORMED) queue.push(head, 0);
      else if (verdict === BUSY) {
        queue.undoPop();
        return;
      } else queue.push(head, requests.finish(head, verdict));
    }
  }

  /** An operation of `slot` is done: bytes, or a negative errno. */
  complete(slot: number, result: number, _flags: number): void {
    if (this.#advance(slot, result)) this.#run(slot);
  }

  /** Frees what was allocated. Nothing is in flight. */
  [Symbol.dispose](): void {
    this.#requests[Symbol.dispose]();
    this.#bounce?.[Symbol.dispose]();
    this.#zeroList?.[Symbol.dispose]();
    this.#zeros?.[Symbol.dispose]();
  }

  #newRequests(queue: Virtqueue): Requests {
    const segments = queue.chain.sizes.length;
    return new Requests(queue.size, segments, this.#disk, this.#services);
  }

  /** Goes on with `slot` for as long as the answers come at once. */
  #run(slot: number): void {
    for (;;) {
      const result = this.#submit(slot);
      if (result === PENDING) return;
      if (!this.#advance(slot, result)) return;
    }
  }

  /** Gives the step of `slot` to the engine; its answer. */
  #submit(slot: number): number {
    const requests = this.#requests;
    const list = requests.lists[slot]!;
    const first = requests.first[slot]!;
    const count = requests.count[slot]!;
    const engine = this.#engine;
    requests.chunk[slot] = requests.remaining[slot]!;
    switch (requests.step[slot]!) {
      case STEP_READ:
        return engine.read(requests, slot, list, first, count);
      case STEP_WRITE:
        return this.#write(slot, list, first, count);
      case STEP_FLUSH:
        return engine.flush(slot);
      case STEP_DISCARD:
        if (!this.#discards) return -EOPNOTSUPP;
        return engine.discard(slot, list.base(first), list.size(first));
      case STEP_ZERO: {
        const mayUnmap = requests.mayUnmap[slot] === 1;
        if (!(mayUnmap ? this.#unmaps : this.#zeroes)) return -EOPNOTSUPP;
        return engine.zero(slot, list.base(first), list.size(first), mayUnmap);
      }
      case STEP_FILL:
        return this.#submitFill(slot);
      default:
        return this.#submitBounced(slot, list, first);
    }
  }

  #write(
    slot: number,
    list: IovecList,
    first: number,
    count: number,
  ): number {
    const requests = this.#requests;
    // Of several such writes at once to the page cache another may hear of the
    // error: only a flush hears for itself, see `DiskFile.openAgain`.
    const durable = this.writethrough && this.#losses === null;
    if (!durable) requests.durable[slot] = 0;
    return this.#engine.write(requests, slot, list, first, count, durable);
  }

  #submitFill(slot: number): number {
    const requests = this.#requests;
    let list = this.#zeroList;
    if (list === null) {
      this.#zeros = Mapping.anonymous(FILL_SIZE);
      list = this.#zeroList = new IovecList(1);
    }
    if (requests.chunk[slot]! > FILL_SIZE) requests.chunk[slot] = FILL_SIZE;
    list.set(0, this.#zeros!.address, requests.chunk[slot]!);
    // Made durable as a whole, when the last range is done.
    return this.#engine.write(requests, slot, list, 0, 1, false);
  }

  #submitBounced(slot: number, guest: IovecList, first: number): number {
    const requests = this.#requests;
    const bounce = this.#bounce!;
    let buffer = requests.bounce[slot]!;
    if (buffer < 0) {
      buffer = bounce.take(slot);
      // Another slot's end will run this one.
      if (buffer < 0) return PENDING;
      requests.bounce[slot] = buffer;
    }
    if (requests.chunk[slot]! > BOUNCE_SIZE) requests.chunk[slot] = BOUNCE_SIZE;
    const chunk = requests.chunk[slot]!;
    bounce.aim(buffer, chunk);
    if (requests.step[slot] === STEP_READ_BOUNCED) {
      return this.#engine.read(requests, slot, bounce.list, buffer, 1);
    }
    const copied = bounce.gather(buffer, chunk, guest, first);
    if (copied < 0) return copied;
    return this.#write(slot, bounce.list, buffer, 1);
  }

  /** Takes the result of a step; true when `slot` has one more to submit. */
  #advance(slot: number, result: number): boolean {
    const requests = this.#requests;
    const step = requests.step[slot]!;
    if (result < 0) return this.#failed(slot, step, -result);
    switch (step) {
      case STEP_READ:
      case STEP_WRITE:
        if (result !== requests.remaining[slot]) {
          return this.#short(slot, result);
        }
        break;
      case STEP_READ_BOUNCED:
      case STEP_WRITE_BOUNCED:
        return this.#bounced(slot, step, result);
      case STEP_FLUSH:
        return this.#finishDurable(slot);
      case STEP_FILL:
        return this.#filled(slot, result);
      default:
        return this.#nextRange(slot);
    }
    if (step === STEP_WRITE) return this.#written(slot);
    return this.#finish(slot, VIRTIO_BLK_S_OK);
  }

  /** All data is written; the cache may have been switched off meanwhile. */
  #written(slot: number): boolean {
    if (this.writethrough && this.#requests.durable[slot] === 0) {
      this.#requests.step[slot] = STEP_FLUSH;
      return true;
    }
    return this.writethrough
      ? this.#finishDurable(slot)
      : this.#finish(slot, VIRTIO_BLK_S_OK);
  }

  /** Answers that what was written is on the medium; not where some is lost. */
  #finishDurable(slot: number): boolean {
    const isLost = this.#losses !== null && this.#losses.any;
    return this.#finish(slot, isLost ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
  }

  /** Fewer bytes than wanted were moved: goes on behind them. */
  #short(slot: number, result: number): boolean {
    if (result === 0) return this.#endOfFile(slot);
    const requests = this.#requests;
    const first = requests.first[slot]!;
    const count = requests.count[slot]!;
    const next = requests.lists[slot]!.advance(first, count, result);
    requests.first[slot] = next;
    requests.count[slot] = count - (next - first);
    requests.offset[slot]! += result;
    requests.remaining[slot]! -= result;
    return true;
  }

  #bounced(slot: number, step: number, result: number): boolean {
    const requests = this.#requests;
    if (step === STEP_READ_BOUNCED) {
      const copied = this.#bounce!.scatter(
        requests.bounce[slot]!,
        result,
        requests.lists[slot]!,
        requests.first[slot]!,
      );
      if (copied < 0) return this.#finish(slot, VIRTIO_BLK_S_IOERR);
    }
    if (result !== requests.remaining[slot]) return this.#short(slot, result);
    return step === STEP_READ_BOUNCED
      ? this.#finish(slot, VIRTIO_BLK_S_OK)
      : this.#written(slot);
  }

  #filled(slot: number, result: number): boolean {
    const requests = this.#requests;
    if (result === 0) return this.#endOfFile(slot);
    requests.offset[slot]! += result;
    requests.remaining[slot]! -= result;
    if (requests.remaining[slot]! > 0) return true;
    return this.#nextRange(slot);
  }

  /** The first range of a DISCARD or WRITE_ZEROES is done. */
  #nextRange(slot: number): boolean {
    const requests = this.#requests;
    requests.first[slot]!++;
    requests.count[slot]!--;
    if (requests.count[slot]! > 0) {
      if (requests.step[slot] === STEP_FILL) this.#aimFill(slot);
      return true;
    }
    if (!this.writethrough) return this.#finish(slot, VIRTIO_BLK_S_OK);
    requests.step[slot] = STEP_FLUSH;
    return true;
  }

  /** The first range is to be overwritten with zeros. */
  #aimFill(slot: number): void {
    const requests = this.#requests;
    const list = requests.lists[slot]!;
    const first = requests.first[slot]!;
    requests.step[slot] = STEP_FILL;
    requests.offset[slot] = list.base(first);
    requests.remaining[slot] = list.size(first);
  }

  #failed(slot: number, step: number, failure: number): boolean {
    const requests = this.#requests;
    if (failure === EAGAIN || failure === EINTR) {
      if (requests.retries[slot]! < RETRIES_MAX) {
        requests.retries[slot]!++;
        return true;
      }
    }
    if (failure === EOPNOTSUPP && step === STEP_DISCARD) {
      // DISCARD is a hint: the driver loses nothing when it is not taken.
      this.#discards = false;
      return this.#finish(slot, VIRTIO_BLK_S_OK);
    }
    if (failure === EOPNOTSUPP && step === STEP_ZERO) {
      if (requests.mayUnmap[slot] === 1) this.#unmaps = false;
      else this.#zeroes = false;
      this.#aimFill(slot);
      return true;
    }
    if (step === STEP_FLUSH && this.#losses !== null) this.#lose(failure);
    return this.#finish(slot, VIRTIO_BLK_S_IOERR);
  }

  #lose(failure: number): void {
    this.#losses!.note();
    const name = errnoName(failure);
    log.warnOnce(
      `The disk can't be flushed (${name}), so what was written may be lost, ` +
        "and each flush fails from now on: check the medium, then start " +
        "ringside again",
    );
  }

  /**
   * Somebody made the file shorter than the disk. What was there is gone;
   * zeros in its place would hide that.
   */
  #endOfFile(slot: number): boolean {
    log.warnOnce(
      "The file of the disk is shorter than the disk, whose end fails now: " +
        "make the file as long as it was",
    );
    return this.#finish(slot, VIRTIO_BLK_S_IOERR);
  }

  /** Answers `slot`; false, because there is nothing more to submit. */
  #finish(slot: number, status: number): boolean {
    const requests = this.#requests;
    const buffer = requests.bounce[slot]!;
    this.#queue.push(slot, requests.finish(slot, status));
    if (buffer >= 0) this.#giveBuffer(slot, buffer);
    return false;
  }

  #giveBuffer(slot: number, buffer: number): void {
    const requests = this.#requests;
    requests.bounce[slot] = -1;
    const next = this.#bounce!.give(buffer);
    if (next < 0) return;
    requests.bounce[next] = buffer;
    this.#resumed = next;
    if (this.#resuming) return;
    // One after the other: where each fails at once, each makes way for one
    // more, and there can be as many as the ring has entries.
    this.#resuming = true;
    while (this.#resumed >= 0) {
      const resumed = this.#resumed;
      this.#resumed = -1;
      this.#run(resumed);
    }
    this.#resuming = false;
  }
}
