// Data plane: the kernel's submission and completion queues.
/**
 * @module
 */
import { assert } from "../assert.ts";
import {
  EAGAIN,
  EBUSY,
  EINTR,
  ETIME,
  IORING_CQE_F_MORE,
  IORING_ENTER_EXT_ARG,
  IORING_ENTER_GETEVENTS,
  IORING_FSYNC_DATASYNC,
  IORING_OP_ASYNC_CANCEL,
  IORING_OP_FALLOCATE,
  IORING_OP_FSYNC,
  IORING_OP_NOP,
  IORING_OP_POLL_ADD,
  IORING_OP_POLL_REMOVE,
  IORING_OP_READ,
  IORING_OP_READV,
  IORING_OP_TIMEOUT,
  IORING_OP_WRITE,
  IORING_OP_WRITEV,
  IORING_POLL_ADD_MULTI,
  IORING_SQ_CQ_OVERFLOW,
  IORING_SQ_TASKRUN,
  IOSQE_FIXED_FILE,
  IOV_MAX,
  SYS_io_uring_enter,
} from "../ffi/abi.ts";
import { errno } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { pointerTo } from "../ffi/pointer.ts";
import { Mapping } from "../ffi/mapping.ts";
import {
  IO_URING_CQE,
  IO_URING_GETEVENTS_ARG,
  IO_URING_SQE,
  IOVEC,
  TIMESPEC,
} from "../ffi/struct.ts";
import type { Fd } from "./fd.ts";
import { FIRST_FILE, NO_FILE, UringFiles } from "./io_uring_files.ts";
import type { IovecList } from "./iovec.ts";
import { type RingMemory, setUpRing } from "./io_uring_setup.ts";

const TWO_32 = 0x1_0000_0000;
const BILLION = 1_000_000_000;
const SQE_WORDS = IO_URING_SQE.size / 4;
const CQE_WORDS = IO_URING_CQE.size / 4;
/** A consumer's number: its place below, how often that was reused above. */
const PLACE_BITS = 12;
const PLACE_MASK = (1 << PLACE_BITS) - 1;
/** The consumer of completions that nobody waits for; no V8 double. */
const NOBODY = 0x7fff_ffff;
/** How often handing over is tried while the kernel lacks memory for it. */
const ATTEMPTS_MAX = 1000;

// Where in the time memory, in units of 16 bytes: the argument of a wait, the
// timespec of a wait, and one timespec for each entry.
const WAIT_TIME_AT = 2;
const TIMES_AT = 3;

/** The flag as part of the first word of an entry. */
const FIXED = IOSQE_FIXED_FILE << 8 * IO_URING_SQE.at.flags;

// Indices of 32-bit words in a submission queue entry.
const FD = IO_URING_SQE.at.fd / 4;
const OFFSET = IO_URING_SQE.at.offset / 4;
const ADDRESS = IO_URING_SQE.at.address / 4;
const SIZE = IO_URING_SQE.at.size / 4;
const FLAGS = IO_URING_SQE.at.operationFlags / 4;
const USER_DATA = IO_URING_SQE.at.userData / 4;
const REST = USER_DATA + 2;

/** Who gets the completions of the requests that it prepared. */
export interface UringConsumer {
  /**
   * The request that was prepared with `slot` is done: its result, as of the
   * system call, is at least 0 or a negative errno. A multishot request goes
   * on while `flags` has IORING_CQE_F_MORE (2). May prepare, must not submit
   * and wait or reap.
   */
  complete(slot: number, result: number, flags: number): void;
}

/** How an io_uring is opened. */
export interface UringOptions {
  /**
   * The thread that opens it is the only one ever to use it, synchronously:
   * cheaper, but nothing may poll its descriptor from another thread.
   */
  singleThread?: boolean;
  /** Completions that the queue holds, rounded up; four times the entries. */
  completions?: number;
}

