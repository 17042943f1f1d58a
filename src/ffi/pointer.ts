/**
 * Pointers. Above src/ffi an address is a number: user space ends at 2^47
 * (2^56 with five-level paging), so it is exact.
 *
 * @module
 */

/**
 * The address of the first byte of `view`, 0 where it is empty. Stays true as
 * long as the underlying buffer is reachable: hold on to it.
 */
export function addressOf(view: ArrayBufferView | ArrayBufferLike): number {
  if (view.byteLength === 0) return 0;
  if (!ArrayBuffer.isView(view)) return addressOfBuffer(view);
  // Small typed arrays live on the JavaScript heap, where they move. Asking for
  // `.buffer` gives them a place of their own.
  return addressOfBuffer(view.buffer) + view.byteOffset;
}

function addressOfBuffer(buffer: ArrayBufferLike): number {
  // A SharedArrayBuffer is taken too, the type declarations omit it.
  const pointer = Deno.UnsafePointer.of(buffer as ArrayBuffer);
  return pointer === null ? 0 : Number(Deno.UnsafePointer.value(pointer));
}

/** The pointer to `address`, which is not 0. */
export function pointerTo(address: number): Deno.PointerObject {
  const pointer = Deno.UnsafePointer.create(BigInt(address));
  if (pointer === null) throw new RangeError("An address of 0 has no pointer");
  return pointer;
}

/** The address that `pointer` holds. */
export function addressFrom(pointer: Deno.PointerValue): number {
  return pointer === null ? 0 : Number(Deno.UnsafePointer.value(pointer));
}

/** `text` as a C string. Fails where it holds a NUL. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) {
    throw new TypeError(
      `The name ${JSON.stringify(text)} holds a NUL, which ends a C string`,
    );
  }
  return new TextEncoder().encode(text + "\0");
}
