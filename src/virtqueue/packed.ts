// Data plane: the packed ring, virtio 1.3 §2.8.
/**
 * @module
 */
import { assert } from "../assert.ts";
import { GuestError } from "../errors.ts";
import type { DirtyLog } from "../memory/dirty_log.ts";
import type { GuestMemory } from "../memory/guest_memory.ts";
import { findArea, integers, placeOf, viewOf } from "./area.ts";
import { Chain, chainLimit } from "./chain.ts";
import { IndirectTable } from "./indirect_table.ts";
import * as layout from "./layout.ts";
import { acquire32, look, release32 } from "./ordering.ts";
import { PackedInflight } from "./packed_inflight.ts";
import { PackedRecord } from "./packed_record.ts";
import { isRingState, RING_WRAP, ringState } from "./packed_state.ts";
import type { Virtqueue, VirtqueueConfig } from "./virtqueue.ts";
import { WriteLog } from "./write_log.ts";

// An imported constant is loaded and checked at every use, see split.ts.
const DESCRIPTOR_SIZE = layout.DESCRIPTOR_SIZE;
const RING_EVENT_FLAGS_DESC = layout.RING_EVENT_FLAGS_DESC;
const RING_EVENT_FLAGS_DISABLE = layout.RING_EVENT_FLAGS_DISABLE;
const VIRTQ_DESC_F_WRITE = layout.VIRTQ_DESC_F_WRITE;

