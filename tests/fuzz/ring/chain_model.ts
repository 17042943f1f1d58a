/**
 * A chain as the specification has it, written to be read and not to be fast:
 * what the rings hand out is compared with it.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { DriverMemory } from "../../../src/testing/mod.ts";
import type { Chain } from "../../../src/virtqueue/mod.ts";

/** The 16 bytes of a descriptor, as they were read. */
export interface Descriptor {
  /** Any 64 bits, exact below 2^53 and otherwise where no memory is. */
  readonly address: number;
  readonly size: number;
  readonly flags: number;
  /** Of a split ring the next one, of a packed ring the buffer id. */
  readonly next: number;
}

/** A piece of a buffer that lies in one region. */
export interface Piece {
  readonly address: number;
  readonly size: number;
}

/** Where the guest has memory. */
export interface Range {
  readonly guestAddress: number;
  readonly size: number;
}

/** Reads the descriptor at `address`, which is in memory. */
export function readDescriptor(
  memory: DriverMemory,
  address: number,
): Descriptor {
  const bytes = memory.read(address, 16);
  const view = new DataView(bytes.buffer);
  return {
    address: view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true),
    size: view.getUint32(8, true),
    flags: view.getUint16(12, true),
    next: view.getUint16(14, true),
  };
}

/** Gathers the buffers of one chain, and finds what is wrong with them. */
export class ChainModel {
  readonly readable: Piece[] = [];
  readonly writable: Piece[] = [];
  /** Descriptors gathered, empty ones included. */
  count = 0;
  readonly #ranges: readonly Range[];
  #writes = false;
  #bytes = 0;

  /** An empty chain in memory that has `ranges`. */
  constructor(ranges: readonly Range[]) {
    this.#ranges = ranges;
  }

  /** One buffer more; false where it makes the chain malformed. */
  add({ address, size }: Descriptor, write: boolean): boolean {
    this.count++;
    // virtio 1.3 §2.7.4.2: readable ones first.
    if (this.#writes && !write) return false;
    this.#writes = write;
    const pieces = write ? this.writable : this.readable;
    this.#bytes += size;
    for (let at = address, rest = size; rest > 0;) {
      const range = this.#ranges.find(({ guestAddress, size }) =>
        at >= guestAddress && at < guestAddress + size
      );
      // Not at once: what comes behind may be malformed as well.
      if (range === undefined) {
        this.#bytes = Infinity;
        return true;
      }
      const piece = Math.min(rest, range.guestAddress + range.size - at);
      pieces.push({ address: at, size: piece });
      at += piece;
      rest -= piece;
    }
    return true;
  }

  /** Whether all of it is in memory, no more than 2^32 bytes in `max` pieces. */
  isWhole(max = Infinity): boolean {
    const pieces = this.readable.length + this.writable.length;
    return this.#bytes <= 2 ** 32 && pieces <= max;
  }

  /** The ring handed out exactly this. */
  compare(chain: Chain): void {
    const pieces: Piece[] = [];
    for (let i = 0; i < chain.segmentCount; i++) {
      const { guestAddress } = chain.memory.regions[chain.regions[i]!]!;
      const address = guestAddress + chain.offsets[i]!;
      pieces.push({ address, size: chain.sizes[i]! });
    }
    assertEquals(chain.readableCount, this.readable.length);
    assertEquals(pieces.length, this.readable.length + this.writable.length);
    same(pieces.slice(0, chain.readableCount), this.readable);
    same(pieces.slice(chain.readableCount), this.writable);
    assertEquals(chain.reader.size, sizeOf(this.readable));
    assertEquals(chain.writer.size, sizeOf(this.writable));
  }
}

/** The guest address of the first `count` bytes of `pieces`, one by one. */
export function addressesOf(
  pieces: readonly Piece[],
  count: number,
): number[] {
  const addresses: number[] = [];
  for (const { address, size } of pieces) {
    for (let i = 0; i < size; i++) {
      if (addresses.length === count) return addresses;
      addresses.push(address + i);
    }
  }
  return addresses;
}

function same(pieces: readonly Piece[], wanted: readonly Piece[]): void {
  for (const [i, { address, size }] of pieces.entries()) {
    // assertEquals walks objects, which is slow.
    if (address === wanted[i]!.address && size === wanted[i]!.size) continue;
    assertEquals(pieces, wanted);
  }
}

function sizeOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, { size }) => sum + size, 0);
}
