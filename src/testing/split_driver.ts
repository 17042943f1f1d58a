/**
 * The driver side of a split ring, virtio 1.3 §2.7.
 *
 * @module
 */
import {
  AVAIL_RING,
  availEventIndex,
  DESCRIPTOR_SIZE,
  descriptorAreaSize,
  deviceAreaSize,
  driverAreaSize,
  RING_FLAGS,
  RING_INDEX,
  USED_RING_WORD,
  usedEventIndex,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
} from "../virtqueue/layout.ts";
import type { VirtqueueConfig } from "../virtqueue/virtqueue.ts";
import type { DriverMemory } from "./driver_memory.ts";
import type {
  AddOptions,
  DriverSegment,
  RawDescriptor,
  RingDriver,
  UsedChain,
} from "./ring_driver.ts";

/** How a {@linkcode SplitDriver} is to be. */
export interface SplitDriverOptions {
  /** VIRTIO_F_EVENT_IDX is negotiated. */
  eventIndex?: boolean;
  /** VIRTIO_F_INDIRECT_DESC is negotiated. */
  indirect?: boolean;
  /** VIRTIO_F_IN_ORDER is negotiated. */
  inOrder?: boolean;
  /** The index that both rings start from, 0..65535. */
  base?: number;
  /** The region of the memory to lay the ring out in, else any. */
  region?: number;
}

/**
 * Drives a split ring that it lays out in a DriverMemory. `add` stages
 * requests, `publish` shows them to the device, `nextUsed` takes them back.
 * The `raw*` methods write whatever they are told, to break a ring.
 *
 * @example A ring that claims more than it can hold
 * ```ts
 * import { asSplit, FakeDriver } from "@ringside/ringside/testing";
 * import { assertStringIncludes } from "@std/assert";
 *
 * using fake = FakeDriver.over(() => ({
 *   drain(queue) {
 *     while (queue.pop()) queue.push(queue.chain.head, 0);
 *   },
 * }));
 * const [port] = fake.rings;
 * asSplit(port!.ring).rawAvailableIndex(10_000);
 * fake.turn();
 * assertStringIncludes(port!.queue.broken, "10000");
 * ```
 */
export class SplitDriver implements RingDriver {
  /** Entries. */
  readonly size: number;
  /** The descriptor table, guest address. */
  readonly descriptorArea: number;
  /** The available ring, guest address. */
  readonly driverArea: number;
  /** The used ring, guest address. */
  readonly deviceArea: number;
  readonly #memory: DriverMemory;
  readonly #options: SplitDriverOptions;
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedElements: Uint32Array;
  readonly #free: number[];
  /** By head: the descriptors that its chain holds. */
  readonly #chains = new Map<number, number[]>();
  /** Indirect tables by the number of their entries, to be used again. */
  readonly #tables = new Map<number, number[]>();
  /** By head: the indirect table that its chain holds, and its entries. */
  readonly #tableOf = new Map<number, [address: number, entries: number]>();
  #availIndex: number;
  #publishedIndex: number;
  /** The published index before the last `publish`. */
  #shownBefore: number;
  #usedIndex: number;

  /** Lays a ring of `size` entries out in `memory`. */
  constructor(
    memory: DriverMemory,
    size: number,
    options: SplitDriverOptions = {},
  ) {
    const base = options.base ?? 0;
    this.size = size;
    this.#memory = memory;
    this.#options = options;
    const { region } = options;
    this.descriptorArea = memory.allocate(descriptorAreaSize(size), 16, region);
    this.driverArea = memory.allocate(driverAreaSize(size, true), 2, region);
    this.deviceArea = memory.allocate(deviceAreaSize(size, true), 4, region);
    this.#avail = this.#words(this.driverArea, usedEventIndex(size) + 1);
    this.#used = this.#words(this.deviceArea, availEventIndex(size) + 1);
    const { buffer, byteOffset } = this.#used;
    this.#usedElements = new Uint32Array(buffer, byteOffset, 1 + 2 * size);
    this.#free = Array.from({ length: size }, (_, i) => size - 1 - i);
    this.#availIndex = base;
    this.#publishedIndex = base;
    this.#shownBefore = base;
    this.#usedIndex = base;
    this.#avail[RING_INDEX] = base;
    this.#used[RING_INDEX] = base;
    if (options.eventIndex) {
      this.#avail[usedEventIndex(size)] = base;
      this.#used[availEventIndex(size)] = base;
    }
  }

