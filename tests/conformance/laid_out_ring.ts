/**
 * Rings of either kind whose chains are laid out once and published over and
 * over, at next to no cost: what is measured is the device's side.
 *
 * @module
 */
import type { DriverMemory } from "../../src/testing/mod.ts";
import {
  type GuestMemory,
  type InflightArea,
  openVirtqueue,
  RING_EVENT_FLAGS_DESC,
  RING_START,
  RING_WRAP,
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_USED,
  type Virtqueue,
} from "../../src/virtqueue/mod.ts";

/** One buffer of a chain: its flags but for NEXT, and its size. */
export interface LaidOutBuffer {
  readonly flags: number;
  readonly size: number;
}

/** How a ring is laid out. */
export interface LaidOutOptions {
  readonly packed: boolean;
  readonly eventIndex: boolean;
  readonly inOrder?: boolean;
  /** Each chain in an indirect table. */
  readonly indirect: boolean;
  /** Where the ring is, a region of the memory. */
  readonly ringRegion?: number;
  /** Where its buffers and tables are, in turn; else anywhere. */
  readonly bufferRegions?: readonly number[];
  /** The memory as the device sees it; else all of the driver's. */
  readonly guest?: GuestMemory;
  /** Where to record what is in flight. */
  readonly inflight?: InflightArea;
  /** What the ring itself is logged as, where the guest's memory has a log. */
  readonly usedLog?: number;
}

/** A ring that holds `count` chains alike. */
export abstract class LaidOutRing {
  abstract readonly queue: Virtqueue;
  protected readonly memory: DriverMemory;
  protected readonly options: LaidOutOptions;
  #turns = 0;

  constructor(memory: DriverMemory, options: LaidOutOptions) {
    this.memory = memory;
    this.options = options;
  }

  /** Lays a ring out, of the kind that `options` say. */
  static of(
    memory: DriverMemory,
    chain: readonly LaidOutBuffer[],
    count: number,
    options: LaidOutOptions,
  ): LaidOutRing {
    return options.packed
      ? new PackedRing(memory, chain, count, options)
      : new SplitRing(memory, chain, count, options);
  }

  /** Publishes the next `count` chains, and asks for a call when all are used. */
  abstract publish(count: number): void;

