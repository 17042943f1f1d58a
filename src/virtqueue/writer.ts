// Data plane: the device-writable bytes of a chain.
/**
 * @module
 */
import { Cursor } from "./cursor.ts";

const TWO_32 = 0x1_0000_0000;

/**
 * Writes the device-writable part of a chain, wherever the driver put the
 * borders of its buffers. Integers are little-endian; where fewer bytes remain
 * than one has, writing it is false, and nothing is written.
 *
 * @example A status behind an answer, in descriptors of any size
 * ```ts
 * import { FakeDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * using fake = FakeDriver.over(() => ({
 *   drain(queue) {
 *     while (queue.pop()) {
 *       const { head, writer } = queue.chain;
 *       writer.writeU32(7);
 *       writer.skip(writer.remaining - 1);
 *       writer.writeU8(1);
 *       queue.push(head, writer.written);
 *     }
 *   },
 * }));
 * const answer = await fake.request([{ room: 8 }, { room: 1 }], {
 *   writable: [3, 3],
 * });
 * const [data, status] = answer.rooms();
 * assertEquals([...data!.subarray(0, 4), status![0]], [7, 0, 0, 0, 1]);
 * ```
 */
export class Writer extends Cursor {
  /** An index into `memory.regions`: what `locate` found. */
  foundRegion = 0;
  /** Bytes from the start of that region: what `locate` found. */
  foundOffset = 0;

  /** Bytes before the writer: written, skipped or given away as iovecs. */
  get written(): number {
    return this.size - this.remaining;
  }

  /** 8 bits. */
  writeU8(value: number): boolean {
    if (this.remaining < 1) return false;
    this.putByte(value);
    return true;
  }

  /** 16 bits. */
  writeU16(value: number): boolean {
    const used = this.used;
    if (used + 2 > this.segmentSize) return this.#scatter(2, value);
    const { regions, offsets, memory } = this.segments;
    const segment = this.segment;
    const view = memory.views[regions[segment]!]!;
    this.used = used + 2;
    this.remaining -= 2;
    view.setUint16(offsets[segment]! + used, value, true);
    return true;
  }

  /** 32 bits. */
  writeU32(value: number): boolean {
    const used = this.used;
    if (used + 4 > this.segmentSize) return this.#scatter(4, value);
    const { regions, offsets, memory } = this.segments;
    const segment = this.segment;
    const view = memory.views[regions[segment]!]!;
    this.used = used + 4;
    this.remaining -= 4;
    view.setUint32(offsets[segment]! + used, value, true);
    return true;
  }

  /** 64 bits, of a whole number from 0 to 2^53. */
  writeU64(value: number): boolean {
    if (this.remaining < 8) return false;
    this.writeU32(value % TWO_32);
    return this.writeU32(Math.floor(value / TWO_32));
  }

  /**
   * Writes of `source` as much as there is room for; how many bytes. 128 or
   * more make views of both sides: for payload take iovecs.
   */
  writeBytes(source: Uint8Array): number {
    const size = Math.min(source.length, this.remaining);
    if (this.isShort(size)) {
      for (let i = 0; i < size; i++) this.putByte(source[i]!);
    } else this.copy(source, size, true);
    return size;
  }

  /**
   * Finds the writable byte at `position`, counted from the first, wherever the
   * writer is: true where there is one, which `foundRegion` and `foundOffset`
   * then tell. Quickest near the end, where status bytes are.
   */
  locate(position: number): boolean {
    if (!(position >= 0 && position < this.size)) return false;
    const { regions, offsets, sizes } = this.segments;
    let segment = this.end - 1;
    let start = this.size - sizes[segment]!;
    while (position < start) start -= sizes[--segment]!;
    this.foundRegion = regions[segment]!;
    this.foundOffset = offsets[segment]! + (position - start);
    return true;
  }

  /** `size` bytes of `value`, one by one over the borders. */
  #scatter(size: number, value: number): boolean {
    if (this.remaining < size) return false;
    let rest = value >>> 0;
    for (let i = 0; i < size; i++) {
      this.putByte(rest & 255);
      rest >>>= 8;
    }
    return true;
  }
}
