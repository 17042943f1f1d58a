// Data plane: the parts of a ring in guest memory.
/**
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";

/**
 * The bytes of the part of a ring that is called `name`, or why they can't be
 * had.
 */
export function findArea(
  memory: GuestMemory,
  name: string,
  address: number,
  size: number,
  alignment: number,
): Uint8Array<ArrayBuffer> | string {
  const place = `The ${name} is at 0x${address.toString(16)}`;
  if (address % alignment !== 0) {
    return `${place}, wanted a multiple of ${alignment}`;
  }
  if (!memory.locate(address, size)) {
    const { virtual } = memory;
    const joined = virtual === null || virtual.missed
      ? `wanted ${size} bytes in one region of guest memory`
      : virtual.join(address, size);
    return typeof joined === "string" ? `${place}, ${joined}` : joined;
  }
  const region = memory.regions[memory.foundRegion]!;
  const offset = memory.foundOffset;
  if (offset % alignment !== 0) {
    return `${place} in a region at 0x${region.guestAddress.toString(16)}, ` +
      `wanted a region that starts at a multiple of ${alignment}`;
  }
  return new Uint8Array(region.bytes.buffer, offset, size);
}

/** `bytes` as 16-bit words. */
export function words16(bytes: Uint8Array<ArrayBuffer>): Uint16Array {
  return new Uint16Array(
    bytes.buffer,
    bytes.byteOffset,
    bytes.byteLength / 2,
  );
}

/** `bytes` as signed 32-bit words: V8 allocates numbers of 2^31 and more. */
export function integers(bytes: Uint8Array<ArrayBuffer>): Int32Array {
  return new Int32Array(
    bytes.buffer,
    bytes.byteOffset,
    bytes.byteLength / 4,
  );
}

/** A view of `bytes`. */
export function viewOf(bytes: Uint8Array<ArrayBuffer>): DataView<ArrayBuffer> {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
