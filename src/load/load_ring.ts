// Data plane: the driver side of a ring that costs next to nothing.
/**
 * @module
 */
import type { DriverMemory } from "../testing/driver_memory.ts";

/** A buffer of a request. */
export interface LoadSegment {
  /** Its guest address. */
  readonly address: number;
  /** In bytes. */
  readonly size: number;
  /** The device writes it (otherwise it reads it). */
  readonly writable: boolean;
}

/** Where the three areas of a ring are, guest addresses. */
export interface LoadRingAreas {
  /** The descriptor area. */
  readonly descriptorArea: number;
  /** The driver area. */
  readonly driverArea: number;
  /** The device area. */
  readonly deviceArea: number;
}

/** How a ring is laid out. */
export interface LoadRingOptions {
  /** Entries. */
  readonly size: number;
  /** By slot, by shape: the buffers of the request. */
  readonly slots: readonly (readonly (readonly LoadSegment[])[])[];
  /** EVENT_IDX was negotiated. */
  readonly eventIndex: boolean;
  /** Each request in an indirect table. */
  readonly indirect: boolean;
  /** Those of a ring that was laid out and not used yet; else there are new ones. */
  readonly areas?: LoadRingAreas;
}

/** `take` when there is nothing. */
export const NONE = -1;
/** `take` when the device gave back what it did not have. */
export const UNKNOWN = -2;

/**
 * A ring whose requests were laid out once. A _slot_ is a request that can be
 * out once at a time, in one of a few _shapes_, each a list of buffers.
 */
export interface LoadRing extends LoadRingAreas {
  /** Entries. */
  readonly size: number;
  /** What SET_VRING_BASE says of the ring as it starts. */
  readonly base: number;
  /** Bytes that the device says it wrote for what `take` gave. */
  written: number;

  /** Stages slot `slot`, which is not out, in shape `shape`. */
  add(slot: number, shape: number): void;

  /** Shows what is staged to the device; true when that wants a kick. */
  publish(): boolean;

  /** Looks whether the device gave back anything. */
  look(): boolean;

  /** The next slot of those that the last `look` saw, NONE or UNKNOWN. */
  take(): number;

  /** Asks for a call at the next one; true when there is one already. */
  arm(): boolean;

  /** Asks for no calls. */
  disarm(): void;
}

const PAGE = 4096;

/** Words that a descriptor takes in a template. */
export const TEMPLATE_WORDS = 4;

/** The descriptors of every slot in every shape, ready to be copied. */
export class Templates {
  /** Shapes of a slot. */
  readonly shapeCount: number;
  /** The most buffers of any. */
  readonly stride: number;
  /** Buffers, by slot and shape. */
  readonly counts: Uint16Array;
  /** Address (low, high), size, and 1 where the device writes. */
  readonly words: Uint32Array;

  /** Of the slots of `options`. */
  constructor(options: LoadRingOptions) {
    const { slots } = options;
    const shapeCount = slots[0]?.length ?? 0;
    const all = slots.flat();
    const stride = all.reduce((most, { length }) => Math.max(most, length), 1);
    this.shapeCount = shapeCount;
    this.stride = stride;
    this.counts = Uint16Array.from(all, ({ length }) => length);
    this.words = new Uint32Array(all.length * stride * TEMPLATE_WORDS);
    for (const [i, segments] of all.entries()) {
      for (const [k, { address, size, writable }] of segments.entries()) {
        const at = (i * stride + k) * TEMPLATE_WORDS;
        this.words[at] = address;
        this.words[at + 1] = Math.floor(address / 2 ** 32);
        this.words[at + 2] = size;
        this.words[at + 3] = writable ? 1 : 0;
      }
    }
  }
}

/** Allocates the areas of a ring, of so many bytes each. */
export function allocateAreas(
  memory: DriverMemory,
  table: number,
  driver: number,
  device: number,
): LoadRingAreas {
  return {
    descriptorArea: memory.allocate(table, PAGE),
    driverArea: memory.allocate(driver, PAGE),
    deviceArea: memory.allocate(device, PAGE),
  };
}

/** Typed views of `size` bytes of guest memory. */
export function wordsAt(
  memory: DriverMemory,
  address: number,
  size: number,
): [Uint16Array<ArrayBuffer>, Uint32Array<ArrayBuffer>] {
  const [view, offset] = memory.view(address);
  const at = view.byteOffset + offset;
  return [
    new Uint16Array(view.buffer, at, size >> 1),
    new Uint32Array(view.buffer, at, size >> 2),
  ];
}
