/**
 * What a hostile driver writes into the memory of its ring: garbage that is
 * right more often than not, as what is all wrong is seen through at once.
 *
 * @module
 */
import type {
  DriverMemory,
  Prng,
  RawDescriptor,
} from "../../../src/testing/mod.ts";
import {
  VIRTQ_DESC_F_INDIRECT as INDIRECT,
  VIRTQ_DESC_F_NEXT as NEXT,
  VIRTQ_DESC_F_WRITE as WRITE,
} from "../../../src/virtqueue/mod.ts";

/** Of the guest: neighbours, a hole, one beyond 4 GiB, a tiny one. */
export const REGIONS = [
  { guestAddress: 0x10000, size: 0x4000 },
  { guestAddress: 0x14000, size: 0x1000 },
  { guestAddress: 0x15000, size: 0x10 },
  { guestAddress: 0x40000, size: 0x4000 },
  { guestAddress: 0x3_0000_0000, size: 0x1000 },
] as const;

/** Entries of the indirect table that garbage points to. */
export const TABLE_ENTRIES = 64;

/** Any address in memory that has `room` bytes behind it. */
export function anyAddress(prng: Prng, room = 1): number {
  const region = prng.pick(REGIONS);
  return region.guestAddress + prng.below(region.size - room + 1);
}

/** Overwrites a few of the `size` bytes at `address`. */
export function scribble(
  memory: DriverMemory,
  prng: Prng,
  address: number,
  size: number,
): void {
  const bytes = prng.fill(new Uint8Array(1 + prng.below(4)));
  const at = prng.below(Math.max(1, size - bytes.length + 1));
  memory.write(address + at, bytes.subarray(0, size));
}

/** A descriptor among `entries` ones; `table` is where an indirect one is. */
export function anyDescriptor(
  prng: Prng,
  entries: number,
  table: number,
): RawDescriptor {
  let address = BigInt(anyAddress(prng));
  let size = prng.below(64);
  let flags = prng.pick([0, WRITE, NEXT, NEXT, NEXT | WRITE, NEXT | WRITE]);
  let next = prng.below(entries);
  if (prng.oneIn(6)) {
    address = BigInt(table) + BigInt(prng.oneIn(3) ? 16 : 0);
    size = 16 * prng.below(TABLE_ENTRIES + 2);
    flags = INDIRECT;
  }
  if (prng.oneIn(20)) size = prng.oneIn(2) ? prng.next() : 0;
  if (prng.oneIn(20)) flags = prng.next() & 0xffff;
  if (prng.oneIn(20)) next = prng.next() & 0xffff;
  if (prng.oneIn(20)) {
    const bits = prng.pick([64, 63, 53, 52, 33, 32, 31, 16]);
    address = (1n << BigInt(bits)) - BigInt(1 + prng.below(32));
  }
  return { address, size, flags, next };
}

/** The descriptors of a sound chain: the readable ones first. */
export function soundChain(prng: Prng, count: number): RawDescriptor[] {
  const readable = prng.below(count + 1);
  return Array.from({ length: count }, (_, i) => {
    const size = prng.below(9);
    return {
      address: anyAddress(prng, size),
      size,
      flags: i < readable ? 0 : WRITE,
      next: 0,
    };
  });
}