/**
 * An io_uring. Preparing a request only fills in an entry; `submit` or
 * `submitAndWait` hands the entries over; `reap` calls the consumers. A full
 * submission queue is handed over at once, so preparing never fails.
 *
 * @example A device whose requests are done when the kernel says so
 * ```ts
 * import type { Virtqueue } from "@ringside/ringside/device";
 * import { FakeDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * using fake = FakeDriver.over(({ uring }) => {
 *   let consumer = 0;
 *   return {
 *     start(queue: Virtqueue) {
 *       consumer = uring!.addConsumer({
 *         complete: (head) => queue.push(head, 0),
 *       });
 *     },
 *     drain(queue) {
 *       while (queue.pop()) uring!.timeout(consumer, queue.chain.head, 1000);
 *     },
 *   };
 * }, { uring: true });
 * const [one, two] = await Promise.all([
 *   fake.request([{ room: 1 }]),
 *   fake.request([{ room: 1 }]),
 * ]);
 * assertEquals([one.written, two.written], [0, 0]);
 * ```
 */
export class IoUring implements Disposable {
  /** Readable when there are completions, for a ring that is not `singleThread`. */
  readonly fd: Fd;
  /** Entries of the submission queue. */
  readonly entries: number;
  readonly #memory: RingMemory;
  readonly #sqTail: Int32Array;
  readonly #sqFlags: Int32Array;
  readonly #sqes: Int32Array;
  readonly #sqMask: number;
  readonly #cqHead: Int32Array;
  readonly #cqTail: Int32Array;
  readonly #cqes: Uint32Array;
  readonly #cqMask: number;
  /** `struct io_uring_getevents_arg`, its timespec, one timespec an entry. */
  readonly #times: Mapping;
  readonly #timeWords: Uint32Array;
  readonly #waitArgument: Deno.PointerObject;
  readonly #waitArgumentSize: Deno.PointerObject;
  readonly #files: UringFiles;
  readonly #consumers: (UringConsumer | null)[] = [];
  readonly #consumerIds: number[] = [];
  readonly #freePlaces: number[] = [];
  /** Where the next entry goes; wraps at 2^32, signed. */
  #tail = 0;
  /** The next completion to take; likewise. The kernel hears of it in batches. */
  #head = 0;
  /** Entries that were filled in, not handed over. */
  #pending = 0;
  /** Entries that were filled in whose last completion was not reaped. */
  #inFlight = 0;
  /** Completions that were moved out of a full queue, oldest first. */
  #stash = new Uint32Array(0);
  #stashHead = 0;
  #stashTail = 0;

  private constructor(memory: RingMemory) {
    this.#memory = memory;
    this.fd = memory.fd;
    this.#files = new UringFiles(memory.fd);
    this.entries = memory.sqEntries;
    this.#sqTail = memory.sqTail;
    this.#sqFlags = memory.sqFlags;
    this.#sqes = memory.sqes;
    this.#sqMask = memory.sqEntries - 1;
    this.#cqHead = memory.cqHead;
    this.#cqTail = memory.cqTail;
    this.#cqes = memory.cqes;
    this.#cqMask = memory.cqEntries - 1;
    this.#tail = memory.sqTail[0]!;
    this.#head = memory.cqHead[0]!;
    this.#times = Mapping.anonymous((TIMES_AT + memory.sqEntries) * 16);
    this.#timeWords = new Uint32Array(this.#times.buffer);
    this.#waitArgument = pointerTo(this.#times.address);
    this.#waitArgumentSize = pointerTo(IO_URING_GETEVENTS_ARG.size);
    const timespec = this.#times.address + WAIT_TIME_AT * TIMESPEC.size;
    const word = IO_URING_GETEVENTS_ARG.at.timespec / 4;
    this.#timeWords[word] = timespec;
    this.#timeWords[word + 1] = timespec / TWO_32;
  }

  /**
   * Opens one with room for `entries` submissions, a power of two. Throws a
   * SystemError where the kernel or its administrator forbids it.
   */
  static open(entries: number, options: UringOptions = {}): IoUring {
    const { singleThread = false, completions = 4 * entries } = options;
    return new IoUring(setUpRing(entries, completions, singleThread));
  }

  /** Requests that were prepared, not yet handed to the kernel. */
  get pending(): number {
    return this.#pending;
  }

