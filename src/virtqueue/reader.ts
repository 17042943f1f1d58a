// Data plane: the device-readable bytes of a chain.
/**
 * @module
 */
import { Cursor } from "./cursor.ts";

const TWO_32 = 0x1_0000_0000;
/** From here on a high word makes a number that is not exact. */
const HIGH_LIMIT = 0x20_0000;

/**
 * Reads the device-readable part of a chain, wherever the driver put the
 * borders of its buffers. Integers are little-endian; where fewer bytes remain
 * than one has, reading it gives -1 and the reader stays.
 *
 * @example Fields, wherever the driver split them
 * ```ts
 * import { FakeDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * using fake = FakeDriver.over(() => ({
 *   drain(queue) {
 *     while (queue.pop()) {
 *       const { reader } = queue.chain;
 *       assertEquals([reader.readU8(), reader.readU32()], [1, 0x05040302]);
 *       assertEquals([reader.readU16(), reader.remaining], [-1, 1]);
 *       queue.push(queue.chain.head, 0);
 *     }
 *   },
 * }));
 * const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6);
 * await fake.request([{ bytes }], { readable: [2, 1, 2] });
 * ```
 */
export class Reader extends Cursor {
  /** 8 bits, or -1. */
  readU8(): number {
    return this.remaining < 1 ? -1 : this.takeByte();
  }

  /** 16 bits, or -1. */
  readU16(): number {
    const used = this.used;
    if (used + 2 > this.segmentSize) return this.#gather(2);
    const { regions, offsets, memory } = this.segments;
    const segment = this.segment;
    const view = memory.views[regions[segment]!]!;
    this.used = used + 2;
    this.remaining -= 2;
    return view.getUint16(offsets[segment]! + used, true);
  }

  /** 32 bits, or -1. */
  readU32(): number {
    const used = this.used;
    if (used + 4 > this.segmentSize) return this.#gather(4);
    const { regions, offsets, memory } = this.segments;
    const segment = this.segment;
    const view = memory.views[regions[segment]!]!;
    this.used = used + 4;
    this.remaining -= 4;
    return view.getUint32(offsets[segment]! + used, true);
  }

  /** 64 bits, Infinity where that is 2^53 or more, or -1. */
  readU64(): number {
    if (this.remaining < 8) return -1;
    const low = this.readU32();
    const high = this.readU32();
    return high < HIGH_LIMIT ? low + high * TWO_32 : Infinity;
  }

  /**
   * Reads into `target` as much as fits and remains; how many bytes. 128 or
   * more make views of both sides: for payload take iovecs.
   */
  readBytes(target: Uint8Array): number {
    const size = Math.min(target.length, this.remaining);
    if (this.isShort(size)) {
      for (let i = 0; i < size; i++) target[i] = this.takeByte();
    } else this.copy(target, size, false);
    return size;
  }

  /** `size` bytes up to 4, one by one over the borders, or -1. */
  #gather(size: number): number {
    if (this.remaining < size) return -1;
    let value = 0;
    let weight = 1;
    for (let i = 0; i < size; i++) {
      value += this.takeByte() * weight;
      weight *= 256;
    }
    return value;
  }
}
