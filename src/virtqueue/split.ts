// Data plane: the split ring, virtio 1.3 §2.7.
/**
 * @module
 */
import { assert } from "../assert.ts";
import { GuestError } from "../errors.ts";
import type { GuestMemory } from "../memory/guest_memory.ts";
import { Chain } from "./chain.ts";
import * as layout from "./layout.ts";
import { acquire, release } from "./ordering.ts";
import type { Virtqueue, VirtqueueConfig } from "./virtqueue.ts";

// An imported constant is loaded and checked at every use, one of the module is
// part of the code: 4 ns a direct chain, 12 ns one in an indirect table
// (bench/virtqueue_bench.ts).
const AVAIL_RING = layout.AVAIL_RING;
const DESCRIPTOR_SIZE = layout.DESCRIPTOR_SIZE;
const RING_FLAGS = layout.RING_FLAGS;
const RING_INDEX = layout.RING_INDEX;
const USED_RING_WORD = layout.USED_RING_WORD;
const VIRTQ_AVAIL_F_NO_INTERRUPT = layout.VIRTQ_AVAIL_F_NO_INTERRUPT;
const VIRTQ_DESC_F_INDIRECT = layout.VIRTQ_DESC_F_INDIRECT;
const VIRTQ_DESC_F_NEXT = layout.VIRTQ_DESC_F_NEXT;
const VIRTQ_DESC_F_WRITE = layout.VIRTQ_DESC_F_WRITE;

const TWO_32 = 0x1_0000_0000;
/** Exact, as any power of two. */
const TWO_MINUS_32 = 1 / TWO_32;
/**
 * Descriptors a chain may have even on a small ring. The specification allows
 * the size of the ring; drivers exist that put more into an indirect table.
 */
const CHAIN_LIMIT = 1024;
const NONE = -1;
/** A driver that publishes faster than this is not waited for. */
const LOOKS_MAX = 64;
/** No head is as large. */
const NOT_POPPED = 0xffff;

/** The device side of a split ring. */
export class SplitVirtqueue implements Virtqueue {
  readonly index: number;
  readonly size: number;
  readonly chain: Chain;
  broken = "";
  inFlight = 0;
  malformed = 0;
  nextAvail = 0;
  readonly #config: VirtqueueConfig;
  readonly #mask: number;
  readonly #eventIndex: boolean;
  readonly #indirect: boolean;
  #memory: GuestMemory;
  // The ring by views of its own, small and made once.
  #descriptors: Uint32Array = new Uint32Array(0);
  #avail: Uint16Array = new Uint16Array(0);
  #used: Uint16Array = new Uint16Array(0);
  #usedElements: Uint32Array = new Uint32Array(0);
  /** The available index as it was seen last: chains up to it are there. */
  #seenAvail = 0;
  /** Where the next push goes. Ours alone: the driver can rewrite its copy. */
  #nextUsed = 0;
  /** Pushed and not yet published. */
  #staged = 0;
  /** By head: 1 while its chain is in flight. */
  readonly #popped: Uint8Array;
  /** A head that was published while in flight: it has to wait. Or NONE. */
  #waiting = NONE;
  /** By available index: the head that was popped there, or NOT_POPPED. */
  readonly #taken: Uint16Array;
  /** An indirect table which lies across regions is copied here. */
  readonly #copiedTable: Uint8Array;
  readonly #copiedView: DataView;

  private constructor(config: VirtqueueConfig, memory: GuestMemory) {
    const limit = Math.max(config.size, CHAIN_LIMIT);
    this.index = config.index;
    this.size = config.size;
    this.chain = new Chain(limit, memory);
    this.#config = config;
    this.#mask = config.size - 1;
    this.#eventIndex = config.eventIndex;
    this.#indirect = config.indirect;
    this.#memory = memory;
    this.#popped = new Uint8Array(config.size);
    this.#taken = new Uint16Array(config.size).fill(NOT_POPPED);
    const table = new ArrayBuffer(
      config.indirect ? DESCRIPTOR_SIZE * limit : 0,
    );
    this.#copiedTable = new Uint8Array(table);
    this.#copiedView = new DataView(table);
  }

