/**
 * The driver side of a packed ring, virtio 1.3 §2.8.
 *
 * @module
 */
import {
  DESCRIPTOR_SIZE,
  descriptorAreaSize,
  EVENT_AREA_SIZE,
  RING_EVENT_FLAGS_DESC,
  RING_EVENT_FLAGS_DISABLE,
  RING_EVENT_FLAGS_ENABLE,
  RING_EVENT_FLAGS_MASK,
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_USED,
  VIRTQ_DESC_F_WRITE,
} from "../virtqueue/layout.ts";
import { RING_START, RING_WRAP } from "../virtqueue/packed_state.ts";
import type { VirtqueueConfig } from "../virtqueue/virtqueue.ts";
import type { DriverMemory } from "./driver_memory.ts";
import type {
  AddOptions,
  DriverSegment,
  RawDescriptor,
  RingDriver,
  UsedChain,
} from "./ring_driver.ts";

/** How a {@linkcode PackedDriver} is to be. */
export interface PackedDriverOptions {
  /** VIRTIO_F_EVENT_IDX is negotiated. */
  eventIndex?: boolean;
  /** VIRTIO_F_INDIRECT_DESC is negotiated. */
  indirect?: boolean;
  /** VIRTIO_F_IN_ORDER is negotiated. */
  inOrder?: boolean;
  /** Where both sides start: a position, and in bit 15 the wrap counter. */
  base?: number;
  /** The region of the memory to lay the ring out in, else any. */
  region?: number;
}

/** The flags that tell whose a descriptor is. */
const OWNER = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;

/** A chain that is staged or with the device. */
interface Held {
  /** Where it starts. */
  readonly start: number;
  /** Descriptors of the ring. */
  readonly count: number;
}

/**
 * Drives a packed ring that it lays out in a DriverMemory. `add` stages
 * requests, `publish` shows them to the device, `nextUsed` takes them back.
 * The `raw*` methods write whatever they are told, to break a ring.
 *
 * @example A chain that goes on for ever
 * ```ts
 * import { asPacked, FakeDriver, RING_KINDS } from "@ringside/ringside/testing";
 * import { VIRTQ_DESC_F_NEXT } from "@ringside/ringside/virtqueue";
 * import { assert, assertEquals } from "@std/assert";
 *
 * using fake = FakeDriver.over(() => ({
 *   drain(queue) {
 *     while (queue.pop()) queue.push(queue.chain.head, 0);
 *   },
 * }), { kind: RING_KINDS[1]!, queueSize: 4 });
 * const [port] = fake.rings;
 * const ring = asPacked(port!.ring);
 * for (let i = 0; i < 4; i++) {
 *   ring.rawStage({ size: 1, flags: VIRTQ_DESC_F_NEXT }, i === 0);
 * }
 * ring.publish();
 * fake.turn();
 * assertEquals(port!.queue.inFlight, 0);
 * assert(port!.queue.broken !== "");
 * ```
 */
export class PackedDriver implements RingDriver {
  /** Entries. */
  readonly size: number;
  /** The descriptor ring, guest address. */
  readonly descriptorArea: number;
  /** The driver event area, guest address. */
  readonly driverArea: number;
  /** The device event area, guest address. */
  readonly deviceArea: number;
  readonly #memory: DriverMemory;
  readonly #options: PackedDriverOptions;
  readonly #descriptors: Uint32Array;
  readonly #driverEvent: Uint32Array;
  readonly #deviceEvent: Uint32Array;
  /** Indirect tables by the number of their entries, to be used again. */
  readonly #tables = new Map<number, number[]>();
  /** By buffer id: the indirect table that its chain holds, and its entries. */
  readonly #tableOf = new Map<number, [address: number, entries: number]>();
  /** Buffer ids that no chain has. */
  readonly #freeIds: number[];
  /** Descriptors that no chain has. */
  #free: number;
  /** By buffer id. */
  readonly #chains = new Map<number, Held>();
  /** First descriptors that are staged, without their flags: position, flags. */
  #staged: [at: number, bits: number][] = [];
  #next: number;
  #wrap: boolean;
  #usedNext: number;
  #usedWrap: boolean;
  /** Descriptors that the last `publish` showed. */
  #shown = 0;
  /** Descriptors that are staged. */
  #fresh = 0;

