// Data plane: the split ring, virtio 1.3 §2.7.
/**
 * @module
 */
import { assert } from "../assert.ts";
import { GuestError } from "../errors.ts";
import type { DirtyLog } from "../memory/dirty_log.ts";
import type { GuestMemory } from "../memory/guest_memory.ts";
import { findArea, viewOf, words16 } from "./area.ts";
import { Chain, chainLimit } from "./chain.ts";
import { IndirectTable } from "./indirect_table.ts";
import { SplitInflight } from "./inflight.ts";
import * as layout from "./layout.ts";
import { acquire, release } from "./ordering.ts";
import type { Virtqueue, VirtqueueConfig } from "./virtqueue.ts";
import { WriteLog } from "./write_log.ts";

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

/** Where the elements of the used ring start, and how long one is, in words. */
const USED_WORDS = 2;
const ELEMENT_WORDS = 4;

const NONE = -1;
/** States of a head. */
const FREE = 0;
const IN_FLIGHT = 1;
/** With IN_ORDER: given back, and waits for those before it. */
const DONE = 2;
/** A driver that publishes faster than this is not waited for. */
const LOOKS_MAX = 64;
/** No head is as large. */
const NOT_POPPED = 0xffff;
const NO_HEADS = new Uint16Array(0);

/**
 * The device side of a split ring.
 *
 * @example A chain that is popped and given back
 * ```ts
 * import { DriverMemory, SplitDriver } from "@ringside/ringside/testing";
 * import { SplitVirtqueue } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * const memory = DriverMemory.plain(1 << 16);
 * const driver = new SplitDriver(memory, 4);
 * const queue = SplitVirtqueue.open(driver.config(), memory.guestMemory());
 * const address = memory.allocate(16);
 * const head = driver.add([{ address, size: 16, writable: false }]);
 * driver.publish();
 * assertEquals([queue.pop(), queue.pop()], [true, false]);
 * assertEquals([queue.chain.reader.size, queue.inFlight], [16, 1]);
 * queue.push(queue.chain.head, 0);
 * queue.flush();
 * assertEquals(driver.nextUsed(), { head, written: 0 });
 * ```
 */
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
  readonly #inOrder: boolean;
  // The ring by views of its own, small and made once.
  #descriptors: DataView = new DataView(new ArrayBuffer(0));
  #avail: Uint16Array = new Uint16Array(0);
  #used: Uint16Array = new Uint16Array(0);
  #usedElements: Uint32Array = new Uint32Array(0);
  /** The available index as it was seen last: chains up to it are there. */
  #seenAvail = 0;
  /** Where the next push goes. Ours alone: the driver can rewrite its copy. */
  #nextUsed = 0;
  /** Pushed and not yet published. */
  #staged = 0;
  /** By head: FREE, IN_FLIGHT or DONE. */
  readonly #popped: Uint8Array;
  /** A head that was published while in flight: it has to wait. Or NONE. */
  #waiting = NONE;
  /** By available index: the head that was popped there, or NOT_POPPED. */
  readonly #taken: Uint16Array;
  /** What is in flight, for who serves the ring if this process dies. Or null. */
  #inflight: SplitInflight | null = null;
  /** Heads that an earlier process had in flight: they come before all others. */
  #again: Uint16Array = NO_HEADS;
  /** How many of those are to be popped still. */
  #againLeft = 0;
  /** Popped after them, as far as `undoPop` could reach. */
  #poppedSince = 0;
  /** The log of the memory, or null. */
  #log: DirtyLog | null = null;
  /** What the chains in flight are to leave there. */
  #writes: WriteLog | null = null;
  /** Where the used ring is in the log, or NONE. */
  #usedLog: number;
  readonly #table: IndirectTable;
  // With IN_ORDER: the available index of the oldest chain that is not in the
  // used ring, how many are DONE, and by head what was written.
  #oldest = 0;
  #done = 0;
  readonly #written: Uint32Array;

  private constructor(config: VirtqueueConfig, memory: GuestMemory) {
    const limit = chainLimit(config.size);
    this.index = config.index;
    this.size = config.size;
    this.chain = new Chain(limit, memory);
    this.#config = config;
    this.#mask = config.size - 1;
    this.#eventIndex = config.eventIndex;
    this.#indirect = config.indirect;
    this.#inOrder = config.inOrder ?? false;
    this.#usedLog = config.usedLog ?? NONE;
    this.#popped = new Uint8Array(config.size);
    this.#taken = new Uint16Array(config.size).fill(NOT_POPPED);
    this.#written = new Uint32Array(this.#inOrder ? config.size : 0);
    this.#table = new IndirectTable(config.indirect ? limit : 0, memory);
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
    queue.#nextUsed = acquire(queue.#used, RING_INDEX);
    if (config.inflight) {
      queue.#recover(new SplitInflight(config.inflight, size));
    }
    queue.#seenAvail = queue.resumeAt;
    queue.#oldest = queue.nextAvail;
    return queue;
  }

  get resumeAt(): number {
    return (this.nextAvail + this.#againLeft) & 0xffff;
  }

  get recovered(): number {
    return this.#againLeft;
  }

  pop(): boolean {
    if (this.broken !== "") return false;
    // A driver that plays by the rules never has more than `size` outstanding.
    // For any other it bounds the loop, and the staged entries are kept.
    while (this.inFlight + this.#done + this.#staged < this.size) {
      const position = this.nextAvail;
      if (position === this.#seenAvail && !this.#look()) return false;
      const head = this.#againLeft === 0
        ? this.#avail[AVAIL_RING + (position & this.#mask)]!
        : this.#again[this.#again.length - this.#againLeft]!;
      if (head >= this.size) {
        this.#break(
          `The available ring names head ${head}, wanted less than the ` +
            `${this.size} entries of the ring`,
        );
        return false;
      }
      if (this.#popped[head] !== FREE) {
        this.#waiting = head;
        return false;
      }
      this.nextAvail = (position + 1) & 0xffff;
      if (this.#inflight !== null) this.#record(head);
      if (this.#gather(head) && this.chain.translate()) {
        this.chain.head = head;
        this.#popped[head] = IN_FLIGHT;
        this.#taken[position & this.#mask] = head;
        this.inFlight++;
        if (this.#log !== null) this.#writes!.keep(head);
        return true;
      }
      if (this.chain.missed) {
        // Behind an IOMMU: it is popped again once it is mapped.
        this.nextAvail = position;
        if (this.#inflight !== null) this.#unrecord(head);
        return false;
      }
      this.#taken[position & this.#mask] = this.#inOrder ? head : NOT_POPPED;
      this.malformed++;
      this.#complete(head, 0);
    }
    return false;
  }

  undoPop(): void {
    const before = (this.nextAvail - 1) & 0xffff;
    const head = this.#taken[before & this.#mask]!;
    assert(
      head !== NOT_POPPED && this.#popped[head] === IN_FLIGHT,
      "only the chain that was popped last goes back",
    );
    this.#taken[before & this.#mask] = NOT_POPPED;
    this.#popped[head] = FREE;
    this.inFlight--;
    this.nextAvail = before;
    if (this.#log !== null) this.#writes!.mark(head, this.#log);
    if (this.#inflight !== null) this.#unrecord(head);
  }

  push(head: number, written: number): void {
    assert(
      this.#popped[head] === IN_FLIGHT,
      "only a chain in flight is pushed, once",
    );
    this.inFlight--;
    if (this.#log !== null) this.#writes!.mark(head, this.#log);
    this.#complete(head, written);
  }

  flush(): boolean {
    const staged = this.#staged;
    if (staged === 0) return false;
    const now = this.#nextUsed;
    this.#staged = 0;
    release(this.#used, RING_INDEX, now);
    if (this.#inflight !== null) this.#inflight.publish(now);
    if (this.#log !== null) this.#logUsed(now, staged);
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
    if (this.chain.missed) return false;
    return this.nextAvail !== this.#seenAvail || this.#look();
  }

  disableKicks(): void {
    if (this.broken !== "") return;
    if (!this.#eventIndex) {
      this.#used[RING_FLAGS] = layout.VIRTQ_USED_F_NO_NOTIFY;
      if (this.#log !== null) this.#logWords(RING_FLAGS, 1);
      return;
    }
    // There is no off: but this index comes last, 65535 entries from now.
    const availEvent = layout.availEventIndex(this.size);
    this.#used[availEvent] = this.nextAvail - 1;
    if (this.#log !== null) this.#logWords(availEvent, 1);
  }

  enableKicks(): boolean {
    if (this.broken !== "") return false;
    if (this.#eventIndex) this.#askForNext();
    else release(this.#used, RING_FLAGS, 0);
    if (this.#log !== null) {
      const word = this.#eventIndex
        ? layout.availEventIndex(this.size)
        : RING_FLAGS;
      this.#logWords(word, 1);
    }
    return this.hasAvailable();
  }

  setUsedLog(address: number): void {
    this.#usedLog = address;
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
      if (this.#popped[this.#waiting] !== FREE) return true;
      this.#waiting = NONE;
    }
    return this.inFlight + this.#done + this.#staged >= this.size;
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

  /** The chain of `head` is done: it is given back as soon as it may be. */
  #complete(head: number, written: number): void {
    if (this.#inOrder) return this.#completeInOrder(head, written);
    this.#popped[head] = FREE;
    this.#stage(head, written);
  }

  /**
   * The same with IN_ORDER (§2.7.9): not before those that were popped before
   * it. Each has a used entry of its own: one for several would say nothing of
   * what was written to all but the last.
   */
  #completeInOrder(head: number, written: number): void {
    this.#popped[head] = DONE;
    this.#done++;
    this.#written[head] = written;
    while (this.#oldest !== this.nextAvail) {
      const oldest = this.#taken[this.#oldest & this.#mask]!;
      if (this.#popped[oldest] !== DONE) return;
      this.#popped[oldest] = FREE;
      this.#done--;
      this.#oldest = (this.#oldest + 1) & 0xffff;
      this.#stage(oldest, this.#written[oldest]!);
    }
  }

  /** Writes the next used entry. */
  #stage(head: number, written: number): void {
    const element = USED_RING_WORD + 2 * (this.#nextUsed & this.#mask);
    this.#usedElements[element] = head;
    this.#usedElements[element + 1] = written;
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    this.#staged++;
    if (this.#inflight !== null) this.#inflight.push(head);
  }

  /**
   * Goes on where the process before us left the ring. It took the chains that
   * are given back, and those in flight; the index of the front-end knows
   * nothing of the latter.
   */
  #recover(inflight: SplitInflight): void {
    this.#inflight = inflight;
    const heads = inflight.recover(this.#nextUsed);
    if (heads === null) return;
    this.#again = heads;
    this.#againLeft = heads.length;
    this.nextAvail = this.#nextUsed;
  }

  /** Logs the index and the `count` elements before `now`, once written. */
  #logUsed(now: number, count: number): void {
    this.#logWords(RING_INDEX, 1);
    const first = (now - count) & this.#mask;
    const straight = Math.min(count, this.size - first);
    this.#logWords(
      USED_WORDS + ELEMENT_WORDS * first,
      ELEMENT_WORDS * straight,
    );
    this.#logWords(USED_WORDS, ELEMENT_WORDS * (count - straight));
  }

  /** Logs `count` words of the used ring, of 16 bits each. */
  #logWords(word: number, count: number): void {
    if (this.#usedLog === NONE) return;
    this.#log!.mark(this.#usedLog + 2 * word, 2 * count);
  }

  /** `head` is taken; one that is taken again is on the record already. */
  #record(head: number): void {
    if (this.#againLeft > 0) {
      this.#againLeft--;
      return;
    }
    this.#inflight!.pop(head);
    if (this.#again.length === 0) return;
    // So many are never undone: what came before is history.
    if (++this.#poppedSince > this.size) this.#again = NO_HEADS;
  }

  /** `head` goes back to where it came from. */
  #unrecord(head: number): void {
    if (this.#again.length > 0) {
      if (this.#poppedSince === 0) {
        this.#againLeft++;
        return;
      }
      this.#poppedSince--;
    }
    this.#inflight!.undoPop(head);
  }

  /**
   * Copies the chain at `head`, each descriptor read once. False when it is
   * malformed: it loops, goes out of the table, has a readable buffer after a
   * writable one, or an indirect table that is not allowed.
   */
  #gather(head: number): boolean {
    const descriptors = this.#descriptors;
    const chain = this.chain;
    const limit = this.size;
    let index = head;
    chain.begin();
    for (let walked = 0; walked < limit; walked++) {
      const at = DESCRIPTOR_SIZE * index;
      const bits = descriptors.getInt32(at + 12, true);
      if ((bits & VIRTQ_DESC_F_INDIRECT) !== 0) {
        return this.#indirect && (bits & VIRTQ_DESC_F_NEXT) === 0 &&
          this.#table.find(descriptors, at) && this.#gatherTable(walked);
      }
      const writable = (bits & VIRTQ_DESC_F_WRITE) !== 0;
      if (!chain.gather(descriptors, at, writable)) return false;
      if ((bits & VIRTQ_DESC_F_NEXT) === 0) return true;
      index = bits >>> 16;
      if (index >= limit) return false;
    }
    return false;
  }

  /**
   * Goes on in the indirect table that was found, which `before` descriptors
   * come before (§2.7.5.3).
   */
  #gatherTable(before: number): boolean {
    const chain = this.chain;
    const { view, offset, entries } = this.#table;
    const limit = Math.min(entries, chain.limit - before);
    let index = 0;
    for (let walked = 0; walked < limit; walked++) {
      const at = offset + DESCRIPTOR_SIZE * index;
      const bits = view.getInt32(at + 12, true);
      if ((bits & VIRTQ_DESC_F_INDIRECT) !== 0) return false;
      const writable = (bits & VIRTQ_DESC_F_WRITE) !== 0;
      if (!chain.gather(view, at, writable)) return false;
      if ((bits & VIRTQ_DESC_F_NEXT) === 0) return true;
      index = bits >>> 16;
      if (index >= entries) return false;
    }
    return false;
  }

  /** Makes the ring's views in `memory`. "" or why it can't be done. */
  #map(memory: GuestMemory): string {
    const { size } = this;
    const { index, descriptorArea, driverArea, deviceArea, eventIndex } =
      this.#config;
    const table = findArea(
      memory,
      `descriptor table of ring ${index}`,
      descriptorArea,
      layout.descriptorAreaSize(size),
      layout.DESCRIPTOR_ALIGNMENT,
    );
    if (typeof table === "string") return table;
    const avail = findArea(
      memory,
      `available ring of ring ${index}`,
      driverArea,
      layout.driverAreaSize(size, eventIndex),
      layout.AVAIL_ALIGNMENT,
    );
    if (typeof avail === "string") return avail;
    const used = findArea(
      memory,
      `used ring of ring ${index}`,
      deviceArea,
      layout.deviceAreaSize(size, eventIndex),
      layout.USED_ALIGNMENT,
    );
    if (typeof used === "string") return used;
    const { buffer, byteOffset } = used;
    this.#descriptors = viewOf(table);
    this.#avail = words16(avail);
    this.#used = words16(used);
    this.#usedElements = new Uint32Array(buffer, byteOffset, 1 + 2 * size);
    this.#table.setMemory(memory);
    this.chain.setMemory(memory);
    this.#log = memory.log;
    if (memory.log !== null) this.#writes ??= new WriteLog(size, this.chain);
    return "";
  }

  #break(reason: string): void {
    this.broken = reason;
  }
}