  /** Writes `chain` to the table at `at`, from descriptor `first` on. */
  protected put(
    at: number,
    first: number,
    chain: readonly LaidOutBuffer[],
    id: number,
    extra: number,
  ): void {
    const { packed } = this.options;
    for (const [i, { flags, size }] of chain.entries()) {
      const address = this.memory.allocate(size, 16, this.#turn());
      const more = i < chain.length - 1 ? VIRTQ_DESC_F_NEXT : 0;
      const next = packed ? id : first + i + 1;
      this.putOne(at, first + i, address, size, flags | more | extra, next);
    }
  }

  protected putOne(
    at: number,
    index: number,
    address: number,
    size: number,
    flags: number,
    next: number,
  ): void {
    const [view, offset] = this.memory.view(at + 16 * index);
    view.setBigUint64(offset, BigInt(address), true);
    view.setUint32(offset + 8, size, true);
    view.setUint16(offset + (this.options.packed ? 14 : 12), flags, true);
    view.setUint16(offset + (this.options.packed ? 12 : 14), next, true);
  }

  /** The region of the next buffer or table. */
  #turn(): number | undefined {
    const { bufferRegions = [] } = this.options;
    return bufferRegions[this.#turns++ % bufferRegions.length];
  }

  /** A table with `chain`; where it is. */
  protected table(chain: readonly LaidOutBuffer[]): number {
    const at = this.memory.allocate(16 * chain.length, 16, this.#turn());
    this.put(at, 0, chain, 0, 0);
    return at;
  }
}

/** The available ring names the chains over and over. */
class SplitRing extends LaidOutRing {
  readonly queue: Virtqueue;
  readonly #avail: Uint16Array;
  readonly #size: number;
  #index = 0;

  constructor(
    memory: DriverMemory,
    chain: readonly LaidOutBuffer[],
    count: number,
    options: LaidOutOptions,
  ) {
    super(memory, options);
    const { indirect, ringRegion } = options;
    const length = indirect ? 1 : chain.length;
    const size = 2 ** Math.ceil(Math.log2(length * count));
    this.#size = size;
    const ring = memory.allocate(16 * size, 16, ringRegion);
    const driverArea = memory.allocate(6 + 2 * size, 2, ringRegion);
    const [view, offset] = memory.view(driverArea);
    this.#avail = new Uint16Array(view.buffer, offset, 3 + size);
    for (let i = 0; i < size; i++) {
      this.#avail[2 + i] = length * (i % count);
    }
    for (let i = 0; i < count; i++) {
      if (!indirect) this.put(ring, length * i, chain, 0, 0);
      else {
        const at = this.table(chain);
        this.putOne(ring, i, at, 16 * chain.length, VIRTQ_DESC_F_INDIRECT, 0);
      }
    }
    this.queue = openVirtqueue({
      index: 0,
      size,
      descriptorArea: ring,
      driverArea,
      deviceArea: memory.allocate(6 + 8 * size, 4, ringRegion),
      nextAvail: 0,
      eventIndex: options.eventIndex,
      inOrder: options.inOrder ?? false,
      indirect,
      inflight: options.inflight ?? null,
      usedLog: options.usedLog ?? -1,
    }, options.guest ?? memory.guestMemory());
  }

  publish(count: number): void {
    this.#index = (this.#index + count) & 0xffff;
    this.#avail[2 + this.#size] = this.#index - 1;
    Atomics.store(this.#avail, 1, this.#index);
  }
}

/** As large as its chains: they start at the same places in each lap. */
class PackedRing extends LaidOutRing {
  readonly queue: Virtqueue;
  readonly #words: Uint32Array;
  readonly #event: Uint32Array;
  readonly #length: number;
  readonly #count: number;
  /** The words of the first descriptor of each chain that used ones overwrite. */
  readonly #sizes: Uint32Array;
  readonly #bits: Uint32Array;
  #next = 0;
  #wrap = true;

  constructor(
    memory: DriverMemory,
    chain: readonly LaidOutBuffer[],
    count: number,
    options: LaidOutOptions,
  ) {
    super(memory, options);
    const { indirect, ringRegion } = options;
    const length = indirect ? 1 : chain.length;
    const size = length * count;
    this.#length = length;
    this.#count = count;
    const ring = memory.allocate(16 * size, 16, ringRegion);
    const driverArea = memory.allocate(4, 4, ringRegion);
    const [view, offset] = memory.view(ring);
    const [eventView, eventOffset] = memory.view(driverArea);
    this.#words = new Uint32Array(view.buffer, offset, 4 * size);
    this.#event = new Uint32Array(eventView.buffer, eventOffset, 1);
    for (let i = 0; i < count; i++) {
      if (!indirect) this.put(ring, length * i, chain, i, 0);
      else {
        const at = this.table(chain);
        this.putOne(ring, i, at, 16 * chain.length, VIRTQ_DESC_F_INDIRECT, i);
      }
    }
    const first = (i: number) => 4 * length * i;
    this.#sizes = Uint32Array.from({ length: count }, (_, i) => {
      return this.#words[first(i) + 2]!;
    });
    this.#bits = Uint32Array.from({ length: count }, (_, i) => {
      return this.#words[first(i) + 3]!;
    });
    this.queue = openVirtqueue({
      index: 0,
      size,
      descriptorArea: ring,
      driverArea,
      deviceArea: memory.allocate(4, 4, ringRegion),
      nextAvail: RING_START,
      packed: true,
      eventIndex: options.eventIndex,
      inOrder: options.inOrder ?? false,
      indirect,
      inflight: options.inflight ?? null,
      usedLog: options.usedLog ?? -1,
    }, options.guest ?? memory.guestMemory());
  }

  publish(count: number): void {
    const words = this.#words;
    const length = this.#length;
    let owner = this.#wrap ? VIRTQ_DESC_F_AVAIL << 16 : VIRTQ_DESC_F_USED << 16;
    let last = 0;
    for (let i = 0; i < count; i++) {
      const chain = this.#next;
      const word = 4 * length * chain;
      words[word + 2] = this.#sizes[chain]!;
      words[word + 3] = this.#bits[chain]! | owner;
      last = length * chain | (this.#wrap ? RING_WRAP : 0);
      if (++this.#next < this.#count) continue;
      this.#next = 0;
      this.#wrap = !this.#wrap;
      owner ^= (VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED) << 16;
    }
    this.#event[0] = RING_EVENT_FLAGS_DESC << 16 | last;
    // Not of the descriptors: V8 allocates a number of 2^31 or more.
    Atomics.load(this.#event, 0);
  }
}
