/**
 * Requests that are sound until somebody rewrites them: each a table of
 * descriptors of its own, to which a descriptor of the ring leads.
 *
 * @module
 */
import {
  asSplit,
  type DriverMemory,
  type Prng,
  type RawDescriptor,
  type RingDriver,
} from "../../../src/testing/mod.ts";
import { asPacked } from "../../../src/testing/packed_driver.ts";
import {
  VIRTQ_DESC_F_AVAIL as AVAIL,
  VIRTQ_DESC_F_INDIRECT as INDIRECT,
  VIRTQ_DESC_F_NEXT as NEXT,
  VIRTQ_DESC_F_USED as USED,
  VIRTQ_DESC_F_WRITE as WRITE,
  type Virtqueue,
} from "../../../src/virtqueue/mod.ts";

/** Descriptors of each table. */
const ENTRIES = 4;
/** Bytes of each buffer. */
const BUFFER = 1024;
/** Bytes at the start of a buffer that mean something: headers. */
const HEADER = 16;

/** What the device of a ring is to be asked. */
export type Content = (prng: Prng) => readonly {
  readonly bytes?: Uint8Array;
  readonly room?: number;
}[];

/** The requests of one ring. */
export class RacedRequests {
  readonly #memory: DriverMemory;
  readonly #ring: RingDriver;
  readonly #packed: boolean;
  readonly #content: Content;
  readonly #tables: number;
  readonly #buffers: number;

  /** Over `ring`, with tables and buffers in the first region of `memory`. */
  constructor(
    memory: DriverMemory,
    ring: RingDriver,
    packed: boolean,
    content: Content,
  ) {
    const { size } = ring;
    this.#memory = memory;
    this.#ring = ring;
    this.#packed = packed;
    this.#content = content;
    this.#tables = memory.allocate(16 * ENTRIES * size, 16, 0);
    this.#buffers = memory.allocate(BUFFER * ENTRIES * size, 16, 0);
    for (let head = 0; head < size; head++) this.#layDescriptor(head, head, 0);
  }

  /** Where there are descriptors. */
  get tables(): [address: number, entries: number][] {
    const { descriptorArea, size } = this.#ring;
    // Half of the ring is left alone: it leads to the tables for sure.
    const own: [number, number] = [descriptorArea, Math.ceil(size / 2)];
    return [own, [this.#tables, ENTRIES * size]];
  }

  /** Where else it may be written: entries of the rings, headers. */
  get ranges(): [address: number, size: number][] {
    const { driverArea, deviceArea, size } = this.#ring;
    const headers = Array.from(
      { length: ENTRIES * size },
      (_, i): [number, number] => [this.#buffers + BUFFER * i, HEADER],
    );
    if (this.#packed) return [[driverArea, 4], [deviceArea, 4], ...headers];
    return [
      [driverArea + 4, 2 * size],
      [deviceArea, 8 * size + 4],
      ...headers,
    ];
  }

  /** Makes some requests sound again, and shows some to the device of `queue`. */
  publish(prng: Prng, queue: Virtqueue): void {
    const { size } = this.#ring;
    for (let i = 0; i < 4; i++) this.#lay(prng.below(size), prng);
    const count = 1 + prng.below(size);
    if (this.#packed) return this.#publishPacked(prng, queue, count);
    const ring = asSplit(this.#ring);
    for (let i = 0; i < count; i++) ring.rawAvailable(prng.below(size));
    ring.publish();
  }

  #publishPacked(prng: Prng, queue: Virtqueue, count: number): void {
    const { size } = this.#ring;
    let at = queue.nextAvail & 0x7fff;
    let wrap = (queue.nextAvail & 0x8000) !== 0;
    for (let i = 0; i < count; i++) {
      this.#layDescriptor(at, prng.below(size), wrap ? AVAIL : USED);
      at++;
      if (at < size) continue;
      at = 0;
      wrap = !wrap;
    }
  }

  /** Makes descriptor `at` of the ring lead to the table of `head`. */
  #layDescriptor(at: number, head: number, owner: number): void {
    this.#write(at, {
      address: this.#tables + 16 * ENTRIES * head,
      size: 16 * ENTRIES,
      flags: INDIRECT | owner,
      next: this.#packed ? head : 0,
    });
  }

  /** Lays request `head` out. */
  #lay(head: number, prng: Prng): void {
    const table = this.#tables + 16 * ENTRIES * head;
    const parts = this.#content(prng);
    for (let i = 0; i < ENTRIES; i++) {
      // A table is as long as it says: what is left of it is empty.
      const part = parts[i] ?? { room: 0 };
      const address = this.#buffers + BUFFER * (ENTRIES * head + i);
      if (part.bytes) this.#memory.write(address, part.bytes);
      const next = !this.#packed && i < ENTRIES - 1 ? NEXT : 0;
      this.#write(i, {
        address,
        size: part.bytes?.length ?? part.room ?? 0,
        flags: (part.bytes ? 0 : WRITE) | next,
        next: this.#packed ? 0 : i + 1,
      }, table);
    }
  }

  #write(at: number, raw: RawDescriptor, table?: number): void {
    const place = table === undefined ? [] : [table] as const;
    if (this.#packed) asPacked(this.#ring).rawDescriptor(at, raw, ...place);
    else asSplit(this.#ring).rawDescriptor(at, raw, ...place);
  }
}
