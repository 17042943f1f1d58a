// Data plane: a ring of frames that the driver sends.
/**
 * @module
 */
import { Mapping } from "../../src/ffi/mapping.ts";
import { IovecList } from "../../src/io/iovec.ts";
import { wouldBlock } from "../../src/io/tap_queue.ts";
import type { Virtqueue } from "../../src/virtqueue/virtqueue.ts";
import type { OutgoingFrame, Port } from "./backend.ts";
import type { Capture } from "./capture.ts";
import { TX_BYTES, TX_DROPPED, TX_FRAMES } from "./counters.ts";
import { checkHeader } from "./offload.ts";
import { ETHERNET_SIZE, FRAME_MAX, HEADER_SIZE } from "./protocol.ts";

/** What one system call takes. */
const ELEMENTS = 1024;
/** The most that a port wants in memory of our own. */
const HEAD_MAX = HEADER_SIZE + ETHERNET_SIZE;

/** Sends what the driver puts on a transmit ring, in order. */
export class Transmit implements OutgoingFrame, Disposable {
  /** The ALLOW_* bits that were negotiated. */
  allowed = 0;
  readonly list: IovecList = new IovecList(ELEMENTS);
  readonly head: DataView;
  count = 0;
  size = 0;
  readonly #memory: Mapping;
  readonly #port: Port;
  readonly #capture: Capture | null;
  readonly #counters: Float64Array;

  /** Sends to `port`, counts in `counters`. */
  constructor(port: Port, capture: Capture | null, counters: Float64Array) {
    this.#memory = Mapping.anonymous(HEAD_MAX);
    this.head = new DataView(this.#memory.buffer);
    this.#port = port;
    this.#capture = capture;
    this.#counters = counters;
  }

  /** Sends what there is, until the host has no room. */
  drain(queue: Virtqueue): void {
    const port = this.#port;
    const counters = this.#counters;
    while (queue.pop()) {
      const head = queue.chain.head;
      if (this.#aim(queue)) {
        const result = port.send(this);
        if (wouldBlock(result)) {
          queue.undoPop();
          return;
        }
        if (result >= 0) {
          counters[TX_FRAMES]!++;
          counters[TX_BYTES]! += this.size - HEADER_SIZE;
          if (this.#capture !== null) this.#capture.sent(this);
        } else counters[TX_DROPPED]!++;
      } else counters[TX_DROPPED]!++;
      queue.push(head, 0);
    }
  }

  /** Drops what there is: the ring is disabled. */
  discard(queue: Virtqueue): void {
    while (queue.pop()) {
      this.#counters[TX_DROPPED]!++;
      queue.push(queue.chain.head, 0);
    }
  }

  /** Frees what it holds. */
  [Symbol.dispose](): void {
    this.list[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }

  /** Takes the frame of the chain that was popped; false where it is none. */
  #aim(queue: Virtqueue): boolean {
    const reader = queue.chain.reader;
    const size = reader.size;
    if (size < HEADER_SIZE + ETHERNET_SIZE || size > HEADER_SIZE + FRAME_MAX) {
      return false;
    }
    const head = this.head;
    const headSize = this.#port.headSize;
    // Once, before it is checked: the driver can change its own copy.
    for (let i = 0; i < headSize; i += 2) {
      head.setUint16(i, reader.readU16(), true);
    }
    if (!checkHeader(head, size - HEADER_SIZE, this.allowed)) return false;
    this.list.set(0, this.#memory.address, headSize);
    const rest = reader.remaining;
    let taken = 0;
    if (rest > 0) {
      taken = reader.takeIovecs(this.list, 1, rest);
      if (taken === 0) return false;
    }
    this.count = 1 + taken;
    this.size = size;
    return true;
  }
}