  /**
   * Opens the ring that `config` describes, going on from `config.nextAvail`
   * and from the used index in memory. Throws a GuestError where its size,
   * its alignment or its place is impossible.
   */
  static open(config: VirtqueueConfig, memory: GuestMemory): SplitVirtqueue {
    const { index, size, nextAvail } = config;
    if (!layout.isQueueSize(size)) {
      throw new GuestError(
        `Ring ${index} has ${size} entries, wanted a power of two up to ` +
          `${layout.QUEUE_SIZE_MAX}`,
      );
    }
    if (nextAvail !== (nextAvail & 0xffff)) {
      throw new GuestError(
        `Ring ${index} is to go on from available index ${nextAvail}, ` +
          "wanted 0 to 65535",
      );
    }
    const queue = new SplitVirtqueue(config, memory);
    const failure = queue.#map(memory);
    if (failure !== "") throw new GuestError(failure);
    queue.nextAvail = nextAvail;
    queue.#seenAvail = nextAvail;
    queue.#nextUsed = acquire(queue.#used, RING_INDEX);
    return queue;
  }

  pop(): boolean {
    if (this.broken !== "") return false;
    // A driver that plays by the rules never has more than `size` outstanding.
    // For any other it bounds the loop, and the staged entries are kept.
    while (this.inFlight + this.#staged < this.size) {
      const position = this.nextAvail;
      if (position === this.#seenAvail && !this.#look()) return false;
      const head = this.#avail[AVAIL_RING + (position & this.#mask)]!;
      if (head >= this.size) {
        this.#break(
          `The available ring names head ${head}, wanted less than the ` +
            `${this.size} entries of the ring`,
        );
        return false;
      }
      if (this.#popped[head] !== 0) {
        this.#waiting = head;
        return false;
      }
      this.nextAvail = (position + 1) & 0xffff;
      if (this.#gather(head) && this.chain.translate()) {
        this.chain.head = head;
        this.#popped[head] = 1;
        this.#taken[position & this.#mask] = head;
        this.inFlight++;
        return true;
      }
      this.#taken[position & this.#mask] = NOT_POPPED;
      this.malformed++;
      this.#stage(head, 0);
    }
    return false;
  }

  undoPop(): void {
    const before = (this.nextAvail - 1) & 0xffff;
    const head = this.#taken[before & this.#mask]!;
    assert(
      head !== NOT_POPPED && this.#popped[head] === 1,
      "only the chain that was popped last goes back",
    );
    this.#taken[before & this.#mask] = NOT_POPPED;
    this.#popped[head] = 0;
    this.inFlight--;
    this.nextAvail = before;
  }