  /** Lays a ring of `size` entries out in `memory`. */
  constructor(
    memory: DriverMemory,
    size: number,
    options: PackedDriverOptions = {},
  ) {
    const base = options.base ?? RING_START & 0xffff;
    const { region } = options;
    this.size = size;
    this.#memory = memory;
    this.#options = options;
    this.descriptorArea = memory.allocate(descriptorAreaSize(size), 16, region);
    this.driverArea = memory.allocate(EVENT_AREA_SIZE, 4, region);
    this.deviceArea = memory.allocate(EVENT_AREA_SIZE, 4, region);
    this.#descriptors = this.#words(this.descriptorArea, 4 * size);
    this.#driverEvent = this.#words(this.driverArea, 1);
    this.#deviceEvent = this.#words(this.deviceArea, 1);
    this.#freeIds = Array.from({ length: size }, (_, i) => size - 1 - i);
    this.#free = size;
    this.#next = this.#usedNext = base & (RING_WRAP - 1);
    this.#wrap = this.#usedWrap = (base & RING_WRAP) !== 0;
    this.#layOut();
  }

  /** The ring as the device is to open it. */
  config(index = 0): VirtqueueConfig {
    const used = this.usedPosition;
    return {
      index,
      size: this.size,
      descriptorArea: this.descriptorArea,
      driverArea: this.driverArea,
      deviceArea: this.deviceArea,
      nextAvail: (used | used << 16) >>> 0,
      packed: true,
      inOrder: this.#options.inOrder ?? false,
      eventIndex: this.#options.eventIndex ?? false,
      indirect: this.#options.indirect ?? false,
    };
  }

  /** Descriptors that no chain holds. */
  get freeCount(): number {
    return this.#free;
  }

  /** Where the next chain is staged; its wrap counter in bit 15. */
  get availPosition(): number {
    return this.#next | (this.#wrap ? RING_WRAP : 0);
  }

  /** Where the next used descriptor is looked for; its wrap counter in bit 15. */
  get usedPosition(): number {
    return this.#usedNext | (this.#usedWrap ? RING_WRAP : 0);
  }

