// Data plane: the driver side of a packed ring, laid out once and reused.
/**
 * @module
 */
import type { DriverMemory } from "../testing/driver_memory.ts";
import {
  DESCRIPTOR_SIZE,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from "../virtqueue/layout.ts";
import { acquire, release } from "../virtqueue/ordering.ts";
import {
  allocateAreas,
  type LoadRing,
  type LoadRingOptions,
  NONE,
  TEMPLATE_WORDS,
  Templates,
  UNKNOWN,
  wordsAt,
} from "./load_ring.ts";

/** Flags of a descriptor that the wrap counters turn, virtio 1.3 §2.8.1. */
const AVAIL_BIT = 7;
const USED_BIT = 15;
const AVAIL = 1 << AVAIL_BIT;
const USED = 1 << USED_BIT;
/** Event suppression, §2.8.10. */
const EVENT_ENABLE = 0;
const EVENT_DISABLE = 1;
const EVENT_DESC = 2;
/** Available and used index 0, each with its wrap counter at 1. */
const BASE = 0x8000_8000;
/** 32-bit and 16-bit words of a descriptor, and where its last ones are. */
const WORDS = 4;
const SHORTS = 8;
const ID_SHORT = 6;
const FLAGS_SHORT = 7;

/** The buffer id of a request is its slot. */
export class PackedLoadRing implements LoadRing {
  readonly size: number;
  readonly descriptorArea: number;
  readonly driverArea: number;
  readonly deviceArea: number;
  readonly base = BASE;
  written = 0;
  readonly #eventIndex: boolean;
  readonly #templates: Templates;
  readonly #table: Uint32Array<ArrayBuffer>;
  readonly #shorts: Uint16Array<ArrayBuffer>;
  readonly #driverEvent: Uint16Array<ArrayBuffer>;
  readonly #deviceEvent: Uint16Array<ArrayBuffer>;
  /** Guest addresses of the indirect tables, by slot and shape; or empty. */
  readonly #tables: Float64Array;
  /** Descriptors that each slot holds; 0 where it is not out. */
  readonly #held: Uint16Array;
  #next = 0;
  #nextWrap = 1;
  #usedAt = 0;
  #usedWrap = 1;
  /** Descriptors that are staged, and the first of them, shown last. */
  #staged = 0;
  #firstAt = 0;
  #firstFlags = 0;

  /** Lays a ring out in `memory`. */
  constructor(memory: DriverMemory, options: LoadRingOptions) {
    const { size, slots, eventIndex, indirect } = options;
    this.size = size;
    this.#eventIndex = eventIndex;
    this.#templates = new Templates(options);
    this.#held = new Uint16Array(slots.length);
    const tableSize = DESCRIPTOR_SIZE * size;
    const areas = options.areas ?? allocateAreas(memory, tableSize, 4, 4);
    this.descriptorArea = areas.descriptorArea;
    this.driverArea = areas.driverArea;
    this.deviceArea = areas.deviceArea;
    const [shorts, words] = wordsAt(memory, this.descriptorArea, tableSize);
    this.#shorts = shorts;
    this.#table = words;
    this.#driverEvent = wordsAt(memory, this.driverArea, 4)[0];
    this.#deviceEvent = wordsAt(memory, this.deviceArea, 4)[0];
    this.#tables = new Float64Array(
      indirect ? slots.length * this.#templates.shapeCount : 0,
    );
    if (indirect) this.#layOutTables(memory);
  }

  add(slot: number, shape: number): void {
    const { counts, shapeCount, stride, words } = this.#templates;
    const which = slot * shapeCount + shape;
    const count = counts[which]!;
    if (this.#tables.length > 0) {
      this.#held[slot] = 1;
      const address = this.#tables[which]!;
      const at = this.#next * WORDS;
      this.#table[at] = address;
      this.#table[at + 1] = Math.floor(address / 2 ** 32);
      this.#table[at + 2] = count * DESCRIPTOR_SIZE;
      this.#stage(slot, VIRTQ_DESC_F_INDIRECT);
      return;
    }
    this.#held[slot] = count;
    for (let k = 0; k < count; k++) {
      const from = (which * stride + k) * TEMPLATE_WORDS;
      const at = this.#next * WORDS;
      this.#table[at] = words[from]!;
      this.#table[at + 1] = words[from + 1]!;
      this.#table[at + 2] = words[from + 2]!;
      const writes = words[from + 3] === 1 ? VIRTQ_DESC_F_WRITE : 0;
      this.#stage(slot, writes | (k < count - 1 ? VIRTQ_DESC_F_NEXT : 0));
    }
  }

  publish(): boolean {
    const count = this.#staged;
    if (count === 0) return false;
    this.#staged = 0;
    const at = this.#firstAt * SHORTS + FLAGS_SHORT;
    release(this.#shorts, at, this.#firstFlags);
    const mode = acquire(this.#deviceEvent, 1) & 3;
    if (mode !== EVENT_DESC) return mode === EVENT_ENABLE;
    const place = this.#deviceEvent[0]!;
    let event = place & 0x7fff;
    if (place >> 15 !== this.#nextWrap) event -= this.size;
    return ((this.#next - event - 1) & 0xffff) < count;
  }

  look(): boolean {
    const flags = acquire(this.#shorts, this.#usedAt * SHORTS + FLAGS_SHORT);
    const wrap = this.#usedWrap;
    return ((flags >> AVAIL_BIT) & 1) === wrap &&
      ((flags >> USED_BIT) & 1) === wrap;
  }

  take(): number {
    if (!this.look()) return NONE;
    const at = this.#usedAt;
    const slot = this.#shorts[at * SHORTS + ID_SHORT]!;
    this.written = this.#table[at * WORDS + 2]!;
    const held = this.#held[slot] ?? 0;
    if (held === 0) return UNKNOWN;
    this.#held[slot] = 0;
    this.#usedAt = at + held;
    if (this.#usedAt >= this.size) {
      this.#usedAt -= this.size;
      this.#usedWrap ^= 1;
    }
    return slot;
  }

  arm(): boolean {
    if (this.#eventIndex) {
      this.#driverEvent[0] = this.#usedAt | (this.#usedWrap << 15);
      release(this.#driverEvent, 1, EVENT_DESC);
    } else release(this.#driverEvent, 1, EVENT_ENABLE);
    return this.look();
  }

  disarm(): void {
    release(this.#driverEvent, 1, EVENT_DISABLE);
  }

  /** Stages the descriptor at `#next`, which has its address and size. */
  #stage(slot: number, kind: number): void {
    const at = this.#next;
    const flags = kind | (this.#nextWrap === 1 ? AVAIL : USED);
    this.#shorts[at * SHORTS + ID_SHORT] = slot;
    if (this.#staged++ === 0) {
      this.#firstAt = at;
      this.#firstFlags = flags;
    } else this.#shorts[at * SHORTS + FLAGS_SHORT] = flags;
    this.#next = at + 1;
    if (this.#next < this.size) return;
    this.#next = 0;
    this.#nextWrap ^= 1;
  }

  #layOutTables(memory: DriverMemory): void {
    const { counts, stride, words } = this.#templates;
    for (let which = 0; which < counts.length; which++) {
      const count = counts[which]!;
      const size = count * DESCRIPTOR_SIZE;
      const address = memory.allocate(size, DESCRIPTOR_SIZE);
      this.#tables[which] = address;
      const table = wordsAt(memory, address, size)[1];
      for (let k = 0; k < count; k++) {
        const from = (which * stride + k) * TEMPLATE_WORDS;
        table[k * WORDS] = words[from]!;
        table[k * WORDS + 1] = words[from + 1]!;
        table[k * WORDS + 2] = words[from + 2]!;
        const flags = words[from + 3] === 1 ? VIRTQ_DESC_F_WRITE : 0;
        table[k * WORDS + 3] = flags << 16;
      }
    }
  }
}