// The last word of a descriptor has the buffer id in its lower half and the
// flags in the upper one: one load gets both.
const NEXT = layout.VIRTQ_DESC_F_NEXT << 16;
const WRITE = layout.VIRTQ_DESC_F_WRITE << 16;
const INDIRECT = layout.VIRTQ_DESC_F_INDIRECT << 16;
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
  readonly #eventIndex: boolean;
  readonly #indirect: boolean;
  readonly #inOrder: boolean;
  // The ring by views of its own, small and made once.
  #ring: DataView = new DataView(new ArrayBuffer(0));
  #descriptors: Int32Array = new Int32Array(0);
  #driverEvent: Int32Array = new Int32Array(0);
  #deviceEvent: Int32Array = new Int32Array(0);
  /** Where the next chain starts. */
  #next = 0;
  /** How its first descriptor looks once it is there: AVAIL or USED. */
  #available = AVAIL;
  /** Where the next used descriptor goes. */
  #usedNext = 0;
  /** How it has to look: OWNER or 0. */
  #used = OWNER;
  /** Descriptors that are the device's: popped, and not yet published as used. */
  #held = 0;
  /** Of those, how many belong to chains that were given back. */
  #staged = 0;
  /** The first used descriptor of a batch, which is written last. */
  #firstStaged = 0;
  #firstBits = 0;
  /** By head: descriptors of its chain while that is in flight, else 0. */
  readonly #counts: Uint16Array;
  /** A head that was published while in flight: it has to wait. Or NONE. */
  #waiting = NONE;
  /** By position: the head whose chain ended right before, or NOT_POPPED. */
  readonly #taken: Uint16Array;
  /** What `#gather` found: the buffer id, and how many descriptors. */
  #head = 0;
  #count = 0;
  /** What is in flight, for who serves the ring if this process dies. Or null. */
  #record: PackedRecord | null = null;
  /** The log of the memory, or null, and what the chains are to leave there. */
  #log: DirtyLog | null = null;
  #writes: WriteLog | null = null;
  /** Whether what we write of the ring itself is logged, and where that is. */
  #logsRing: boolean;
  #ringPlace = 0;
  #eventPlace = 0;
  readonly #table: IndirectTable;
  // With IN_ORDER: by position, the head whose chain starts there; by head,
  // whether it was given back and waits for those before it, and its bytes.
  readonly #order: Uint16Array;
  readonly #done: Uint8Array;
  readonly #written: Uint32Array;

  private constructor(config: VirtqueueConfig, memory: GuestMemory) {
    const { size } = config;
    const limit = chainLimit(size);
    const inOrder = config.inOrder ?? false;
    this.index = config.index;
    this.size = size;
    this.chain = new Chain(limit, memory);
    this.#config = config;
    this.#eventIndex = config.eventIndex;
    this.#indirect = config.indirect;
    this.#inOrder = inOrder;
    this.#logsRing = (config.usedLog ?? NONE) !== NONE;
    this.#counts = new Uint16Array(size);
    this.#taken = new Uint16Array(size).fill(NOT_POPPED);
    this.#table = new IndirectTable(config.indirect ? limit : 0, memory);
    this.#order = new Uint16Array(inOrder ? size : 0);
    this.#done = new Uint8Array(inOrder ? size : 0);
    this.#written = new Uint32Array(inOrder ? size : 0);
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
    queue.#usedNext = (state >>> 16) & (RING_WRAP - 1);
    queue.#used = (state >>> 16) >= RING_WRAP ? OWNER : 0;
    if (config.inflight) {
      queue.#recover(new PackedInflight(config.inflight, size));
    }
    return queue;
  }

  /** The position of the next chain, and in bit 15 the wrap counter. */
  get nextAvail(): number {
    return this.#available === AVAIL ? this.#next | RING_WRAP : this.#next;
  }

  /** Both positions with their wrap counters, as SET_VRING_BASE takes them. */
  get resumeAt(): number {
    const used = this.#used === 0 ? this.#usedNext : this.#usedNext | RING_WRAP;
    const next = this.#next + (this.#record?.descriptorsLeft ?? 0);
    const wraps = next >= this.size;
    const isFirstLap = (this.#available === AVAIL) !== wraps;
    const avail = (wraps ? next - this.size : next) |
      (isFirstLap ? RING_WRAP : 0);
    return (avail | used << 16) >>> 0;
  }

  get recovered(): number {
    return this.#record?.left ?? 0;
  }

  pop(): boolean {
    if (this.#record !== null) return this.#popRecorded(this.#record);
    if (this.broken !== "") return false;
    // Where the device has all descriptors, the next one is none of the driver's.
    while (this.#held < this.size) {
      const at = this.#next;
      const bits = look(this.#descriptors, 4 * at + 3);
      if ((bits & OWNER) !== this.#available) return false;
      const isSound = this.#gather(this.#ring, at, bits);
      if (!this.#mayTake()) return false;
      if (this.#take(at, isSound)) return true;
      if (this.chain.missed) return false;
    }
    return false;
  }

  /** The same, on a ring that keeps a record, or found one. */
  #popRecorded(record: PackedRecord): boolean {
    if (this.broken !== "") return false;
    while (this.#held < this.size) {
      const at = this.#next;
      const isAgain = record.left > 0;
      const from = isAgain ? record.at : at;
      const source = isAgain ? record.again : this.#ring;
      const bits = isAgain
        ? source.getInt32(DESCRIPTOR_SIZE * from + 12, true)
        : look(this.#descriptors, 4 * from + 3);
      if (!isAgain && (bits & OWNER) !== this.#available) return false;
      const isSound = this.#gather(source, from, bits);
      if (!this.#mayTake()) return false;
      record.take(this.#head, this.#descriptors, at, this.#count);
      if (this.#take(at, isSound)) return true;
      if (this.chain.missed) return false;
    }
    return false;
  }

  /** Whether the chain that was gathered is one to take. */
  #mayTake(): boolean {
    if (this.broken !== "") return false;
    if (this.#counts[this.#head] === 0) return true;
    this.#waiting = this.#head;
    return false;
  }

  /**
   * Takes the chain that was gathered from `start` on. True where it is one for
   * the device; else it is given back already, or it is to be mapped first.
   */
  #take(start: number, isSound: boolean): boolean {
    const head = this.#head;
    this.#advance(this.#count);
    this.#counts[head] = this.#count;
    this.#held += this.#count;
    if (this.#inOrder) this.#order[start] = head;
    if (isSound && this.chain.translate()) {
      this.chain.head = head;
      this.#taken[this.#next] = head;
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
    const staged = this.#staged;
    if (staged === 0) return false;
    this.#staged = 0;
    this.#held -= staged;
    const record = this.#record;
    if (record !== null) record.prepare(this.#usedNext, this.#used !== 0);
    release32(this.#descriptors, 4 * this.#firstStaged + 3, this.#firstBits);
    if (record !== null) record.publish();
    if (this.#log !== null) this.#logUsed(staged);
    const event = acquire32(this.#driverEvent, 0);
    const mode = (event >>> 16) & layout.RING_EVENT_FLAGS_MASK;
    if (mode !== RING_EVENT_FLAGS_DESC || !this.#eventIndex) {
      return mode !== RING_EVENT_FLAGS_DISABLE;
    }
    // §2.8.10: a call is due when this descriptor was used just now. One of the
    // lap before lies below 0.
    let position = event & (RING_WRAP - 1);
    const lap = (event & RING_WRAP) !== 0 ? OWNER : 0;
    if (lap !== this.#used) position -= this.size;
    return ((this.#usedNext - position - 1) & 0xffff) < staged;
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
    this.#deviceEvent[0] = RING_EVENT_FLAGS_DISABLE << 16;
    this.#logEvent();
  }

  enableKicks(): boolean {
    if (this.broken !== "") return false;
    // A device may have left chains: those after them are not at `#next`, and
    // any may bring the kick.
    const bits = this.#descriptors[4 * this.#next + 3]!;
    const isLeft = (bits & OWNER) === this.#available || this.recovered > 0;
    const event = this.#eventIndex && !isLeft
      ? RING_EVENT_FLAGS_DESC << 16 | this.nextAvail
      : layout.RING_EVENT_FLAGS_ENABLE << 16;
    release32(this.#deviceEvent, 0, event);
    this.#logEvent();
    return this.hasAvailable();
  }

  /**
   * Front-ends say where the device event area is, and nothing of the ring of
   * descriptors, which we write too: so both are logged where they are.
   */
  setUsedLog(address: number): void {
    this.#logsRing = address !== NONE;
  }

  setMemory(memory: GuestMemory): boolean {
    const idle = this.inFlight === 0 && this.#staged === 0;
    assert(idle, "memory is replaced with nothing in flight or unpublished");
    const failure = this.#map(memory);
    if (failure !== "") this.#break(failure);
    return this.broken === "";
  }

  /**
   * Goes on where the process before us left the ring: behind the chains that
   * it gave back, and those that it had in flight.
   */
  #recover(inflight: PackedInflight): void {
    const record = new PackedRecord(inflight, this.size);
    this.#record = record;
    const found = inflight.recover(
      (index, wrap) => {
        const bits = this.#descriptors[4 * index + 3]!;
        return (bits & OWNER) !== (wrap ? AVAIL : USED);
      },
      this.#usedNext,
      this.#used !== 0,
    );
    if (found === null) return;
    record.start(found);
    this.#usedNext = found.usedIndex;
    this.#used = found.usedWrap ? OWNER : 0;
    this.#next = found.usedIndex;
    this.#available = found.usedWrap ? AVAIL : USED;
    this.#takeBack(record.descriptorsLeft);
  }

  /**
   * Of a batch that was not published all but the first descriptor may be in
   * the ring: none of the `count` that are the device's may look used.
   */
  #takeBack(count: number): void {
    let at = this.#usedNext;
    let available = this.#available;
    for (let i = 0; i < count; i++) {
      const bits = this.#descriptors[4 * at + 3]!;
      this.#descriptors[4 * at + 3] = bits & ~OWNER | available;
      at++;
      if (at < this.size) continue;
      at = 0;
      available ^= OWNER;
    }
  }

  /** Logs the used descriptors of a batch over `count` positions. */
  #logUsed(count: number): void {
    if (!this.#logsRing) return;
    const first = this.#firstStaged;
    const straight = Math.min(count, this.size - first);
    const place = this.#ringPlace;
    const log = this.#log!;
    log.mark(place + DESCRIPTOR_SIZE * first, DESCRIPTOR_SIZE * straight);
    log.mark(place, DESCRIPTOR_SIZE * (count - straight));
  }

  #logEvent(): void {
    if (this.#log === null || !this.#logsRing) return;
    this.#log.mark(this.#eventPlace, layout.EVENT_AREA_SIZE);
  }

  /** The chain at `head`, the last one taken, is the next one again. */
  #putBack(head: number): void {
    const count = this.#counts[head]!;
    if (this.#record !== null) this.#record.putBack(head, count);
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
    return this.#inOrder && this.#done[head] === 1;
  }

  /** Goes on at `state`, whose lower half counts. */
  #goTo(state: number): void {
    this.#next = state & (RING_WRAP - 1);
    this.#available = (state & RING_WRAP) !== 0 ? AVAIL : USED;
  }

  /** Goes on `count` descriptors. */
  #advance(count: number): void {
    const next = this.#next + count;
    if (next < this.size) this.#next = next;
    else {
      this.#next = next - this.size;
      this.#available ^= OWNER;
    }
  }

  /** The chain of `head` is done: it is given back as soon as it may be. */
  #complete(head: number, written: number): void {
    if (this.#inOrder) return this.#completeInOrder(head, written);
    const count = this.#counts[head]!;
    this.#counts[head] = 0;
    this.#stage(head, count, written);
  }

  /** The same with IN_ORDER: not before those that were popped before it. */
  #completeInOrder(head: number, written: number): void {
    this.#done[head] = 1;
    this.#written[head] = written;
    // In order, a chain is given back where it started.
    while (this.#staged < this.#held) {
      const oldest = this.#order[this.#usedNext]!;
      if (this.#done[oldest] === 0) return;
      const count = this.#counts[oldest]!;
      this.#done[oldest] = 0;
      this.#counts[oldest] = 0;
      this.#stage(oldest, count, this.#written[oldest]!);
    }
  }

  /**
   * Writes the next used descriptor, for a chain of `count`. The driver looks
   * at them in their order: it sees none before the first, which comes last.
   */
  #stage(head: number, count: number, written: number): void {
    const at = this.#usedNext;
    let bits = head | this.#used;
    if (written > 0) bits |= WRITE;
    this.#descriptors[4 * at + 2] = written;
    if (this.#staged === 0) {
      this.#firstStaged = at;
      this.#firstBits = bits;
    } else this.#descriptors[4 * at + 3] = bits;
    this.#staged += count;
    if (this.#record !== null) this.#record.push(head);
    const next = at + count;
    if (next < this.size) this.#usedNext = next;
    else {
      this.#usedNext = next - this.size;
      this.#used ^= OWNER;
    }
  }

  /**
   * Copies the chain at `start` of `source`, each descriptor read once, the last
   * word of the first one being `first`. False when it is malformed: it has a
   * readable buffer after a writable one, or an indirect table that is not
   * allowed. The ring breaks where the chain has no end or a buffer id that
   * can't be: it is not known then how to give it back.
   */
  #gather(source: DataView, start: number, first: number): boolean {
    const end = source.byteLength >>> 4;
    const chain = this.chain;
    const limit = this.size - this.#held;
    let isSound = true;
    let at = start;
    let bits = first;
    chain.begin();
    for (let count = 1; count <= limit; count++) {
      const place = DESCRIPTOR_SIZE * at;
      if ((bits & INDIRECT) !== 0) {
        // §2.8.19: it is alone.
        isSound = isSound && this.#indirect && count === 1 &&
          (bits & NEXT) === 0 && this.#table.find(source, place) &&
          this.#gatherTable();
      } else if (isSound) {
        isSound = chain.gather(source, place, (bits & WRITE) !== 0);
      }
      if ((bits & NEXT) === 0) return this.#ends(bits, count) && isSound;
      at++;
      if (at === end) at = 0;
      bits = source.getInt32(DESCRIPTOR_SIZE * at + 12, true);
    }
    this.#break(
      `The chain at ${this.#next} goes on after ${limit} descriptors, which ` +
        "are all that the driver may have published",
    );
    return false;
  }

  /** Takes the buffer id of the chain of `count` that ends with `bits`. */
  #ends(bits: number, count: number): boolean {
    const head = bits & 0xffff;
    this.#head = head;
    this.#count = count;
    if (head < this.size) return true;
    this.#break(
      `The chain at ${this.#next} has buffer id ${head}, wanted less than ` +
        `the ${this.size} entries of the ring`,
    );
    return false;
  }

  /**
   * Copies the chain in the indirect table that was found: all entries, in
   * their order. Only WRITE counts of their flags (§2.8.7).
   */
  #gatherTable(): boolean {
    const { view, offset, entries } = this.#table;
    const chain = this.chain;
    for (let i = 0; i < entries; i++) {
      const at = offset + DESCRIPTOR_SIZE * i;
      const flags = view.getUint16(at + 14, true);
      const isWritable = (flags & VIRTQ_DESC_F_WRITE) !== 0;
      if (!chain.gather(view, at, isWritable)) return false;
    }
    return true;
  }

  /** Makes the ring's views in `memory`. "" or why it can't be done. */
  #map(memory: GuestMemory): string {
    const { index, descriptorArea, driverArea, deviceArea } = this.#config;
    const ring = findArea(
      memory,
      `descriptor ring of ring ${index}`,
      descriptorArea,
      layout.descriptorAreaSize(this.size),
      layout.DESCRIPTOR_ALIGNMENT,
    );
    if (typeof ring === "string") return ring;
    const driver = findArea(
      memory,
      `driver event area of ring ${index}`,
      driverArea,
      layout.EVENT_AREA_SIZE,
      layout.EVENT_ALIGNMENT,
    );
    if (typeof driver === "string") return driver;
    const device = findArea(
      memory,
      `device event area of ring ${index}`,
      deviceArea,
      layout.EVENT_AREA_SIZE,
      layout.EVENT_ALIGNMENT,
    );
    if (typeof device === "string") return device;
    this.#ring = viewOf(ring);
    this.#descriptors = integers(ring);
    this.#driverEvent = integers(driver);
    this.#deviceEvent = integers(device);
    this.#ringPlace = placeOf(memory, descriptorArea);
    this.#eventPlace = placeOf(memory, deviceArea);
    this.#table.setMemory(memory);
    this.chain.setMemory(memory);
    this.#log = memory.log;
    if (memory.log !== null) {
      this.#writes ??= new WriteLog(this.size, this.chain);
    }
    return "";
  }

  #break(reason: string): void {
    this.broken = reason;
  }
}
