// Data plane: short frames of a loopback, straight from one ring to the other.
/**
 * Both rings of a pair are on one thread, so a frame that is short and in one
 * piece needs no place between them: it goes from the buffer of the one to a
 * buffer of the other in one pass, without a system call, an iovec or a locked
 * instruction (each of which waits until all earlier stores are done, and those
 * go to memory that another processor has). All else takes the long way, by
 * `Transmit`, `LoopbackPort` and `Receive`.
 *
 * @module
 */
import type { Chain } from "../../src/virtqueue/chain.ts";
import type { Virtqueue } from "../../src/virtqueue/virtqueue.ts";
import { RX_BYTES, RX_FRAMES, TX_BYTES, TX_FRAMES } from "./counters.ts";
import { ASKS } from "./offload.ts";
import { ETHERNET_SIZE, HEADER_SIZE } from "./protocol.ts";

/** Bytes of the shortest frame with its header. */
const SIZE_MIN = HEADER_SIZE + ETHERNET_SIZE;
/** From here on the kernel copies quicker, see `GuestCopy`. */
const SIZE_MAX = 4096;
/**
 * Frames in one go, before the driver sees them and other rings have their turn.
 * With all that there are at once both sides would wait for each other: half of
 * the rate at depth 128.
 */
const BURST = 32;
/** In the first two bytes of a header: a loopback offers none of it. */
const REFUSED = ASKS;
/** The last word of a header: one buffer. */
const ONE_BUFFER = 0x0001_0000;

/** The short way back for the frames of one queue pair. */
export class Mirror {
  /** Where the frames go; null while nobody takes them. */
  receiveQueue: Virtqueue | null = null;
  readonly #counters: Float64Array;

  /** Counts in `counters`. */
  constructor(counters: Float64Array) {
    this.#counters = counters;
  }

  /**
   * Brings back what the driver has sent on `queue`. False where the next frame
   * has to take the long way.
   */
  drain(queue: Virtqueue): boolean {
    const target = this.receiveQueue;
    if (target === null) return false;
    let frames = 0;
    let bytes = 0;
    let isDone = true;
    while (frames < BURST && queue.pop()) {
      const { head, reader } = queue.chain;
      const size = reader.size;
      if (!this.#reflect(queue, target, size)) {
        queue.undoPop();
        isDone = false;
        break;
      }
      target.push(target.chain.head, size);
      queue.push(head, 0);
      frames++;
      bytes += size;
    }
    if (frames > 0) this.#count(frames, bytes - HEADER_SIZE * frames);
    return isDone;
  }

  /** Copies the frame that was popped to a buffer of `target`; false: it can't. */
  #reflect(queue: Virtqueue, target: Virtqueue, size: number): boolean {
    const from = queue.chain;
    if (size < SIZE_MIN || size > SIZE_MAX || from.segmentCount !== 1) {
      return false;
    }
    if (!target.pop()) return false;
    const to = target.chain;
    if (
      to.segmentCount === 1 && to.writer.size >= size && copy(from, to, size)
    ) {
      return true;
    }
    target.undoPop();
    return false;
  }

  #count(frames: number, bytes: number): void {
    const counters = this.#counters;
    counters[TX_FRAMES]! += frames;
    counters[TX_BYTES]! += bytes;
    counters[RX_FRAMES]! += frames;
    counters[RX_BYTES]! += bytes;
  }
}

/**
 * Copies a frame, its addresses swapped, with a header that says nothing; false
 * where its own header says something. Each byte is read once: the driver can
 * change it.
 */
function copy(from: Chain, to: Chain, size: number): boolean {
  const views = from.memory.views;
  const source = views[from.regions[0]!]!;
  const target = to.memory.views[to.regions[0]!]!;
  const at = from.offsets[0]!;
  const out = to.offsets[0]!;
  if ((source.getUint16(at, true) & REFUSED) !== 0) return false;
  // Destination, then source: six bytes each.
  const first = source.getInt32(at + 12, true);
  const second = source.getInt32(at + 16, true);
  const third = source.getInt32(at + 20, true);
  target.setInt32(out, 0, true);
  target.setInt32(out + 4, 0, true);
  target.setInt32(out + 8, ONE_BUFFER, true);
  target.setInt32(out + 12, second >>> 16 | third << 16, true);
  target.setInt32(out + 16, third >>> 16 | first << 16, true);
  target.setInt32(out + 20, first >>> 16 | second << 16, true);
  const words = size & ~3;
  for (let i = 24; i < words; i += 4) {
    target.setInt32(out + i, source.getInt32(at + i, true), true);
  }
  for (let i = words; i < size; i++) {
    target.setUint8(out + i, source.getUint8(at + i));
  }
  return true;
}
