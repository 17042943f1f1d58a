// Data plane: the split ring, virtio 1.3 §2.7.
/**
 * @module
 */
import { assert } from "../assert.ts";
import { GuestError } from "../errors.ts";
import type { DirtyLog } from "../memory/dirty_log.ts";
import type { GuestMemory } from "../memory/guest_memory.ts";
import { Chain, chainLimit } from "./chain.ts";
import { DescriptorTable } from "./descriptor_table.ts";
import { InOrder } from "./in_order.ts";
import { SplitInflight } from "./inflight.ts";
import * as layout from "./layout.ts";
import { acquire } from "./ordering.ts";
import { findSplitAreas } from "./split_areas.ts";
import { SplitRecord } from "./split_record.ts";
import { UsedRing } from "./used_ring.ts";
import type { Virtqueue, VirtqueueConfig } from "./virtqueue.ts";
import { WriteLog } from "./write_log.ts";

// An imported constant is loaded and checked at every use, one of the module is
// part of the code: 4 ns a direct chain, 12 ns one in an indirect table
// (bench/virtqueue_bench.ts).
const AVAIL_RING = layout.AVAIL_RING;
const RING_FLAGS = layout.RING_FLAGS;
const RING_INDEX = layout.RING_INDEX;
const VIRTQ_AVAIL_F_NO_INTERRUPT = layout.VIRTQ_AVAIL_F_NO_INTERRUPT;

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
  // The parts of the ring, by views of their own, small and made once.
  readonly #table: DescriptorTable;
  readonly #used: UsedRing;
  #avail: Uint16Array = new Uint16Array(0);
  /** The available index as it was seen last: chains up to it are there. */
  #seenAvail = 0;
  /** Chains that were popped, and are not yet published as used. */
  #held = 0;
  /** By head: FREE, IN_FLIGHT or DONE. */
  readonly #popped: Uint8Array;
  /** A head that was published while in flight: it has to wait. Or NONE. */
  #waiting = NONE;
  /** By available index: the head that was popped there, or NOT_POPPED. */
  readonly #taken: Uint16Array;
  /** What is in flight, for who serves the ring if this process dies. Or null. */
  #record: SplitRecord | null = null;
  /** The log of the memory, or null, and what the chains are to leave there. */
  #log: DirtyLog | null = null;
  #writes: WriteLog | null = null;
  /** With IN_ORDER: what is not in the used ring yet. Else null. */
  readonly #order: InOrder | null;

  private constructor(config: VirtqueueConfig, memory: GuestMemory) {
    const { index, size } = config;
    this.index = index;
    this.size = size;
    this.chain = new Chain(chainLimit(size), memory);
    this.#config = config;
    this.#mask = size - 1;
    this.#eventIndex = config.eventIndex;
    this.#popped = new Uint8Array(size);
    this.#taken = new Uint16Array(size).fill(NOT_POPPED);
    this.#order = config.inOrder === true ? new InOrder(size) : null;
    this.#table = new DescriptorTable(size, config.indirect, this.chain);
    this.#used = new UsedRing(config);
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
    queue.#used.resume();
    if (config.inflight) {
      queue.#recover(new SplitInflight(config.inflight, size));
    }
    queue.#seenAvail = queue.resumeAt;
    return queue;
  }

  get resumeAt(): number {
    return (this.nextAvail + this.recovered) & 0xffff;
  }

  get recovered(): number {
    return this.#record?.left ?? 0;
  }

  pop(): boolean {
    if (this.broken !== "") return false;
    const record = this.#record;
    const order = this.#order;
    // A driver that plays by the rules never has more than `size` outstanding.
    // For any other it bounds the loop, and the staged entries are kept.
    while (this.#held < this.size) {
      const position = this.nextAvail;
      if (position === this.#seenAvail && !this.#look()) return false;
      const head = record === null || record.left === 0
        ? this.#avail[AVAIL_RING + (position & this.#mask)]!
        : record.head;
      if (head >= this.size) return this.#breakAtHead(head);
      if (this.#popped[head] !== FREE) {
        this.#waiting = head;
        return false;
      }
      this.nextAvail = (position + 1) & 0xffff;
      if (record !== null) record.take(head);
      const isSound = this.#table.gather(head) && this.chain.translate();
      if (!isSound && this.chain.missed) {
        // Behind an IOMMU: it is popped again once it is mapped.
        this.nextAvail = position;
        if (record !== null) record.putBack(head);
        return false;
      }
      this.#held++;
      if (order !== null) order.take(head);
      if (isSound) {
        this.chain.head = head;
        this.#popped[head] = IN_FLIGHT;
        this.#taken[position & this.#mask] = head;
        this.inFlight++;
        if (this.#log !== null) this.#writes!.keep(head);
        return true;
      }
      this.#taken[position & this.#mask] = NOT_POPPED;
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
    this.#held--;
    this.nextAvail = before;
    if (this.#log !== null) this.#writes!.mark(head, this.#log);
    if (this.#order !== null) this.#order.putBack();
    if (this.#record !== null) this.#record.putBack(head);
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
    const { staged, next } = this.#used;
    if (staged === 0) return false;
    this.#held -= staged;
    this.#used.publish();
    if (this.#record !== null) this.#record.publish(next);
    if (!this.#eventIndex) {
      const flags = acquire(this.#avail, RING_FLAGS);
      return (flags & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0;
    }
    // §2.7.10: a call is due when the index went past used_event just now.
    const event = acquire(this.#avail, layout.usedEventIndex(this.size));
    return ((next - event - 1) & 0xffff) < staged;
  }

  hasAvailable(): boolean {
    if (this.broken !== "" || this.#isFull()) return false;
    if (this.chain.missed) return false;
    return this.nextAvail !== this.#seenAvail || this.#look();
  }

  disableKicks(): void {
    if (this.broken !== "") return;
    // With EVENT_IDX there is no off: but this index comes last, 65535 entries
    // from now.
    if (this.#eventIndex) this.#used.hintAvailEvent(this.nextAvail - 1);
    else this.#used.hintFlags(layout.VIRTQ_USED_F_NO_NOTIFY);
  }

  enableKicks(): boolean {
    if (this.broken !== "") return false;
    if (this.#eventIndex) this.#askForNext();
    else this.#used.setFlags(0);
    return this.hasAvailable();
  }

  setUsedLog(address: number): void {
    this.#used.setLog(address, this.chain.memory);
  }

  setMemory(memory: GuestMemory): boolean {
    const idle = this.inFlight === 0 && this.#used.staged === 0;
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
      this.#used.setAvailEvent(index);
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
    return this.#held >= this.size;
  }

  /** Looks at the available index; true when there are chains. */
  #look(): boolean {
    const seen = acquire(this.#avail, RING_INDEX);
    const count = (seen - this.nextAvail) & 0xffff;
    if (count === 0) return false;
    if (count > this.size) return this.#breakAtIndex(seen);
    this.#seenAvail = seen;
    return true;
  }

  /** The chain of `head` is done: it is given back as soon as it may be. */
  #complete(head: number, written: number): void {
    const order = this.#order;
    if (order === null) return this.#giveBack(head, written);
    this.#popped[head] = DONE;
    order.complete(head, written);
    for (let next = order.next(); next !== NONE; next = order.next()) {
      this.#giveBack(next, order.written(next));
    }
  }

  #giveBack(head: number, written: number): void {
    this.#popped[head] = FREE;
    this.#used.stage(head, written);
    if (this.#record !== null) this.#record.push(head);
  }

  /**
   * Goes on where the process before us left the ring. It took the chains that
   * are given back, and those in flight; the index of the front-end knows
   * nothing of the latter.
   */
  #recover(inflight: SplitInflight): void {
    const heads = inflight.recover(this.#used.next);
    this.#record = new SplitRecord(inflight, this.size, heads);
    if (heads !== null) this.nextAvail = this.#used.next;
  }

  /** Makes the ring's views in `memory`. "" or why it can't be done. */
  #map(memory: GuestMemory): string {
    const areas = findSplitAreas(this.#config, memory);
    if (typeof areas === "string") return areas;
    this.#avail = areas.avail;
    this.#used.setAreas(areas, memory);
    this.#table.setMemory(areas.descriptors, memory);
    this.chain.setMemory(memory);
    this.#log = memory.log;
    if (memory.log !== null) {
      this.#writes ??= new WriteLog(this.size, this.chain);
    }
    return "";
  }

  // Apart from those who call them, so that there is room to inline these.

  #breakAtHead(head: number): false {
    return this.#break(
      `The available ring names head ${head}, wanted less than the ` +
        `${this.size} entries of the ring`,
    );
  }

  #breakAtIndex(seen: number): false {
    return this.#break(
      `The available index is ${seen} after ${this.nextAvail}, wanted at most ` +
        `the ${this.size} entries of the ring more`,
    );
  }

  #break(reason: string): false {
    this.broken = reason;
    return false;
  }
}