  /** The ring as the device is to open it. */
  config(index = 0): VirtqueueConfig {
    return {
      index,
      size: this.size,
      descriptorArea: this.descriptorArea,
      driverArea: this.driverArea,
      deviceArea: this.deviceArea,
      nextAvail: this.#usedIndex,
      eventIndex: this.#options.eventIndex ?? false,
      indirect: this.#options.indirect ?? false,
      inOrder: this.#options.inOrder ?? false,
    };
  }

  /** Descriptors that no chain holds. */
  get freeCount(): number {
    return this.#free.length;
  }

  /** The available index including what is staged. */
  get availIndex(): number {
    return this.#availIndex;
  }

  /** The used index up to which chains were taken back. */
  get usedIndex(): number {
    return this.#usedIndex;
  }

  /** `avail_event`, as the device wrote it. */
  get availEvent(): number {
    return Atomics.load(this.#used, availEventIndex(this.size));
  }

  /** The flags of the used ring, as the device wrote them. */
  get usedFlags(): number {
    return Atomics.load(this.#used, RING_FLAGS);
  }

  /** The index of the used ring, as the device wrote it. */
  get publishedUsedIndex(): number {
    return Atomics.load(this.#used, RING_INDEX);
  }

  /** Stages a request: the head of its chain. Throws where it does not fit. */
  add(segments: readonly DriverSegment[], options: AddOptions = {}): number {
    const { indirect = false } = options;
    let direct = segments.length;
    if (indirect === true) direct = 0;
    else if (indirect !== false) direct = indirect;
    const usesTable = indirect !== false;
    const count = direct + (usesTable ? 1 : 0);
    if (count === 0 || count > this.#free.length) {
      throw new RangeError(
        `A chain of ${count} descriptors does not fit, wanted 1 to the ` +
          `${this.#free.length} that are free`,
      );
    }
    const held = Array.from({ length: count }, () => this.#free.pop()!);
    const head = held[0]!;
    this.#chains.set(head, held);
    for (const [i, index] of held.entries()) {
      const last = i === count - 1;
      const raw = usesTable && last
        ? this.#writeTable(head, segments.slice(direct))
        : rawOf(segments[i]!);
      if (!last) raw.flags |= VIRTQ_DESC_F_NEXT;
      raw.next = last ? 0 : held[i + 1]!;
      this.rawDescriptor(index, raw);
    }
    this.rawAvailable(head);
    return head;
  }

  /** Overwrites parts of a descriptor of a chain that is staged. */
  amend(head: number, position: number, raw: Partial<RawDescriptor>): void {
    const held = this.#chains.get(head) ?? [];
    const [table, entries] = this.#tableOf.get(head) ?? [0, 0];
    const direct = held.length;
    if (position < 0 || position >= direct + entries) {
      throw new RangeError(
        `Chain ${head} has no descriptor ${position}, wanted one below ` +
          `${direct + entries}`,
      );
    }
    const address = position < direct
      ? this.descriptorArea + DESCRIPTOR_SIZE * held[position]!
      : table + DESCRIPTOR_SIZE * (position - direct);
    const [view, at] = this.#memory.view(address);
    const { address: to, size, flags, next } = raw;
    if (to !== undefined) view.setBigUint64(at, BigInt(to), true);
    if (size !== undefined) view.setUint32(at + 8, size, true);
    if (flags !== undefined) view.setUint16(at + 12, flags, true);
    if (next !== undefined) view.setUint16(at + 14, next, true);
  }

  /** Shows what is staged to the device; true when that wants a kick. */
  publish(): boolean {
    this.#shownBefore = this.#publishedIndex;
    this.#publishedIndex = this.#availIndex;
    Atomics.store(this.#avail, RING_INDEX, this.#publishedIndex);
    return this.kickNeeded();
  }

  /** Whether the device wants a kick for what the last `publish` showed. */
  kickNeeded(): boolean {
    const now = this.#publishedIndex;
    const count = (now - this.#shownBefore) & 0xffff;
    if (!this.#options.eventIndex) {
      return count > 0 && (this.usedFlags & VIRTQ_USED_F_NO_NOTIFY) === 0;
    }
    return ((now - this.availEvent - 1) & 0xffff) < count;
  }

  /** Takes the next chain that the device gave back, or null. */
  nextUsed(): UsedChain | null {
    if (this.publishedUsedIndex === this.#usedIndex) return null;
    const slot = this.#usedIndex % this.size;
    const element = USED_RING_WORD + 2 * slot;
    const head = this.#usedElements[element]!;
    const written = this.#usedElements[element + 1]!;
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
    const held = this.#chains.get(head);
    if (held !== undefined) {
      this.#chains.delete(head);
      this.#free.push(...held.reverse());
    }
    const table = this.#tableOf.get(head);
    if (table !== undefined) {
      this.#tableOf.delete(head);
      this.#tables.get(table[1])!.push(table[0]);
    }
    return { head, written };
  }

  /** Asks for no calls, or for them again, by the flag. */
  setNoInterrupt(value: boolean): void {
    const flags = value ? VIRTQ_AVAIL_F_NO_INTERRUPT : 0;
    Atomics.store(this.#avail, RING_FLAGS, flags);
  }

  /**
   * Asks for a call at the next chain that is given back, by `used_event` or by
   * the flag; true when there is one already.
   */
  armInterrupt(): boolean {
    if (this.#options.eventIndex) this.rawUsedEvent(this.#usedIndex);
    else this.setNoInterrupt(false);
    return this.publishedUsedIndex !== this.#usedIndex;
  }

  /** Writes descriptor `index` of the table, or of the table at `table`. */
  rawDescriptor(
    index: number,
    raw: Partial<RawDescriptor>,
    table = this.descriptorArea,
  ): void {
    const [view, at] = this.#memory.view(table + DESCRIPTOR_SIZE * index);
    const address = BigInt(raw.address ?? 0);
    view.setBigUint64(at, address, true);
    view.setUint32(at + 8, raw.size ?? 0, true);
    view.setUint16(at + 12, raw.flags ?? 0, true);
    view.setUint16(at + 14, raw.next ?? 0, true);
  }

  /** Stages `head`, whatever that is. */
  rawAvailable(head: number): void {
    this.#avail[AVAIL_RING + this.#availIndex % this.size] = head;
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
  }

  /** Makes `index` the available index that the device sees. */
  rawAvailableIndex(index: number): void {
    this.#availIndex = index & 0xffff;
    this.#publishedIndex = index & 0xffff;
    this.#shownBefore = index & 0xffff;
    Atomics.store(this.#avail, RING_INDEX, index);
  }

  /** Writes `used_event`. */
  rawUsedEvent(index: number): void {
    Atomics.store(this.#avail, usedEventIndex(this.size), index);
  }

  /** Overwrites the index of the used ring, which belongs to the device. */
  rawUsedIndex(index: number): void {
    Atomics.store(this.#used, RING_INDEX, index);
  }

  /** The id and length in slot `slot` of the used ring. */
  rawUsedElement(slot: number): UsedChain {
    const element = USED_RING_WORD + 2 * slot;
    return {
      head: this.#usedElements[element]!,
      written: this.#usedElements[element + 1]!,
    };
  }

  #writeTable(
    head: number,
    segments: readonly DriverSegment[],
  ): RawDescriptor {
    const entries = segments.length;
    const size = DESCRIPTOR_SIZE * entries;
    const known = this.#tables.get(entries) ?? [];
    this.#tables.set(entries, known);
    const address = known.pop() ?? this.#memory.allocate(size);
    this.#tableOf.set(head, [address, entries]);
    for (const [i, segment] of segments.entries()) {
      const raw = rawOf(segment);
      if (i < entries - 1) {
        raw.flags |= VIRTQ_DESC_F_NEXT;
        raw.next = i + 1;
      }
      this.rawDescriptor(i, raw, address);
    }
    return { address, size, flags: VIRTQ_DESC_F_INDIRECT, next: 0 };
  }

  #words(address: number, count: number): Uint16Array<ArrayBuffer> {
    const [view, offset] = this.#memory.view(address);
    return new Uint16Array(view.buffer, view.byteOffset + offset, count);
  }
}

function rawOf(segment: DriverSegment): RawDescriptor {
  return {
    address: segment.address,
    size: segment.size,
    flags: segment.writable ? VIRTQ_DESC_F_WRITE : 0,
    next: 0,
  };
}

/**
 * `ring`, which has to be split: for what only split rings have.
 *
 * @example A ring of the other kind
 * ```ts
 * import { VIRTIO_F_RING_PACKED } from "@ringside/ringside/device";
 * import { asSplit, DriverMemory, openRing } from "@ringside/ringside/testing";
 * import { assertThrows } from "@std/assert";
 *
 * using memory = DriverMemory.plain(1 << 16);
 * const ring = openRing(memory, 8, VIRTIO_F_RING_PACKED);
 * assertThrows(() => asSplit(ring), TypeError);
 * ```
 */
export function asSplit(ring: RingDriver): SplitDriver {
  if (ring instanceof SplitDriver) return ring;
  throw new TypeError("The ring is packed, wanted a split one");
}