  /** The mode of the device's event area, `RING_EVENT_FLAGS_*`. */
  get deviceMode(): number {
    return (Atomics.load(this.#deviceEvent, 0) >>> 16) & RING_EVENT_FLAGS_MASK;
  }

  /** The position in the device's event area; its wrap counter in bit 15. */
  get devicePosition(): number {
    return Atomics.load(this.#deviceEvent, 0) & 0xffff;
  }

  /** Stages a request: its buffer id. Throws where it does not fit. */
  add(segments: readonly DriverSegment[], options: AddOptions = {}): number {
    const { indirect = false } = options;
    let direct = segments.length;
    if (indirect === true) direct = 0;
    else if (indirect !== false) direct = indirect;
    const usesTable = indirect !== false;
    const count = direct + (usesTable ? 1 : 0);
    if (count === 0 || count > this.#free) {
      throw new RangeError(
        `A chain of ${count} descriptors does not fit, wanted 1 to the ` +
          `${this.#free} that are free`,
      );
    }
    const id = this.#freeIds.pop()!;
    this.#chains.set(id, { start: this.#next, count });
    this.#free -= count;
    for (let i = 0; i < count; i++) {
      const last = i === count - 1;
      const raw = usesTable && last
        ? this.#writeTable(id, segments.slice(direct))
        : rawOf(segments[i]!);
      if (!last) raw.flags |= VIRTQ_DESC_F_NEXT;
      this.rawStage({ ...raw, next: id }, i === 0);
    }
    return id;
  }

  /** Overwrites parts of a descriptor of a chain that is staged. */
  amend(head: number, position: number, raw: Partial<RawDescriptor>): void {
    const held = this.#chains.get(head);
    const direct = held?.count ?? 0;
    const [table, entries] = this.#tableOf.get(head) ?? [0, 0];
    if (position < 0 || position >= direct + entries) {
      throw new RangeError(
        `Chain ${head} has no descriptor ${position}, wanted one below ` +
          `${direct + entries}`,
      );
    }
    if (position >= direct) {
      return this.#write(position - direct, raw, table);
    }
    const at = (held!.start + position) % this.size;
    const { flags, ...rest } = raw;
    this.#write(at, rest);
    if (flags === undefined) return;
    // Whose a descriptor is stays as it is, and the first one's flags wait.
    const staged = this.#staged.find(([first]) => first === at);
    const before = staged?.[1] ?? this.#descriptors[4 * at + 3]! >>> 16;
    const bits = (flags & ~OWNER) | (before & OWNER);
    if (staged !== undefined) staged[1] = bits;
    else this.#writeFlags(at, bits);
  }

  /** Shows what is staged to the device; true when that wants a kick. */
  publish(): boolean {
    // The first one last: the device sees all or nothing (§2.8.21).
    for (const [at, bits] of this.#staged.reverse()) this.#writeFlags(at, bits);
    this.#staged = [];
    this.#shown = this.#fresh;
    this.#fresh = 0;
    return this.kickNeeded();
  }

  /** Whether the device wants a kick for what the last `publish` showed. */
  kickNeeded(): boolean {
    const event = Atomics.load(this.#deviceEvent, 0);
    const mode = (event >>> 16) & RING_EVENT_FLAGS_MASK;
    if (this.#shown === 0 || mode === RING_EVENT_FLAGS_DISABLE) return false;
    if (mode !== RING_EVENT_FLAGS_DESC || !this.#options.eventIndex) {
      return true;
    }
    let position = event & (RING_WRAP - 1);
    if (((event & RING_WRAP) !== 0) !== this.#wrap) position -= this.size;
    return ((this.#next - position - 1) & 0xffff) < this.#shown;
  }

  /** Takes the next chain that the device gave back, or null. */
  nextUsed(): UsedChain | null {
    if (!this.#isUsed()) return null;
    const word = 4 * this.#usedNext;
    const bits = this.#descriptors[word + 3]!;
    const head = bits & 0xffff;
    const wrote = ((bits >>> 16) & VIRTQ_DESC_F_WRITE) !== 0;
    const written = wrote ? this.#descriptors[word + 2]! : 0;
    const held = this.#chains.get(head);
    if (held === undefined) {
      throw new RangeError(
        `The device gave buffer id ${head} back, wanted one that it has`,
      );
    }
    this.#chains.delete(head);
    this.#freeIds.push(head);
    this.#free += held.count;
    const table = this.#tableOf.get(head);
    if (table !== undefined) {
      this.#tableOf.delete(head);
      this.#tables.get(table[1])!.push(table[0]);
    }
    const next = this.#usedNext + held.count;
    this.#usedNext = next % this.size;
    if (next >= this.size) this.#usedWrap = !this.#usedWrap;
    return { head, written };
  }

  /** Asks for no calls, or for all of them again. */
  setNoInterrupt(value: boolean): void {
    const mode = value ? RING_EVENT_FLAGS_DISABLE : RING_EVENT_FLAGS_ENABLE;
    this.rawDriverEvent(mode);
  }

  /**
   * Asks for a call at the next chain that is given back, by the descriptor or
   * for any; true when there is one already.
   */
  armInterrupt(): boolean {
    if (this.#options.eventIndex) {
      this.rawDriverEvent(RING_EVENT_FLAGS_DESC, this.usedPosition);
    } else this.setNoInterrupt(false);
    return this.#isUsed();
  }

  /**
   * Stages one descriptor as it is, with `next` for its buffer id and as much
   * of AVAIL and USED as its position needs. `first`: it starts a chain, and
   * waits for `publish`.
   */
  rawStage(raw: Partial<RawDescriptor>, first = true): void {
    const at = this.#next;
    const owner = this.#wrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;
    const bits = ((raw.flags ?? 0) & ~OWNER) | owner;
    // Blank but for what is given; the flags of a first one stay as they were.
    const { address = 0, size = 0, next = 0 } = raw;
    this.#write(at, { address, size, next });
    if (first) this.#staged.push([at, bits]);
    else this.#writeFlags(at, bits);
    this.#fresh++;
    this.#next = (at + 1) % this.size;
    if (this.#next === 0) this.#wrap = !this.#wrap;
  }

  /** Writes descriptor `at` of the ring, or of the table at `table`, flags and all. */
  rawDescriptor(
    at: number,
    raw: Partial<RawDescriptor>,
    table = this.descriptorArea,
  ): void {
    this.#write(at, { address: 0, size: 0, flags: 0, next: 0, ...raw }, table);
  }

  /** What is in descriptor `at` of the ring. */
  rawRead(at: number): RawDescriptor {
    const word = 4 * at;
    const [low, high, size, bits] = this.#descriptors.subarray(word, word + 4);
    const address = (BigInt(high!) << 32n) | BigInt(low!);
    return { address, size: size!, next: bits! & 0xffff, flags: bits! >>> 16 };
  }

  /** Writes the driver's event area: any 16 bits of flags and of position. */
  rawDriverEvent(flags: number, position = 0): void {
    Atomics.store(this.#driverEvent, 0, (flags << 16 | position) >>> 0);
  }

  /**
   * Makes the ring look as if chains had been there and back up to where it
   * starts: of this lap before that position, of the one before after it.
   */
  #layOut(): void {
    for (let at = 0; at < this.size; at++) {
      const wrap = at < this.#next ? this.#wrap : !this.#wrap;
      this.#descriptors[4 * at + 3] = (wrap ? OWNER << 16 : 0) >>> 0;
    }
    this.#driverEvent[0] = 0;
    this.#deviceEvent[0] = 0;
  }

  /** Lays a table out; of its flags only WRITE is there (§2.8.19). */
  #writeTable(id: number, segments: readonly DriverSegment[]): RawDescriptor {
    const entries = segments.length;
    const size = DESCRIPTOR_SIZE * entries;
    const known = this.#tables.get(entries) ?? [];
    this.#tables.set(entries, known);
    const address = known.pop() ?? this.#memory.allocate(size);
    this.#tableOf.set(id, [address, entries]);
    for (const [i, segment] of segments.entries()) {
      this.rawDescriptor(i, rawOf(segment), address);
    }
    return { address, size, flags: VIRTQ_DESC_F_INDIRECT, next: 0 };
  }

  /** Writes those fields of a descriptor that there are. */
  #write(
    at: number,
    raw: Partial<RawDescriptor>,
    table = this.descriptorArea,
  ): void {
    const [view, offset] = this.#memory.view(table + DESCRIPTOR_SIZE * at);
    const { address, size, flags, next } = raw;
    if (address !== undefined) {
      view.setBigUint64(offset, BigInt(address), true);
    }
    if (size !== undefined) view.setUint32(offset + 8, size, true);
    if (next !== undefined) view.setUint16(offset + 12, next, true);
    if (flags !== undefined) view.setUint16(offset + 14, flags, true);
  }

  #isUsed(): boolean {
    const flags = Atomics.load(this.#descriptors, 4 * this.#usedNext + 3) >>>
      16;
    return (flags & OWNER) === (this.#usedWrap ? OWNER : 0);
  }

  /** Writes the flags of descriptor `at`; its buffer id stays. */
  #writeFlags(at: number, flags: number): void {
    const word = 4 * at + 3;
    const id = this.#descriptors[word]! & 0xffff;
    Atomics.store(this.#descriptors, word, (flags << 16 | id) >>> 0);
  }

  #words(address: number, count: number): Uint32Array<ArrayBuffer> {
    const [view, offset] = this.#memory.view(address);
    return new Uint32Array(view.buffer, view.byteOffset + offset, count);
  }
}

/**
 * `ring`, which has to be packed: for what only packed rings have.
 *
 * @example A ring of the other kind
 * ```ts
 * import { asPacked, DriverMemory, openRing } from "@ringside/ringside/testing";
 * import { assertThrows } from "@std/assert";
 *
 * using memory = DriverMemory.plain(1 << 16);
 * assertThrows(() => asPacked(openRing(memory, 8, 0n)), TypeError);
 * ```
 */
export function asPacked(ring: RingDriver): PackedDriver {
  if (ring instanceof PackedDriver) return ring;
  throw new TypeError("The ring is split, wanted a packed one");
}

function rawOf(segment: DriverSegment): RawDescriptor {
  return {
    address: segment.address,
    size: segment.size,
    flags: segment.writable ? VIRTQ_DESC_F_WRITE : 0,
    next: 0,
  };
}
