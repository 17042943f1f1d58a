// Data plane: the driver side of a split ring, laid out once and reused.
/**
 * @module
 */
import type { DriverMemory } from "../testing/driver_memory.ts";
import {
  AVAIL_RING,
  DESCRIPTOR_SIZE,
  RING_FLAGS,
  RING_INDEX,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
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

const NOT_SHAPED = 0xff;
const DESCRIPTOR_WORDS = DESCRIPTOR_SIZE / 4;

/** Each slot owns as many descriptors as its largest shape has, side by side. */
export class SplitLoadRing implements LoadRing {
  readonly size: number;
  readonly descriptorArea: number;
  readonly driverArea: number;
  readonly deviceArea: number;
  readonly base = 0;
  written = 0;
  readonly #eventIndex: boolean;
  readonly #mask: number;
  readonly #templates: Templates;
  /** Descriptors that a slot owns. */
  readonly #stride: number;
  readonly #avail: Uint16Array<ArrayBuffer>;
  readonly #used: Uint16Array<ArrayBuffer>;
  readonly #usedElements: Uint32Array<ArrayBuffer>;
  readonly #table: Uint32Array<ArrayBuffer>;
  /** Guest addresses of the indirect tables, by slot and shape; or empty. */
  readonly #tables: Float64Array;
  /** The shape that each slot has in the table. */
  readonly #shapes: Uint8Array;
  readonly #isOut: Uint8Array;
  #availIndex = 0;
  #published = 0;
  #usedIndex = 0;
  /** The used index as the last look saw it. */
  #seen = 0;

  /** Lays a ring out in `memory`. */
  constructor(memory: DriverMemory, options: LoadRingOptions) {
    const { size, slots, eventIndex, indirect } = options;
    this.size = size;
    this.#mask = size - 1;
    this.#eventIndex = eventIndex;
    this.#templates = new Templates(options);
    this.#stride = indirect ? 1 : this.#templates.stride;
    this.#shapes = new Uint8Array(slots.length).fill(NOT_SHAPED);
    this.#isOut = new Uint8Array(slots.length);
    const tableSize = DESCRIPTOR_SIZE * size;
    const availSize = 6 + 2 * size;
    const usedSize = 6 + 8 * size;
    const areas = options.areas ??
      allocateAreas(memory, tableSize, availSize, usedSize);
    this.descriptorArea = areas.descriptorArea;
    this.driverArea = areas.driverArea;
    this.deviceArea = areas.deviceArea;
    this.#table = wordsAt(memory, this.descriptorArea, tableSize)[1];
    this.#avail = wordsAt(memory, this.driverArea, availSize)[0];
    this.#used = wordsAt(memory, this.deviceArea, usedSize)[0];
    this.#usedElements = wordsAt(memory, this.deviceArea + 4, 8 * size)[1];
    this.#tables = new Float64Array(
      indirect ? slots.length * this.#templates.shapeCount : 0,
    );
    if (indirect) this.#layOutTables(memory);
  }

  add(slot: number, shape: number): void {
    if (this.#shapes[slot] !== shape) this.#reshape(slot, shape);
    this.#isOut[slot] = 1;
    const at = AVAIL_RING + (this.#availIndex & this.#mask);
    this.#avail[at] = slot * this.#stride;
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
  }

  publish(): boolean {
    const old = this.#published;
    const now = this.#availIndex;
    if (old === now) return false;
    release(this.#avail, RING_INDEX, now);
    this.#published = now;
    if (!this.#eventIndex) {
      return (acquire(this.#used, RING_FLAGS) & VIRTQ_USED_F_NO_NOTIFY) === 0;
    }
    const event = acquire(this.#used, 2 + 4 * this.size);
    return ((now - event - 1) & 0xffff) < ((now - old) & 0xffff);
  }

  look(): boolean {
    this.#seen = acquire(this.#used, RING_INDEX);
    return this.#seen !== this.#usedIndex;
  }

  take(): number {
    if (this.#seen === this.#usedIndex) return NONE;
    const element = 2 * (this.#usedIndex & this.#mask);
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
    const head = this.#usedElements[element]!;
    this.written = this.#usedElements[element + 1]!;
    const slot = head / this.#stride;
    if (this.#isOut[slot] !== 1) return UNKNOWN;
    this.#isOut[slot] = 0;
    return slot;
  }

  arm(): boolean {
    if (this.#eventIndex) {
      release(this.#avail, AVAIL_RING + this.size, this.#usedIndex);
    } else release(this.#avail, RING_FLAGS, 0);
    return this.look();
  }

  disarm(): void {
    if (this.#eventIndex) {
      // The furthest there is: just behind.
      const far = (this.#usedIndex - 1) & 0xffff;
      release(this.#avail, AVAIL_RING + this.size, far);
    } else release(this.#avail, RING_FLAGS, VIRTQ_AVAIL_F_NO_INTERRUPT);
  }

  /** Writes the descriptors of `slot` anew. */
  #reshape(slot: number, shape: number): void {
    this.#shapes[slot] = shape;
    const { counts, shapeCount, stride, words } = this.#templates;
    const which = slot * shapeCount + shape;
    const count = counts[which]!;
    if (this.#tables.length > 0) {
      const address = this.#tables[which]!;
      const at = slot * DESCRIPTOR_WORDS;
      this.#table[at] = address;
      this.#table[at + 1] = Math.floor(address / 2 ** 32);
      this.#table[at + 2] = count * DESCRIPTOR_SIZE;
      this.#table[at + 3] = VIRTQ_DESC_F_INDIRECT;
      return;
    }
    const first = slot * this.#stride;
    const from = which * stride * TEMPLATE_WORDS;
    writeChain(this.#table, first, words, from, count);
  }

  #layOutTables(memory: DriverMemory): void {
    const { counts, stride, words } = this.#templates;
    for (let which = 0; which < counts.length; which++) {
      const count = counts[which]!;
      const size = count * DESCRIPTOR_SIZE;
      const address = memory.allocate(size, DESCRIPTOR_SIZE);
      this.#tables[which] = address;
      const table = wordsAt(memory, address, size)[1];
      writeChain(table, 0, words, which * stride * TEMPLATE_WORDS, count);
    }
  }
}

/** Writes `count` descriptors, linked, from index `first` of `table` on. */
function writeChain(
  table: Uint32Array,
  first: number,
  words: Uint32Array,
  from: number,
  count: number,
): void {
  for (let k = 0; k < count; k++) {
    const at = (first + k) * DESCRIPTOR_WORDS;
    const source = from + k * TEMPLATE_WORDS;
    const isLast = k === count - 1;
    const flags = (words[source + 3] === 1 ? VIRTQ_DESC_F_WRITE : 0) |
      (isLast ? 0 : VIRTQ_DESC_F_NEXT);
    const next = isLast ? 0 : first + k + 1;
    table[at] = words[source]!;
    table[at + 1] = words[source + 1]!;
    table[at + 2] = words[source + 2]!;
    table[at + 3] = flags | (next << 16);
  }
}
