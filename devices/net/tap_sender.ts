// Data plane: frames of the driver to a TAP interface, many in one system call.
/**
 * The kernel takes a frame in 0.65 us by an io_uring where a call for each takes
 * 1.0, so frames that are there together are handed over together. One that is
 * alone is sent by a call of its own, which is sooner: entering the io_uring
 * costs 0.9 us. Short frames are copied first: a second iovec costs the kernel
 * more.
 *
 * @module
 */
import { EBADFD } from "../../src/ffi/abi.ts";
import { Mapping } from "../../src/ffi/mapping.ts";
import type { IoUring, UringConsumer } from "../../src/io/io_uring.ts";
import { IovecList } from "../../src/io/iovec.ts";
import type { Chain } from "../../src/virtqueue/chain.ts";
import type { Virtqueue } from "../../src/virtqueue/virtqueue.ts";
import { TX_BYTES, TX_DROPPED, TX_FRAMES } from "./counters.ts";
import { copy } from "./guest_copy.ts";
import { checkHeader } from "./offload.ts";
import type { TapPort } from "./port_tap.ts";
import { ETHERNET_SIZE, FRAME_MAX, HEADER_SIZE } from "./protocol.ts";

/** Frames that are under way at once. */
const SLOTS = 128;
/** Memory of our own for each of them. */
const SLOT_SIZE = 128;
/** Elements for each. */
const ELEMENTS = 32;
const SIZE_MIN = HEADER_SIZE + ETHERNET_SIZE;
const SIZE_MAX = HEADER_SIZE + FRAME_MAX;

/** Sends frames of one ring by the io_uring of its thread. */
export class TapSender implements UringConsumer, Disposable {
  readonly #uring: IoUring;
  readonly #consumer: number;
  readonly #file: number;
  readonly #port: TapPort;
  readonly #counters: Float64Array;
  readonly #memory = Mapping.anonymous(SLOTS * SLOT_SIZE);
  /** By slot: headers, and all of a frame that is short. */
  readonly #views: DataView[] = [];
  readonly #list = new IovecList(SLOTS * ELEMENTS);
  /** A TAP interface has no offsets. */
  readonly #offsets = new Float64Array(SLOTS);
  readonly #heads = new Uint16Array(SLOTS);
  readonly #sizes = new Int32Array(SLOTS);
  /** The slots that are free, in no order. */
  readonly #free = new Uint8Array(SLOTS);
  #freeCount = SLOTS;
  #queue: Virtqueue | null = null;

  /** Sends to `port`, counts in `counters`. */
  constructor(uring: IoUring, port: TapPort, counters: Float64Array) {
    this.#uring = uring;
    this.#consumer = uring.addConsumer(this);
    this.#file = uring.registerFile(port.fd);
    this.#port = port;
    this.#counters = counters;
    for (let slot = 0; slot < SLOTS; slot++) {
      const at = slot * SLOT_SIZE;
      this.#views.push(new DataView(this.#memory.buffer, at, SLOT_SIZE));
      this.#free[slot] = slot;
    }
  }

  /**
   * Takes the frames that are there; `allowed` are the ALLOW_* bits. False
   * where the next one has to take the other way: none is under way then.
   */
  drain(queue: Virtqueue, allowed: number): boolean {
    this.#queue = queue;
    while (this.#freeCount > 0 && !this.#port.isLost) {
      if (!queue.pop()) return true;
      const { chain } = queue;
      const isAlone = this.#freeCount === SLOTS && !queue.hasAvailable();
      if (
        chain.readableCount >= ELEMENTS ||
        (isAlone && chain.reader.size > SLOT_SIZE)
      ) {
        queue.undoPop();
        break;
      }
      const count = this.#fill(chain, allowed);
      if (count > 0) this.#send(chain, count, isAlone);
      else {
        this.#counters[TX_DROPPED]!++;
        queue.push(chain.head, 0);
      }
    }
    return this.#freeCount < SLOTS;
  }

  /** A frame was taken, or refused. */
  complete(slot: number, result: number): void {
    const counters = this.#counters;
    if (result >= 0) {
      counters[TX_FRAMES]!++;
      counters[TX_BYTES]! += this.#sizes[slot]! - HEADER_SIZE;
    } else {
      counters[TX_DROPPED]!++;
      if (result === -EBADFD) this.#port.lose();
    }
    this.#free[this.#freeCount++] = slot;
    this.#queue!.push(this.#heads[slot]!, 0);
  }

  /** Lets go of the interface. Nothing is under way. */
  [Symbol.dispose](): void {
    this.#uring.unregisterFile(this.#file);
    this.#uring.removeConsumer(this.#consumer);
    this.#list[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }

  /** Puts a frame into the next slot: so many elements, 0 where it is none. */
  #fill(chain: Chain, allowed: number): number {
    const { reader } = chain;
    const { size } = reader;
    if (size < SIZE_MIN || size > SIZE_MAX) return 0;
    const slot = this.#free[this.#freeCount - 1]!;
    const view = this.#views[slot]!;
    const first = slot * ELEMENTS;
    const own = this.#memory.address + slot * SLOT_SIZE;
    let count = 1;
    // Once, before it is checked: the driver can change its own copy.
    if (size <= SLOT_SIZE) {
      gather(chain, view);
      this.#list.set(first, own, size);
    } else {
      readHeader(chain, view);
      this.#list.set(first, own, HEADER_SIZE);
      count += reader.takeIovecs(this.#list, first + 1, reader.remaining);
    }
    return checkHeader(view, size - HEADER_SIZE, allowed) ? count : 0;
  }

  /** Sends what is in the next slot: now, or together with others. */
  #send(chain: Chain, count: number, now: boolean): void {
    const slot = this.#free[--this.#freeCount]!;
    const list = this.#list;
    const first = slot * ELEMENTS;
    this.#heads[slot] = chain.head;
    this.#sizes[slot] = chain.reader.size;
    if (now) {
      return this.complete(slot, this.#port.write(list, first, count));
    }
    this.#uring.writeList(
      this.#consumer,
      slot,
      this.#file,
      list,
      first,
      count,
      this.#offsets,
      0,
    );
  }
}

/** Copies the header of a frame to `target`; the reader goes past it. */
function readHeader(
  { regions, offsets, sizes, memory, reader }: Chain,
  target: DataView,
): void {
  if (sizes[0]! >= HEADER_SIZE) {
    copy(memory.views[regions[0]!]!, offsets[0]!, target, 0, HEADER_SIZE);
    reader.skip(HEADER_SIZE);
    return;
  }
  for (let i = 0; i < HEADER_SIZE; i += 2) {
    target.setUint16(i, reader.readU16(), true);
  }
}

/** Copies the readable bytes of `chain` to `target`, which has room for them. */
function gather(chain: Chain, target: DataView): void {
  const { regions, offsets, sizes, readableCount, memory } = chain;
  if (readableCount === 1) {
    const view = memory.views[regions[0]!]!;
    return copy(view, offsets[0]!, target, 0, sizes[0]!);
  }
  let done = 0;
  for (let i = 0; i < readableCount; i++) {
    const size = sizes[i]!;
    copy(memory.views[regions[i]!]!, offsets[i]!, target, done, size);
    done += size;
  }
}