  push(head: number, written: number): void {
    assert(this.#popped[head] === 1, "only a chain in flight is pushed, once");
    this.#popped[head] = 0;
    this.inFlight--;
    this.#stage(head, written);
  }

  flush(): boolean {
    const staged = this.#staged;
    if (staged === 0) return false;
    const now = this.#nextUsed;
    this.#staged = 0;
    release(this.#used, RING_INDEX, now);
    if (!this.#eventIndex) {
      const flags = acquire(this.#avail, RING_FLAGS);
      return (flags & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0;
    }
    // §2.7.10: a call is due when the index went past used_event just now.
    const event = acquire(this.#avail, layout.usedEventIndex(this.size));
    return ((now - event - 1) & 0xffff) < staged;
  }

  hasAvailable(): boolean {
    if (this.broken !== "" || this.#isFull()) return false;
    return this.nextAvail !== this.#seenAvail || this.#look();
  }

  disableKicks(): void {
    if (this.broken !== "") return;
    if (!this.#eventIndex) {
      this.#used[RING_FLAGS] = layout.VIRTQ_USED_F_NO_NOTIFY;
      return;
    }
    // There is no off: but this index comes last, 65535 entries from now.
    this.#used[layout.availEventIndex(this.size)] = this.nextAvail - 1;
  }

  enableKicks(): boolean {
    if (this.broken !== "") return false;
    if (this.#eventIndex) this.#askForNext();
    else release(this.#used, RING_FLAGS, 0);
    return this.hasAvailable();
  }

  setMemory(memory: GuestMemory): boolean {
    const idle = this.inFlight === 0 && this.#staged === 0;
    assert(idle, "memory is replaced with nothing in flight or unpublished");
    const failure = this.#map(memory);
    if (failure !== "") this.#break(failure);
    return this.broken === "";
  }

  /**
   * Asks for a kick at the next chain that is published. Not at those after the
   * last one seen: a device may have left chains, and more come since.
   */
  #askForNext(): void {
    let index = acquire(this.#avail, RING_INDEX);
    for (let i = 0; i < LOOKS_MAX; i++) {
      release(this.#used, layout.availEventIndex(this.size), index);
      const now = acquire(this.#avail, RING_INDEX);
      if (now === index) return;
      index = now;
    }
  }

  /** Whether the driver has published as much as it may for now, or more. */
  #isFull(): boolean {
    if (this.#waiting !== NONE) {
      if (this.#popped[this.#waiting] === 1) return true;
      this.#waiting = NONE;
    }
    return this.inFlight + this.#staged >= this.size;
  }

  /** Looks at the available index; true when there are chains. */
  #look(): boolean {
    const seen = acquire(this.#avail, RING_INDEX);
    const count = (seen - this.nextAvail) & 0xffff;
    if (count === 0) return false;
    if (count > this.size) {
      this.#break(
        `The available index is ${seen} after ${this.nextAvail}, wanted at ` +
          `most the ${this.size} entries of the ring more`,
      );
      return false;
    }
    this.#seenAvail = seen;
    return true;
  }

  /** Writes the next used entry. */
  #stage(head: number, written: number): void {
    const element = USED_RING_WORD + 2 * (this.#nextUsed & this.#mask);
    this.#usedElements[element] = head;
    this.#usedElements[element + 1] = written;
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    this.#staged++;
  }

  /**
   * Copies the chain at `head`, each descriptor read once. False when it is
   * malformed: it loops, goes out of the table, has a readable buffer after a
   * writable one, or an indirect table that is not allowed.
   *
   * An address is (low / 2^32 + high) * 2^32 because V8 guards the sum of two
   * whole numbers, low + high * 2^32, by conversions to integers: 2 ns a
   * descriptor (bench/virtqueue_bench.ts). Beyond 2^53 both round alike, where
   * no memory is.
   */
  #gather(head: number): boolean {
    const descriptors = this.#descriptors;
    const chain = this.chain;
    const addresses = chain.gatheredAddresses;
    const sizes = chain.gatheredSizes;
    const limit = this.size;
    let count = 0;
    let readable = 0;
    let writes = 0;
    let index = head;
    for (let walked = 0; walked < limit; walked++) {
      const word = 4 * index;
      const bits = descriptors[word + 3]!;
      if ((bits & VIRTQ_DESC_F_INDIRECT) !== 0) {
        chain.gatheredCount = count;
        chain.gatheredReadable = readable;
        return this.#indirect && this.#gatherTable(word, bits, walked);
      }
      const write = bits & VIRTQ_DESC_F_WRITE;
      if (write < writes) return false;
      writes = write;
      const size = descriptors[word + 2]!;
      if (size !== 0) {
        addresses[count] =
          (descriptors[word]! * TWO_MINUS_32 + descriptors[word + 1]!) * TWO_32;
        sizes[count++] = size;
        if (write === 0) readable = count;
      }
      if ((bits & VIRTQ_DESC_F_NEXT) === 0) {
        chain.gatheredCount = count;
        chain.gatheredReadable = readable;
        return true;
      }
      index = bits >>> 16;
      if (index >= limit) return false;
    }
    return false;
  }

  /**
   * Goes on in the indirect table of the descriptor at `word`, whose flags are
   * `bits` and which `walked` descriptors come before (§2.7.5.3).
   */
  #gatherTable(word: number, bits: number, walked: number): boolean {
    if ((bits & VIRTQ_DESC_F_NEXT) !== 0) return false;
    const bytes = this.#descriptors[word + 2]!;
    const entries = bytes >>> 4;
    const limit = this.chain.limit;
    if (entries === 0 || entries > limit || (bytes & 15) !== 0) return false;
    const low = this.#descriptors[word]!;
    const address = (low * TWO_MINUS_32 + this.#descriptors[word + 1]!) *
      TWO_32;
    const memory = this.#memory;
    if (memory.locate(address, bytes)) {
      const view = memory.views[memory.foundRegion]!;
      return this.#walkTable(view, memory.foundOffset, entries, walked);
    }
    return memory.read(address, this.#copiedTable, bytes) &&
      this.#walkTable(this.#copiedView, 0, entries, walked);
  }

  /** Walks the `entries` descriptors at `offset` of `view`, as `#gather`. */
  #walkTable(
    view: DataView,
    offset: number,
    entries: number,
    before: number,
  ): boolean {
    const chain = this.chain;
    const addresses = chain.gatheredAddresses;
    const sizes = chain.gatheredSizes;
    let count = chain.gatheredCount;
    let readable = chain.gatheredReadable;
    let writes = count === readable ? 0 : VIRTQ_DESC_F_WRITE;
    const limit = Math.min(entries, chain.limit - before);
    let index = 0;
    for (let walked = 0; walked < limit; walked++) {
      const at = offset + DESCRIPTOR_SIZE * index;
      const bits = view.getUint32(at + 12, true);
      if ((bits & VIRTQ_DESC_F_INDIRECT) !== 0) return false;
      const write = bits & VIRTQ_DESC_F_WRITE;
      if (write < writes) return false;
      writes = write;
      const size = view.getUint32(at + 8, true);
      if (size !== 0) {
        addresses[count] = (view.getUint32(at, true) * TWO_MINUS_32 +
          view.getUint32(at + 4, true)) * TWO_32;
        sizes[count++] = size;
        if (write === 0) readable = count;
      }
      if ((bits & VIRTQ_DESC_F_NEXT) === 0) {
        chain.gatheredCount = count;
        chain.gatheredReadable = readable;
        return true;
      }
      index = bits >>> 16;
      if (index >= entries) return false;
    }
    return false;
  }

  /** Makes the ring's views in `memory`. "" or why it can't be done. */
  #map(memory: GuestMemory): string {
    const { size } = this;
    const { descriptorArea, driverArea, deviceArea, eventIndex } = this.#config;
    const table = this.#area(
      memory,
      "descriptor table",
      descriptorArea,
      layout.descriptorAreaSize(size),
      layout.DESCRIPTOR_ALIGNMENT,
    );
    if (typeof table === "string") return table;
    const avail = this.#area(
      memory,
      "available ring",
      driverArea,
      layout.driverAreaSize(size, eventIndex),
      layout.AVAIL_ALIGNMENT,
    );
    if (typeof avail === "string") return avail;
    const used = this.#area(
      memory,
      "used ring",
      deviceArea,
      layout.deviceAreaSize(size, eventIndex),
      layout.USED_ALIGNMENT,
    );
    if (typeof used === "string") return used;
    const { buffer, byteOffset } = used;
    this.#descriptors = new Uint32Array(
      table.buffer,
      table.byteOffset,
      table.byteLength / 4,
    );
    this.#avail = words(avail);
    this.#used = words(used);
    this.#usedElements = new Uint32Array(buffer, byteOffset, 1 + 2 * size);
    this.#memory = memory;
    this.chain.setMemory(memory);
    return "";
  }

  /** The bytes of one part of the ring, or why they can't be had. */
  #area(
    memory: GuestMemory,
    name: string,
    address: number,
    size: number,
    alignment: number,
  ): Uint8Array<ArrayBuffer> | string {
    const place = `The ${name} of ring ${this.index} is at 0x${
      address.toString(16)
    }`;
    if (address % alignment !== 0) {
      return `${place}, wanted a multiple of ${alignment}`;
    }
    if (!memory.locate(address, size)) {
      return `${place}, wanted ${size} bytes in one region of guest memory`;
    }
    const region = memory.regions[memory.foundRegion]!;
    const offset = memory.foundOffset;
    if (offset % alignment !== 0) {
      return `${place} in a region at 0x${region.guestAddress.toString(16)}, ` +
        `wanted a region that starts at a multiple of ${alignment}`;
    }
    return new Uint8Array(region.bytes.buffer, offset, size);
  }

  #break(reason: string): void {
    this.broken = reason;
  }
}

function words(bytes: Uint8Array<ArrayBuffer>): Uint16Array {
  return new Uint16Array(
    bytes.buffer,
    bytes.byteOffset,
    bytes.byteLength / 2,
  );
}
