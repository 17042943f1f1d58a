// Data plane: a ring of buffers for frames that the driver receives.
/**
 * @module
 */
import type { DataPlaneServices } from "../../src/device/device.ts";
import { Mapping } from "../../src/ffi/mapping.ts";
import { IovecList } from "../../src/io/iovec.ts";
import type { Region } from "../../src/memory/region.ts";
import type { Virtqueue } from "../../src/virtqueue/virtqueue.ts";
import type { Port } from "./backend.ts";
import type { Capture } from "./capture.ts";
import { RX_BYTES, RX_DROPPED, RX_FRAMES } from "./counters.ts";
import {
  ETHERNET_SIZE,
  FRAME_MAX,
  HEADER_SIZE,
  NUM_BUFFERS,
} from "./protocol.ts";

/** What one system call takes; the last one is for what the buffers can't. */
const ELEMENTS = 1024;
/** Buffers that one frame is spread over at most. */
const BUFFERS_MAX = 256;
/** Header and frame. */
const SIZE_MAX = HEADER_SIZE + FRAME_MAX;
/** Frames that are received in one go, before other rings have their turn. */
const BURST = 256;
/** The same for frames that are dropped, which leave nothing else to do. */
const DROPS_MAX = 4096;

/**
 * Receives frames into the buffers that the driver posted.
 *
 * A frame is read into a *window* of buffers, which are popped for the purpose
 * and go back to the ring unless they are used. It holds the largest frame that
 * is to be expected, so the kernel writes straight to the guest. Where the
 * driver has posted less, one frame is read into memory of our own and *parked*
 * there until it fits.
 */
export class Receive implements Disposable {
  /** Whether a frame may be spread over several buffers. */
  mergeable = false;
  /** Whether the driver takes what the host says of checksums. */
  checksums = false;
  readonly #services: DataPlaneServices;
  readonly #port: Port;
  readonly #capture: Capture | null;
  readonly #counters: Float64Array;
  /** The window's memory, one buffer after the other. */
  readonly #list: IovecList = new IovecList(ELEMENTS);
  // The buffers of the window, those from #first to before #end.
  readonly #heads = new Uint16Array(BUFFERS_MAX);
  readonly #sizes = new Int32Array(BUFFERS_MAX);
  /** The first element of each; that of the one after the last is `#elements`. */
  readonly #elementOf = new Int32Array(BUFFERS_MAX);
  // Where `flags` and the two bytes of `num_buffers` are in each.
  readonly #flagRegions = new Uint16Array(BUFFERS_MAX);
  readonly #flagOffsets = new Float64Array(BUFFERS_MAX);
  readonly #lowRegions = new Uint16Array(BUFFERS_MAX);
  readonly #lowOffsets = new Float64Array(BUFFERS_MAX);
  readonly #highRegions = new Uint16Array(BUFFERS_MAX);
  readonly #highOffsets = new Float64Array(BUFFERS_MAX);
  #first = 0;
  #end = 0;
  #elements = 0;
  /** Bytes of the window. */
  #room = 0;
  /** Whether the buffers of the window can go back to the ring. */
  #reversible = true;
  /** Bytes that the window is to hold: no frame was larger so far. */
  #wanted = SIZE_MAX;
  /** The most that the driver ever offered at once. */
  #roomMax = 0;
  /** The memory of our own, and the frame that is parked in it. */
  readonly #spare: Mapping;
  readonly #spareBytes: Uint8Array;
  readonly #spareList: IovecList = new IovecList(1);
  #parked = 0;

  /** Receives from `port`, counts in `counters`. */
  constructor(
    services: DataPlaneServices,
    port: Port,
    capture: Capture | null,
    counters: Float64Array,
  ) {
    this.#services = services;
    this.#port = port;
    this.#capture = capture;
    this.#counters = counters;
    // Twice: what is read behind the window, and what is in front of it.
    this.#spare = Mapping.anonymous(2 * SIZE_MAX);
    this.#spareBytes = new Uint8Array(this.#spare.buffer);
    this.#spareList.set(0, this.#spare.address, SIZE_MAX);
  }

  /** Expects frames of up to `size` bytes; larger ones cost more. */
  expect(size: number): void {
    this.#wanted = Math.min(HEADER_SIZE + size, SIZE_MAX);
  }

  /** Whether a frame waits for the driver to post more buffers. */
  get isShort(): boolean {
    return this.#parked > 0;
  }

