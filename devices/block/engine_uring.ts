// Data plane: a file by io_uring, many requests at a time.
/**
 * @module
 */
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  RWF_DSYNC,
} from "../../src/ffi/abi.ts";
import type { IoUring, UringConsumer } from "../../src/io/io_uring.ts";
import type { IovecList } from "../../src/io/iovec.ts";
import { type Engine, PENDING } from "./engine.ts";
import { Flushes } from "./flushes.ts";
import type { Requests } from "./request.ts";

const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
const ZERO = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

/** Prepares submissions for the thread's io_uring, which the thread submits. */
export class UringEngine implements Engine {
  /** All that there are: the thread hands them over in shares. */
  readonly share = 0x10000;
  readonly #uring: IoUring;
  readonly #fd: number;
  readonly #consumer: number;
  readonly #flushes: Flushes;

  /**
   * Works on the file `fd`, and flushes it by `flushFds`, each open or
   * registered; `ring` gets the completions.
   */
  constructor(
    uring: IoUring,
    fd: number,
    flushFds: readonly number[],
    ring: UringConsumer,
  ) {
    this.#uring = uring;
    this.#fd = fd;
    this.#consumer = uring.addConsumer(ring);
    this.#flushes = new Flushes(uring, flushFds, ring);
  }

  read(
    requests: Requests,
    slot: number,
    list: IovecList,
    first: number,
    count: number,
  ): number {
    this.#uring.readList(
      this.#consumer,
      slot,
      this.#fd,
      list,
      first,
      count,
      requests.offset,
    );
    return PENDING;
  }

  write(
    requests: Requests,
    slot: number,
    list: IovecList,
    first: number,
    count: number,
    durable: boolean,
  ): number {
    this.#uring.writeList(
      this.#consumer,
      slot,
      this.#fd,
      list,
      first,
      count,
      requests.offset,
      durable ? RWF_DSYNC : 0,
    );
    return PENDING;
  }

  flush(slot: number): number {
    this.#flushes.flush(slot);
    return PENDING;
  }

  discard(slot: number, offset: number, size: number): number {
    this.#uring.fallocate(this.#consumer, slot, this.#fd, PUNCH, offset, size);
    return PENDING;
  }

  zero(slot: number, offset: number, size: number, mayUnmap: boolean): number {
    const mode = mayUnmap ? PUNCH : ZERO;
    this.#uring.fallocate(this.#consumer, slot, this.#fd, mode, offset, size);
    return PENDING;
  }
}
