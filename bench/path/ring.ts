/**
 * The driver side of a split ring for block reads and writes, laid out once and
 * reused: as lean as can be, so that what is measured is the back-end.
 *
 * @module
 */
import type { DriverMemory } from "../../src/testing/driver_memory.ts";

const DESC_NEXT = 1;
const DESC_WRITE = 2;

/** Where the ring lies, guest addresses. */
export interface RingPlace {
  readonly descriptorArea: number;
  readonly driverArea: number;
  readonly deviceArea: number;
}

/** One ring with `depth` request slots of `blockSize` bytes. */
export class BenchRing {
  readonly place: RingPlace;
  readonly #size: number;
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedElements: Uint32Array;
  readonly #headers: DataView[] = [];
  readonly #eventIndex: boolean;
  #availIndex = 0;
  #published = 0;
  #usedIndex = 0;

  /** Lays out the ring and its slots in `memory`. */
  constructor(
    memory: DriverMemory,
    size: number,
    depth: number,
    blockSize: number,
    eventIndex: boolean,
  ) {
    this.#size = size;
    this.#eventIndex = eventIndex;
    const table = memory.allocate(16 * size, 4096);
    const avail = memory.allocate(6 + 2 * size, 4096);
    const used = memory.allocate(6 + 8 * size, 4096);
    this.place = {
      descriptorArea: table,
      driverArea: avail,
      deviceArea: used,
    };
    this.#avail = shorts(memory, avail, 3 + size);
    this.#used = shorts(memory, used, 3 + 4 * size);
    const [view, offset] = memory.view(used);
    this.#usedElements = new Uint32Array(
      view.buffer as ArrayBuffer,
      view.byteOffset + offset + 4,
      2 * size,
    );
    for (let slot = 0; slot < depth; slot++) {
      this.#layOut(memory, table, slot, blockSize);
    }
  }

  /** Makes slot `slot` a request of `type` at `sector`, not yet visible. */
  add(slot: number, type: number, sector: number): void {
    const header = this.#headers[slot]!;
    header.setUint32(0, type, true);
    header.setUint32(8, sector, true);
    this.#avail[2 + this.#availIndex % this.#size] = 3 * slot;
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
  }

  /** Publishes what was added; true when the device wants a kick. */
  publish(): boolean {
    const old = this.#published;
    const now = this.#availIndex;
    if (old === now) return false;
    Atomics.store(this.#avail, 1, now);
    this.#published = now;
    if (!this.#eventIndex) return (Atomics.load(this.#used, 0) & 1) === 0;
    const event = Atomics.load(this.#used, 2 + 4 * this.#size);
    return ((now - event - 1) & 0xffff) < ((now - old) & 0xffff);
  }

  /** Whether there is a used entry. */
  hasUsed(): boolean {
    return Atomics.load(this.#used, 1) !== this.#usedIndex;
  }

  /** The slot of the next used entry, or -1. */
  take(): number {
    if (Atomics.load(this.#used, 1) === this.#usedIndex) return -1;
    const element = 2 * (this.#usedIndex % this.#size);
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
    return this.#usedElements[element]! / 3;
  }

  /** Asks for a call at the next used entry; true when there is one already. */
  arm(): boolean {
    if (this.#eventIndex) {
      Atomics.store(this.#avail, 2 + this.#size, this.#usedIndex);
    } else Atomics.store(this.#avail, 0, 0);
    return Atomics.load(this.#used, 1) !== this.#usedIndex;
  }

  /** Asks for no calls: the driver polls. */
  disarm(): void {
    if (this.#eventIndex) {
      const far = (this.#usedIndex - 1) & 0xffff;
      Atomics.store(this.#avail, 2 + this.#size, far);
    } else Atomics.store(this.#avail, 0, 1);
  }

  #layOut(
    memory: DriverMemory,
    table: number,
    slot: number,
    blockSize: number,
  ): void {
    const header = memory.allocate(16, 16);
    const data = memory.allocate(blockSize, 4096);
    const status = memory.allocate(1, 1);
    const [view, offset] = memory.view(header);
    this.#headers.push(
      new DataView(view.buffer, view.byteOffset + offset, 16),
    );
    const [descriptors, at] = memory.view(table);
    const write = (i: number, address: number, size: number, flags: number) => {
      const base = at + 16 * (3 * slot + i);
      descriptors.setBigUint64(base, BigInt(address), true);
      descriptors.setUint32(base + 8, size, true);
      descriptors.setUint16(base + 12, flags, true);
      descriptors.setUint16(base + 14, 3 * slot + i + 1, true);
    };
    write(0, header, 16, DESC_NEXT);
    write(1, data, blockSize, DESC_NEXT | DESC_WRITE);
    write(2, status, 1, DESC_WRITE);
  }
}

function shorts(
  memory: DriverMemory,
  address: number,
  count: number,
): Uint16Array {
  const [view, offset] = memory.view(address);
  return new Uint16Array(
    view.buffer as ArrayBuffer,
    view.byteOffset + offset,
    count,
  );
}
