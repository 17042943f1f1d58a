// Data plane: the packed ring, virtio 1.3 §2.8.
/**
 * @module
 */
import { assert } from "../assert.ts";
import { GuestError } from "../errors.ts";
import type { DirtyLog } from "../memory/dirty_log.ts";
import type { GuestMemory } from "../memory/guest_memory.ts";
import { AreaLog } from "./area_log.ts";
import { Chain, chainLimit } from "./chain.ts";
import { DescriptorRing } from "./descriptor_ring.ts";
import { EventSuppression } from "./event_suppression.ts";
import { InOrder } from "./in_order.ts";
import * as layout from "./layout.ts";
import { acquire32, look } from "./ordering.ts";
import { findPackedAreas } from "./packed_areas.ts";
import { PackedInflight } from "./packed_inflight.ts";
import { PackedRecord } from "./packed_record.ts";
import { isRingState, RING_WRAP, ringState } from "./packed_state.ts";
import { UsedDescriptors } from "./used_descriptors.ts";
import type { Virtqueue, VirtqueueConfig } from "./virtqueue.ts";
import { WriteLog } from "./write_log.ts";

// An imported constant is loaded and checked at every use, see split.ts.
const DESCRIPTOR_SIZE = layout.DESCRIPTOR_SIZE;

// In the last word of a descriptor, with the buffer id in its lower half.
const AVAIL = layout.VIRTQ_DESC_F_AVAIL << 16;
const USED = layout.VIRTQ_DESC_F_USED << 16;
/** What tells whose a descriptor is, and of which lap. */
const OWNER = AVAIL | USED;

/** No buffer id is as large. */
const NOT_POPPED = 0xffff;
const NONE = -1;