  /** Requests whose last completion was not reaped, the pending ones included. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Which entry the next one prepared will be, modulo 2^32, signed. */
  get nextEntry(): number {
    return this.#tail;
  }

  /** Whether `entry`, which was a `nextEntry`, was not yet handed to the kernel. */
  isPending(entry: number): boolean {
    return ((this.#tail - entry) >>> 0) <= this.#pending;
  }

  /** The number of a new consumer, to prepare requests with. */
  addConsumer(consumer: UringConsumer): number {
    const place = this.#freePlaces.pop() ?? this.#consumers.length;
    assert(place < PLACE_MASK, "too many consumers of one io_uring");
    const lives = (this.#consumerIds[place] ?? -1) >> PLACE_BITS;
    const id = ((lives + 1) << PLACE_BITS | place) & 0x7fff_ffff;
    this.#consumers[place] = consumer;
    this.#consumerIds[place] = id;
    return id;
  }

  /** Forgets a consumer. Completions that are still to come for it are dropped. */
  removeConsumer(id: number): void {
    const place = id & PLACE_MASK;
    if (this.#consumerIds[place] !== id) return;
    if (this.#consumers[place] === null) return;
    this.#consumers[place] = null;
    this.#freePlaces.push(place);
  }

  /**
   * Makes the kernel hold the file of `fd`: what to pass in place of the
   * descriptor. Saves its being looked up (55 of the 780 ns of a 4 KiB read
   * from the page cache). Gives `fd` where there is no room or the kernel
   * refuses.
   */
  registerFile(fd: number): number {
    return this.#files.add(fd);
  }

  /** Lets go of what `registerFile` gave, once no request uses it. */
  unregisterFile(file: number): void {
    this.#files.remove(file);
  }

  /** Prepares a read of `size` bytes at `offset` of the file to `address`. */
  read(
    consumer: number,
    slot: number,
    fd: number,
    address: number,
    size: number,
    offset: number,
  ): void {
    const at = this.#prepare(IORING_OP_READ, consumer, slot, fd);
    this.#aim(at, address, size, offset, 0);
  }

  /** Prepares a write likewise; `rwFlags` as RWF_DSYNC. */
  write(
    consumer: number,
    slot: number,
    fd: number,
    address: number,
    size: number,
    offset: number,
    rwFlags: number = 0,
  ): void {
    const at = this.#prepare(IORING_OP_WRITE, consumer, slot, fd);
    this.#aim(at, address, size, offset, rwFlags);
  }

  /** Prepares a read into `iovecCount` iovecs, which stay until it is submitted. */
  readv(
    consumer: number,
    slot: number,
    fd: number,
    iovecAddress: number,
    iovecCount: number,
    offset: number,
    rwFlags: number = 0,
  ): void {
    const at = this.#prepare(IORING_OP_READV, consumer, slot, fd);
    this.#aim(at, iovecAddress, iovecCount, offset, rwFlags);
  }

  /** Prepares a write likewise. */
  writev(
    consumer: number,
    slot: number,
    fd: number,
    iovecAddress: number,
    iovecCount: number,
    offset: number,
    rwFlags: number = 0,
  ): void {
    const at = this.#prepare(IORING_OP_WRITEV, consumer, slot, fd);
    this.#aim(at, iovecAddress, iovecCount, offset, rwFlags);
  }

  /**
   * Prepares a read at `offsets[slot]` of the file into `count` elements of
   * `list` from `first`, which stay until it is submitted; a single element is
   * copied at once. For hot code: an address or an offset that is a parameter
   * is allocated wherever V8 does not inline the call (measured: 16 bytes a
   * request, in most runs); here both travel in memory.
   */
  readList(
    consumer: number,
    slot: number,
    fd: number,
    list: IovecList,
    first: number,
    count: number,
    offsets: Float64Array,
  ): void {
    const operation = count === 1 ? IORING_OP_READ : IORING_OP_READV;
    const at = this.#prepare(operation, consumer, slot, fd);
    this.#aimList(at, list, first, count, 0);
    const offset = offsets[slot]!;
    this.#sqes[at + OFFSET] = offset;
    this.#sqes[at + OFFSET + 1] = offset / TWO_32;
  }

  /** Prepares a write likewise; `rwFlags` as RWF_DSYNC. */
  writeList(
    consumer: number,
    slot: number,
    fd: number,
    list: IovecList,
    first: number,
    count: number,
    offsets: Float64Array,
    rwFlags: number,
  ): void {
    const operation = count === 1 ? IORING_OP_WRITE : IORING_OP_WRITEV;
    const at = this.#prepare(operation, consumer, slot, fd);
    this.#aimList(at, list, first, count, rwFlags);
    const offset = offsets[slot]!;
    this.#sqes[at + OFFSET] = offset;
    this.#sqes[at + OFFSET + 1] = offset / TWO_32;
  }

  /** Prepares an fdatasync, or an fsync unless `dataOnly`. */
  fsync(
    consumer: number,
    slot: number,
    fd: number,
    dataOnly: boolean,
  ): void {
    const at = this.#prepare(IORING_OP_FSYNC, consumer, slot, fd);
    this.#aim(at, 0, 0, 0, dataOnly ? IORING_FSYNC_DATASYNC : 0);
  }

  /** Prepares a fallocate of `size` bytes at `offset`. */
  fallocate(
    consumer: number,
    slot: number,
    fd: number,
    mode: number,
    offset: number,
    size: number,
  ): void {
    const at = this.#prepare(IORING_OP_FALLOCATE, consumer, slot, fd);
    // The kernel takes the size from the address and the mode from the size.
    this.#aim(at, size, mode, offset, 0);
  }

  /** Prepares waiting for poll(2) `events`, again and again when `multishot`. */
  pollAdd(
    consumer: number,
    slot: number,
    fd: number,
    events: number,
    multishot: boolean,
  ): void {
    const at = this.#prepare(IORING_OP_POLL_ADD, consumer, slot, fd);
    this.#aim(at, 0, multishot ? IORING_POLL_ADD_MULTI : 0, 0, events);
  }

  /**
   * Prepares the end of the poll that was prepared with the same consumer and
   * slot: it completes with -ECANCELED. Nothing tells when there was none.
   */
  pollRemove(consumer: number, slot: number): void {
    const at = this.#prepare(IORING_OP_POLL_REMOVE, NOBODY, 0, NO_FILE);
    this.#aimAt(at, consumer, slot);
  }

  /** Prepares the cancelling of whatever was prepared so; as `pollRemove`. */
  cancel(consumer: number, slot: number): void {
    const at = this.#prepare(IORING_OP_ASYNC_CANCEL, NOBODY, 0, NO_FILE);
    this.#aimAt(at, consumer, slot);
  }

  /** Prepares a timer: it completes with -ETIME after `nanoseconds`. */
  timeout(consumer: number, slot: number, nanoseconds: number): void {
    const at = this.#prepare(IORING_OP_TIMEOUT, consumer, slot, NO_FILE);
    const index = TIMES_AT + at / SQE_WORDS;
    this.#setTime(index, nanoseconds);
    this.#aim(at, this.#times.address + index * TIMESPEC.size, 1, 0, 0);
  }

  /** Prepares nothing, which completes at once with 0. */
  nop(consumer: number, slot: number): void {
    const at = this.#prepare(IORING_OP_NOP, consumer, slot, NO_FILE);
    this.#aim(at, 0, 0, 0, 0);
  }

  /**
   * Hands over what is pending, or the oldest `limit` of it, without waiting:
   * how many requests the kernel took, or a negative errno. -EAGAIN and -EBUSY:
   * later, after a `reap`.
   */
  submit(limit: number = this.#pending): number {
    if (this.#pending === 0) return 0;
    return this.#enter(limit < this.#pending ? limit : this.#pending, 0, 0);
  }

  /**
   * Hands over what is pending and waits for `min` completions to be there, or
   * up to `timeoutMs` (-1: for ever): how many requests the kernel took, or a
   * negative errno. A signal, too, may end the wait early; neither that nor the
   * time being up is an error.
   */
  submitAndWait(min: number, timeoutMs: number = -1): number {
    const wanted = this.#stashHead === this.#stashTail ? min : 0;
    let flags = IORING_ENTER_GETEVENTS;
    if (timeoutMs >= 0 && wanted > 0) {
      flags |= IORING_ENTER_EXT_ARG;
      this.#setTime(WAIT_TIME_AT, timeoutMs * 1_000_000);
    }
    const result = this.#enter(this.#pending, wanted, flags);
    if (result === -ETIME || result === -EINTR) return 0;
    return result;
  }

  /** Calls the consumers of up to `limit` completions: how many there were. */
  reap(limit: number): number {
    let count = 0;
    while (count < limit) {
      const batch = this.#reapStash(limit - count);
      count += batch;
      const more = this.#reapQueue(limit - count);
      count += more;
      if (batch + more === 0 && !this.#refill()) break;
    }
    this.#publishHead();
    return count;
  }

  /** Closes it. What is in flight is cancelled by the kernel, at its leisure. */
  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
    this.#times[Symbol.dispose]();
  }

  /** Begins an entry: the index of its first word. */
  #prepare(
    operation: number,
    consumer: number,
    slot: number,
    fd: number,
  ): number {
    if (this.#pending === this.entries) this.#makeRoom();
    const sqes = this.#sqes;
    const at = (this.#tail & this.#sqMask) * SQE_WORDS;
    this.#tail = (this.#tail + 1) | 0;
    this.#pending++;
    this.#inFlight++;
    const isFixed = fd < NO_FILE;
    sqes[at] = isFixed ? operation | FIXED : operation;
    sqes[at + FD] = isFixed ? FIRST_FILE - fd : fd;
    sqes[at + USER_DATA] = slot;
    sqes[at + USER_DATA + 1] = consumer;
    for (let i = at + REST; i < at + SQE_WORDS; i++) sqes[i] = 0;
    return at;
  }

  #aim(
    at: number,
    address: number,
    size: number,
    offset: number,
    operationFlags: number,
  ): void {
    const sqes = this.#sqes;
    sqes[at + OFFSET] = offset;
    sqes[at + OFFSET + 1] = offset / TWO_32;
    sqes[at + ADDRESS] = address;
    sqes[at + ADDRESS + 1] = address / TWO_32;
    sqes[at + SIZE] = size;
    sqes[at + FLAGS] = operationFlags;
  }

  /** The address and the size of an entry that moves elements of `list`. */
  #aimList(
    at: number,
    list: IovecList,
    first: number,
    count: number,
    operationFlags: number,
  ): void {
    const sqes = this.#sqes;
    sqes[at + FLAGS] = operationFlags;
    if (count === 1) return list.copyTo(first, sqes, at + ADDRESS);
    const address = list.address + first * IOVEC.size;
    sqes[at + ADDRESS] = address;
    sqes[at + ADDRESS + 1] = address / TWO_32;
    sqes[at + SIZE] = count < IOV_MAX ? count : IOV_MAX;
  }

  /** Makes the entry speak of the one with this consumer and slot. */
  #aimAt(at: number, consumer: number, slot: number): void {
    this.#aim(at, 0, 0, 0, 0);
    this.#sqes[at + ADDRESS] = slot;
    this.#sqes[at + ADDRESS + 1] = consumer;
  }

  #setTime(index: number, nanoseconds: number): void {
    const word = index * (TIMESPEC.size / 4);
    const seconds = Math.floor(nanoseconds / BILLION);
    this.#timeWords[word] = seconds;
    this.#timeWords[word + 1] = seconds / TWO_32;
    this.#timeWords[word + 2] = nanoseconds - seconds * BILLION;
    this.#timeWords[word + 3] = 0;
  }

  /**
   * Enters the kernel with `count` of the pending requests: how many it took,
   * or a negative errno.
   */
  #enter(count: number, min: number, flags: number): number {
    // Release: the kernel sees the tail after the entries before it.
    Atomics.store(this.#sqTail, 0, this.#tail);
    this.#publishHead();
    const fd = this.fd.number;
    const hasArgument = (flags & IORING_ENTER_EXT_ARG) !== 0;
    const argument = hasArgument ? this.#waitArgument : null;
    const size = hasArgument ? this.#waitArgumentSize : null;
    let total = 0;
    for (;;) {
      const taken = libc.ioUringEnter(
        SYS_io_uring_enter,
        fd,
        count - total,
        min,
        flags,
        argument,
        size,
      );
      if (taken < 0) return total > 0 ? total : -errno();
      this.#pending -= taken;
      total += taken;
      // An older kernel stops at an entry that it refuses, and completes that.
      if (total === count || taken === 0) return total;
    }
  }

  /** Hands over what is pending, whatever it takes. */
  #makeRoom(): void {
    for (let i = 0; i < ATTEMPTS_MAX; i++) {
      const flags = i === 0 ? 0 : IORING_ENTER_GETEVENTS;
      const result = this.#enter(this.#pending, 0, flags);
      if (this.#pending < this.entries) return;
      // The kernel waits for room among the completions. The consumers can't
      // be called from here: one of them may be preparing.
      assert(
        result === -EBUSY || result === -EAGAIN || result === -EINTR,
        `io_uring_enter answers ${result}`,
      );
      this.#stashQueue();
    }
    assert(false, "io_uring_enter never takes a request");
  }

  #publishHead(): void {
    // Release: the kernel reuses an entry only after it was read.
    Atomics.store(this.#cqHead, 0, this.#head);
  }

  /** Whether there is more after the kernel was asked to fill the queue. */
  #refill(): boolean {
    const flags = Atomics.load(this.#sqFlags, 0);
    if ((flags & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) === 0) {
      return false;
    }
    this.#publishHead();
    const fd = this.fd.number;
    const wanted = IORING_ENTER_GETEVENTS;
    libc.ioUringEnter(SYS_io_uring_enter, fd, 0, 0, wanted, null, null);
    return Atomics.load(this.#cqTail, 0) !== this.#head;
  }

  #reapStash(limit: number): number {
    let count = 0;
    while (count < limit && this.#stashHead < this.#stashTail) {
      const at = this.#stashHead;
      this.#stashHead += CQE_WORDS;
      this.#deliver(this.#stash, at);
      count++;
    }
    return count;
  }

  #reapQueue(limit: number): number {
    // Acquire: what the kernel wrote before it moved the tail is read after.
    const tail = Atomics.load(this.#cqTail, 0);
    let count = 0;
    // A consumer that prepares may move the rest to the stash, which goes first.
    while (
      count < limit && this.#head !== tail &&
      this.#stashHead === this.#stashTail
    ) {
      const at = (this.#head & this.#cqMask) * CQE_WORDS;
      this.#head = (this.#head + 1) | 0;
      this.#deliver(this.#cqes, at);
      count++;
    }
    return count;
  }

  #deliver(words: Uint32Array, at: number): void {
    // All is read before the consumer is called: it may move the entries.
    const slot = words[at]!;
    const id = words[at + 1]!;
    const result = words[at + 2]! | 0;
    const flags = words[at + 3]!;
    if ((flags & IORING_CQE_F_MORE) === 0) this.#inFlight--;
    if (id === NOBODY) return;
    const place = id & PLACE_MASK;
    const consumer = this.#consumers[place]!;
    if (consumer === null || this.#consumerIds[place] !== id) return;
    consumer.complete(slot, result, flags);
  }

  /** Moves what is in the queue to the stash, which grows as needed. */
  #stashQueue(): void {
    const tail = Atomics.load(this.#cqTail, 0);
    if (this.#stashHead === this.#stashTail) {
      this.#stashHead = 0;
      this.#stashTail = 0;
    }
    while (this.#head !== tail) {
      if (this.#stashTail === this.#stash.length) this.#growStash();
      const at = (this.#head & this.#cqMask) * CQE_WORDS;
      for (let i = 0; i < CQE_WORDS; i++) {
        this.#stash[this.#stashTail + i] = this.#cqes[at + i]!;
      }
      this.#stashTail += CQE_WORDS;
      this.#head = (this.#head + 1) | 0;
    }
    this.#publishHead();
  }

  #growStash(): void {
    const grown = new Uint32Array(Math.max(4096, 2 * this.#stash.length));
    grown.set(this.#stash);
    this.#stash = grown;
  }
}
