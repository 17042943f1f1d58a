/**
 * Cutting the bytes of a request into descriptors.
 *
 * @module
 */
import type { DriverMemory } from "../testing/driver_memory.ts";
import type { Prng } from "../testing/prng.ts";
import type { DriverSegment } from "../testing/ring_driver.ts";

/**
 * How a part of a request is cut into descriptors: `size` bytes, where `usual`
 * is how a driver does it. The sizes of the pieces, none of them 0.
 */
export type Shape = (size: number, usual: readonly number[]) => number[];

/** How a request is laid out. */
export interface Layout {
  /** Of the bytes that the device reads; as usual by default. */
  readonly readable?: Shape;
  /** Of the bytes that the device writes; as usual by default. */
  readonly writable?: Shape;
  /** Where those that the device writes are; anywhere by default. */
  readonly writableAt?: number;
  /** Where those that the device reads are; anywhere by default. */
  readonly readableAt?: number;
  /** The region for both; any by default. */
  readonly region?: number;
}

/** Nothing that the device is to write is so from the start. */
export const UNTOUCHED = 0xa5;

/** As a driver does it. */
export const usual: Shape = (_, sizes) => [...sizes];

/** All in one descriptor. */
export const whole: Shape = (size) => [size];

/** A byte a descriptor, for the first `count`, and the rest in one. */
export function bytewise(count: number): Shape {
  return (size) => {
    const single = Math.min(size, count);
    const sizes = new Array<number>(single).fill(1);
    return single < size ? [...sizes, size - single] : sizes;
  };
}

/** Up to `count` pieces of random sizes. */
export function shattered(prng: Prng, count: number): Shape {
  return (size) => {
    const places = new Set<number>([size]);
    for (let i = 1; i < count; i++) places.add(1 + prng.below(size));
    const sorted = [...places].sort((a, b) => a - b);
    return sorted.map((place, i) => place - (sorted[i - 1] ?? 0));
  };
}

/** The parts of a request that lie at `address`, in pieces of `sizes`. */
export function cut(
  address: number,
  sizes: readonly number[],
  writable: boolean,
): DriverSegment[] {
  let at = address;
  return sizes.map((size) => {
    const segment = { address: at, size, writable };
    at += size;
    return segment;
  });
}

/** `bytes` in memory of their own: where. */
export function place(
  memory: DriverMemory,
  bytes: Uint8Array,
  at?: number,
  region?: number,
): number {
  const address = at ??
    memory.allocate(bytes.length, bytes.length < 512 ? 16 : 512, region);
  memory.write(address, bytes);
  return address;
}

/** So many bytes that were not written yet. */
export function untouched(size: number): Uint8Array {
  return new Uint8Array(size).fill(UNTOUCHED);
}