/**
 * The device side of a packed ring. Its heads are buffer ids: the size of the
 * ring bounds them (§2.8.22), and no two in flight are the same.
 *
 * @example A chain that is popped and given back
 * ```ts
 * import { DriverMemory, PackedDriver } from "@ringside/ringside/testing";
 * import { PackedVirtqueue } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * const memory = DriverMemory.plain(1 << 16);
 * const driver = new PackedDriver(memory, 4);
 * const queue = PackedVirtqueue.open(driver.config(), memory.guestMemory());
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
export class PackedVirtqueue implements Virtqueue {
  readonly index: number;
  readonly size: number;
  readonly chain: Chain;
  broken = "";
  inFlight = 0;
  malformed = 0;
  readonly #config: VirtqueueConfig;
  // The parts of the ring, by views of their own, small and made once.
  readonly #walk: DescriptorRing;
  readonly #used: UsedDescriptors;
  readonly #events: EventSuppression;
  #ring: DataView = new DataView(new ArrayBuffer(0));
  #descriptors: Int32Array = new Int32Array(0);
  /** Where the next chain starts. */
  #next = 0;
  /** How its first descriptor looks once it is there: AVAIL or USED. */
  #available = AVAIL;
  /** Descriptors that are the device's: popped, and not yet published as used. */
  #held = 0;
  /** By head: descriptors of its chain while that is in flight, else 0. */
  readonly #counts: Uint16Array;
  /** A head that was published while in flight: it has to wait. Or NONE. */
  #waiting = NONE;
  /** By position: the head whose chain ended right before, or NOT_POPPED. */
  readonly #taken: Uint16Array;
  /** What is in flight, for who serves the ring if this process dies. Or null. */
  #record: PackedRecord | null = null;
  /** The log of the memory, or null, and what the chains are to leave there. */
  #log: DirtyLog | null = null;
  #writes: WriteLog | null = null;
  /** Whether what we write of the ring itself is logged. */
  #logsRing: boolean;
  /** With IN_ORDER: what is not used yet. Else null. */
  readonly #order: InOrder | null;

  private constructor(config: VirtqueueConfig, memory: GuestMemory) {
    const { size } = config;
    this.index = config.index;
    this.size = size;
    this.chain = new Chain(chainLimit(size), memory);
    this.#config = config;
    this.#events = new EventSuppression(size, config.eventIndex);
    this.#logsRing = (config.usedLog ?? NONE) !== NONE;
    this.#counts = new Uint16Array(size);
    this.#taken = new Uint16Array(size).fill(NOT_POPPED);
    this.#walk = new DescriptorRing(size, config.indirect, this.chain);
    this.#used = new UsedDescriptors(size);
    this.#order = config.inOrder === true ? new InOrder(size) : null;
  }

  /**
   * Opens the ring that `config` describes, going on from `config.nextAvail`.
   * Throws a GuestError where its size, its alignment or its place is
   * impossible.
   */
  static open(config: VirtqueueConfig, memory: GuestMemory): PackedVirtqueue {
    const { index, size, nextAvail } = config;
    if (!layout.isPackedQueueSize(size)) {
      throw new GuestError(
        `Ring ${index} has ${size} entries, wanted 1 to ` +
          `${layout.QUEUE_SIZE_MAX}`,
      );
    }
    if (!isRingState(nextAvail, size)) {
      throw new GuestError(
        `Ring ${index} is to go on from state ${nextAvail}, wanted 32 bits ` +
          `with positions below ${size}`,
      );
    }
    const queue = new PackedVirtqueue(config, memory);
    const failure = queue.#map(memory);
    if (failure !== "") throw new GuestError(failure);
    const state = ringState(nextAvail);
    queue.#goTo(state);
    const used = state >>> 16;
    queue.#used.goTo(used & (RING_WRAP - 1), used >= RING_WRAP);
    if (config.inflight) {
      const inflight = new PackedInflight(config.inflight, size);
      const record = new PackedRecord(inflight, size);
      queue.#record = record;
      const isResumed = record.recover(queue.#descriptors, queue.#used);
      if (isResumed) queue.#goTo(queue.#used.next);
    }
    return queue;
  }

  /** The position of the next chain, and in bit 15 the wrap counter. */
  get nextAvail(): number {
    return this.#available === AVAIL ? this.#next | RING_WRAP : this.#next;
  }

  /** Both positions with their wrap counters, as SET_VRING_BASE takes them. */
  get resumeAt(): number {
    const next = this.#next + (this.#record?.descriptorsLeft ?? 0);
    const wraps = next >= this.size;
    const isFirstLap = (this.#available === AVAIL) !== wraps;
    const avail = (wraps ? next - this.size : next) |
      (isFirstLap ? RING_WRAP : 0);
    return (avail | this.#used.next << 16) >>> 0;
  }

  get recovered(): number {
    return this.#record?.left ?? 0;
  }

  pop(): boolean {
    if (this.#record !== null) return this.#popRecorded(this.#record);
    if (this.broken !== "") return false;
    const walk = this.#walk;
    // Where the device has all descriptors, the next one is none of the driver's.
    while (this.#held < this.size) {
      const at = this.#next;
      const bits = look(this.#descriptors, 4 * at + 3);
      if ((bits & OWNER) !== this.#available) return false;
      const room = this.size - this.#held;
      const isSound = walk.gather(this.#ring, at, bits, room);
      if (!isSound && walk.broken !== "") return this.#break(walk.broken);
      if (this.#counts[walk.head] !== 0) return this.#wait(walk.head);
      if (this.#take(walk.head, walk.count, isSound)) return true;
      if (this.chain.missed) return false;
    }
    return false;
  }

  /** The same, on a ring that keeps a record, or found one. */
  #popRecorded(record: PackedRecord): boolean {
    if (this.broken !== "") return false;
    const walk = this.#walk;
    while (this.#held < this.size) {
      const at = this.#next;
      const isAgain = record.left > 0;
      const from = isAgain ? record.at : at;
      const source = isAgain ? record.again : this.#ring;
      const bits = isAgain
        ? source.getInt32(DESCRIPTOR_SIZE * from + 12, true)
        : look(this.#descriptors, 4 * from + 3);
      if (!isAgain && (bits & OWNER) !== this.#available) return false;
      const room = this.size - this.#held;
      const isSound = walk.gather(source, from, bits, room);
      if (!isSound && walk.broken !== "") return this.#break(walk.broken);
      if (this.#counts[walk.head] !== 0) return this.#wait(walk.head);
      record.take(walk.head, this.#descriptors, at, walk.count);
      if (this.#take(walk.head, walk.count, isSound)) return true;
      if (this.chain.missed) return false;
    }
    return false;
  }

  /** `head` is in flight still. */
  #wait(head: number): false {
    this.#waiting = head;
    return false;
  }

  /**
   * Takes the chain of `count` descriptors that was gathered. True where it is
   * one for the device; else it is given back, or it is to be mapped first.
   */
  #take(head: number, count: number, isSound: boolean): boolean {
    let next = this.#next + count;
    if (next >= this.size) {
      next -= this.size;
      this.#available ^= OWNER;
    }
    this.#next = next;
    this.#counts[head] = count;
    this.#held += count;
    if (this.#order !== null) this.#order.take(head);
    if (isSound && this.chain.translate()) {
      this.chain.head = head;
      this.#taken[next] = head;
      this.inFlight++;
      if (this.#log !== null) this.#writes!.keep(head);
      return true;
    }
    // Behind an IOMMU: it is popped again once it is mapped.
    if (this.chain.missed) this.#putBack(head);
    else this.#giveUnread(head);
    return false;
  }

  #giveUnread(head: number): void {
    this.#taken[this.#next] = NOT_POPPED;
    this.malformed++;
    this.#complete(head, 0);
  }

  undoPop(): void {
    const head = this.#taken[this.#next]!;
    assert(
      head !== NOT_POPPED && this.#counts[head] !== 0 && !this.#isDone(head),
      "only the chain that was popped last goes back",
    );
    this.#taken[this.#next] = NOT_POPPED;
    this.inFlight--;
    if (this.#log !== null) this.#writes!.mark(head, this.#log);
    this.#putBack(head);
  }

  push(head: number, written: number): void {
    assert(
      this.#counts[head]! > 0 && !this.#isDone(head),
      "only a chain in flight is pushed, once",
    );
    this.inFlight--;
    if (this.#log !== null) this.#writes!.mark(head, this.#log);
    this.#complete(head, written);
  }

  flush(): boolean {
    const used = this.#used;
    const { staged } = used;
    if (staged === 0) return false;
    this.#held -= staged;
    const record = this.#record;
    if (record !== null) record.prepare(used.at, used.wrap);
    used.publish();
    if (record !== null) record.publish();
    return this.#events.wantsCall(used.next, staged);
  }

  hasAvailable(): boolean {
    if (this.broken !== "" || this.#isFull()) return false;
    if (this.chain.missed) return false;
    if (this.recovered > 0) return true;
    const bits = acquire32(this.#descriptors, 4 * this.#next + 3);
    return (bits & OWNER) === this.#available;
  }

  disableKicks(): void {
    if (this.broken !== "") return;
    this.#events.disableKicks();
  }

  enableKicks(): boolean {
    if (this.broken !== "") return false;
    // A device may have left chains: those after them are not at `#next`, and
    // any may bring the kick.
    const bits = this.#descriptors[4 * this.#next + 3]!;
    const isLeft = (bits & OWNER) === this.#available || this.recovered > 0;
    if (isLeft) this.#events.enableKicks();
    else this.#events.enableKickAt(this.nextAvail);
    return this.hasAvailable();
  }

  /**
   * Front-ends say where the device event area is, and nothing of the ring of
   * descriptors, which we write too: so both are logged where they are.
   */
  setUsedLog(address: number): void {
    this.#logsRing = address !== NONE;
    this.#aimLog();
  }

  setMemory(memory: GuestMemory): boolean {
    const idle = this.inFlight === 0 && this.#used.staged === 0;
    assert(idle, "memory is replaced with nothing in flight or unpublished");
    const failure = this.#map(memory);
    if (failure !== "") this.#break(failure);
    return this.broken === "";
  }

  /** The chain at `head`, the last one taken, is the next one again. */
  #putBack(head: number): void {
    const count = this.#counts[head]!;
    if (this.#record !== null) this.#record.putBack(head, count);
    if (this.#order !== null) this.#order.putBack();
    this.#counts[head] = 0;
    this.#held -= count;
    this.#next -= count;
    if (this.#next >= 0) return;
    this.#next += this.size;
    this.#available ^= OWNER;
  }

  /** Whether the driver has published as much as it may for now, or more. */
  #isFull(): boolean {
    if (this.#waiting !== NONE) {
      if (this.#counts[this.#waiting] !== 0) return true;
      this.#waiting = NONE;
    }
    return this.#held >= this.size;
  }

  #isDone(head: number): boolean {
    return this.#order !== null && this.#order.isDone(head);
  }

  /** Goes on at `state`, whose lower half counts. */
  #goTo(state: number): void {
    this.#next = state & (RING_WRAP - 1);
    this.#available = (state & RING_WRAP) !== 0 ? AVAIL : USED;
  }

  /** The chain of `head` is done: it is given back as soon as it may be. */
  #complete(head: number, written: number): void {
    const order = this.#order;
    if (order === null) return this.#giveBack(head, written);
    order.complete(head, written);
    for (let next = order.next(); next !== NONE; next = order.next()) {
      this.#giveBack(next, order.written(next));
    }
  }

  #giveBack(head: number, written: number): void {
    const count = this.#counts[head]!;
    this.#counts[head] = 0;
    this.#used.stage(head, count, written);
    if (this.#record !== null) this.#record.push(head);
  }

  /** Makes the ring's views in `memory`. "" or why it can't be done. */
  #map(memory: GuestMemory): string {
    const areas = findPackedAreas(this.#config, memory);
    if (typeof areas === "string") return areas;
    this.#ring = areas.ring;
    this.#descriptors = areas.descriptors;
    this.#used.setArea(areas.descriptors);
    this.#events.setAreas(areas.driverEvent, areas.deviceEvent);
    this.#walk.setMemory(memory);
    this.chain.setMemory(memory);
    this.#log = memory.log;
    if (memory.log !== null) {
      this.#writes ??= new WriteLog(this.size, this.chain);
    }
    this.#aimLog();
    return "";
  }

  /** Finds where what we write of the ring is logged. */
  #aimLog(): void {
    const { memory } = this.chain;
    const log = this.#logsRing ? memory.log : null;
    const { descriptorArea, deviceArea } = this.#config;
    const ringSize = layout.descriptorAreaSize(this.size);
    const eventSize = layout.EVENT_AREA_SIZE;
    this.#used.setLog(
      log && AreaLog.of(log, memory, descriptorArea, ringSize),
    );
    this.#events.setLog(log && AreaLog.of(log, memory, deviceArea, eventSize));
  }

  #break(reason: string): false {
    this.broken = reason;
    return false;
  }
}