  /** A ring begins: nothing of another one is left. */
  start(): void {
    this.#roomMax = 0;
    this.#dropParked();
  }

  /** Receives until there is nothing, or no buffer for it. */
  drain(queue: Virtqueue): void {
    const counters = this.#counters;
    const start = counters[RX_FRAMES]!;
    for (let i = 0; i < DROPS_MAX; i++) {
      if (counters[RX_FRAMES]! - start === BURST) break;
      if (this.#parked > 0) {
        if (!this.#unpark(queue)) return;
      } else if (!this.#receive(queue)) break;
    }
    this.#giveBack(queue);
  }

  /** Frees what it holds. */
  [Symbol.dispose](): void {
    this.#list[Symbol.dispose]();
    this.#spareList[Symbol.dispose]();
    this.#spare[Symbol.dispose]();
  }

  /** Receives one frame; false where there is none, or no buffer. */
  #receive(queue: Virtqueue): boolean {
    if (this.#end >= BUFFERS_MAX / 2 || this.#elements >= ELEMENTS / 2) {
      this.#giveBack(queue);
    }
    this.#gather(queue, this.#wanted);
    const room = this.#room;
    if (room === 0) return false;
    if (room > this.#roomMax) this.#roomMax = room;
    if (this.mergeable && room < this.#wanted) {
      this.#giveBack(queue);
      const size = this.#port.receive(this.#spareList, 0, 1);
      if (size < 0) return false;
      if (!this.#isRunt(size)) this.#parked = size;
      return true;
    }
    const list = this.#list;
    const last = this.#elements;
    const first = this.#elementOf[this.#first]!;
    list.set(last, this.#spare.address + SIZE_MAX, SIZE_MAX);
    const size = this.#port.receive(list, first, last - first + 1);
    if (size < 0) return false;
    if (this.#isRunt(size)) return true;
    if (size > room) return this.#tooLarge(queue, size);
    if (this.#capture !== null) this.#capture.received(list, first, size);
    this.#publish(queue, size);
    return true;
  }

  /** Pops buffers until the window holds `wanted` bytes, or there are no more. */
  #gather(queue: Virtqueue, wanted: number): void {
    while (this.#room < wanted) {
      // One it is, and it may be there still, from a frame too large for it.
      if (!this.mergeable && this.#end > this.#first) return;
      if (this.#end === BUFFERS_MAX) return;
      const malformed = queue.malformed;
      const popped = queue.pop();
      // What was popped before something malformed can't go back over it.
      if (queue.malformed !== malformed) this.#seal();
      if (!popped) return;
      if (!this.#take(queue)) return;
    }
  }

  /** Puts the buffer that was popped into the window; false where that is full. */
  #take(queue: Virtqueue): boolean {
    const { chain } = queue;
    const { writer } = chain;
    const size = writer.size < SIZE_MAX ? writer.size : SIZE_MAX;
    const first = this.#elements;
    let taken = 0;
    if (size >= HEADER_SIZE) {
      this.#locate(this.#end, queue);
      taken = writer.takeIovecs(this.#list, first, size);
    }
    if (taken === 0 || first + taken >= ELEMENTS) {
      if (first > 0 && size >= HEADER_SIZE) {
        queue.undoPop();
        return false;
      }
      this.#refuse(queue);
      return true;
    }
    const end = this.#end;
    this.#heads[end] = chain.head;
    this.#sizes[end] = size;
    this.#elementOf[end] = first;
    this.#elements = first + taken;
    this.#room += size;
    this.#end = end + 1;
    return true;
  }

  /** The buffer that was popped is of no use to any frame. */
  #refuse(queue: Virtqueue): void {
    this.#seal();
    queue.push(queue.chain.head, 0);
  }

  /** What is in the window can't go back over what was given back after it. */
  #seal(): void {
    if (this.#end > this.#first) this.#reversible = false;
  }

  #isRunt(size: number): boolean {
    if (size >= HEADER_SIZE + ETHERNET_SIZE) return false;
    this.#counters[RX_DROPPED]!++;
    return true;
  }

  /** Notes where the header of buffer `index` is: the one that was popped. */
  #locate(index: number, queue: Virtqueue): void {
    const { writer } = queue.chain;
    writer.locate(0);
    this.#flagRegions[index] = writer.foundRegion;
    this.#flagOffsets[index] = writer.foundOffset;
    writer.locate(NUM_BUFFERS);
    this.#lowRegions[index] = writer.foundRegion;
    this.#lowOffsets[index] = writer.foundOffset;
    writer.locate(NUM_BUFFERS + 1);
    this.#highRegions[index] = writer.foundRegion;
    this.#highOffsets[index] = writer.foundOffset;
  }

  /** Gives the first buffers of the window to the driver, with `size` bytes. */
  #publish(queue: Virtqueue, size: number): void {
    const start = this.#first;
    const sizes = this.#sizes;
    let end = start;
    for (let rest = size; rest > 0; end++) rest -= sizes[end]!;
    // Before `push`, which logs the pages as written.
    this.#finishHeader(start, end - start);
    let rest = size;
    for (let index = start; index < end; index++) {
      const room = sizes[index]!;
      const written = rest < room ? rest : room;
      queue.push(this.#heads[index]!, written);
      this.#room -= room;
      rest -= written;
    }
    this.#first = end;
    this.#counters[RX_FRAMES]!++;
    this.#counters[RX_BYTES]! += size - HEADER_SIZE;
    if (end === this.#end) this.#empty();
  }

  /** Completes the header in buffer `index` of a frame in `count` buffers. */
  #finishHeader(index: number, count: number): void {
    const { views } = this.#services.memory;
    const low = views[this.#lowRegions[index]!]!;
    const high = views[this.#highRegions[index]!]!;
    low.setUint8(this.#lowOffsets[index]!, count & 255);
    high.setUint8(this.#highOffsets[index]!, count >> 8);
    if (this.checksums) return;
    // §5.1.6.4.1: the kernel vouches for checksums whether it is asked or not.
    const flags = views[this.#flagRegions[index]!]!;
    flags.setUint8(this.#flagOffsets[index]!, 0);
  }

  /** A frame was larger than the window: its end is in memory of our own. */
  #tooLarge(queue: Virtqueue, size: number): boolean {
    const head = this.#room;
    if (!this.mergeable || size > SIZE_MAX) {
      this.#counters[RX_DROPPED]!++;
      return true;
    }
    this.#copy(head, false);
    this.#spareBytes.copyWithin(head, SIZE_MAX, SIZE_MAX + size - head);
    this.#giveBack(queue);
    this.#wanted = size;
    this.#parked = size;
    return true;
  }

  /**
   * Copies `size` bytes between the window and memory of our own. This is rare,
   * and may allocate.
   */
  #copy(size: number, toGuest: boolean): void {
    let done = 0;
    for (let i = this.#elementOf[this.#first]!; done < size; i++) {
      const address = this.#list.base(i);
      const piece = Math.min(this.#list.size(i), size - done);
      const { bytes, hostAddress } = this.#regionOf(address);
      const own = this.#spareBytes.subarray(done, done + piece);
      const start = address - hostAddress;
      if (toGuest) bytes.set(own, start);
      else own.set(bytes.subarray(start, start + piece));
      done += piece;
    }
  }

  /** The region of an address in the window. */
  #regionOf(address: number): Region {
    const { regions } = this.#services.memory;
    let index = 0;
    for (;; index++) {
      const region = regions[index]!;
      const offset = address - region.hostAddress;
      if (offset >= 0 && offset < region.size) return region;
    }
  }

  /** Tries to give the parked frame to the driver; false: it has to wait. */
  #unpark(queue: Virtqueue): boolean {
    const size = this.#parked;
    this.#gather(queue, size);
    const room = this.#room;
    if (room > this.#roomMax) this.#roomMax = room;
    if (room < size) {
      this.#giveBack(queue);
      // It would wait for ever.
      const isHopeless = !this.mergeable || size > this.#roomMax;
      if (isHopeless) this.#dropParked();
      return isHopeless;
    }
    this.#copy(size, true);
    if (this.#capture !== null) {
      this.#capture.received(this.#spareList, 0, size);
    }
    this.#parked = 0;
    this.#publish(queue, size);
    return true;
  }

  #dropParked(): void {
    if (this.#parked > 0) this.#counters[RX_DROPPED]!++;
    this.#parked = 0;
  }

  /** Empties the window: the ring has its buffers back as if never popped. */
  #giveBack(queue: Virtqueue): void {
    for (let i = this.#end - 1; i >= this.#first; i--) {
      if (this.#reversible) queue.undoPop();
      else queue.push(this.#heads[i]!, 0);
    }
    this.#empty();
  }

  #empty(): void {
    this.#first = 0;
    this.#end = 0;
    this.#elements = 0;
    this.#room = 0;
    this.#reversible = true;
  }
}
