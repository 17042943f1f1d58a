// Data plane: one contiguous range of guest memory.
/**
 * @module
 */
import { assert } from "../assert.ts";
import { borrow } from "../ffi/mapping.ts";

/** Where a region of guest memory lies, seen from all sides. Sizes in bytes. */
export interface RegionLayout {
  /** The address of its first byte in the guest. */
  guestAddress: number;
  /** Not 0. */
  size: number;
  /** The address of its first byte in the front-end. */
  userAddress: number;
  /** The address of its first byte in this process. */
  hostAddress: number;
}

/**
 * A range of guest memory as bytes. It borrows them and frees nothing.
 *
 * @example Bytes of the guest by a view, whatever their size
 * ```ts
 * import { Region } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * const buffer = new ArrayBuffer(4096);
 * const layout = {
 *   guestAddress: 0x1000,
 *   size: buffer.byteLength,
 *   userAddress: 0x7000_0000,
 *   hostAddress: 0,
 * };
 * const region = new Region(layout, buffer);
 * region.view.setUint16(0, 0x0201, true);
 * assertEquals([...region.bytes.subarray(0, 2)], [1, 2]);
 * ```
 */
export class Region {
  /** The address of its first byte in the guest. */
  readonly guestAddress: number;
  /** In bytes. */
  readonly size: number;
  /** The address of its first byte in the front-end. */
  readonly userAddress: number;
  /** The address of its first byte in this process. */
  readonly hostAddress: number;
  /** Exactly the region. The way to read and write it, however large it is. */
  readonly view: DataView<ArrayBuffer>;
  /** Exactly the region. Slow to index beyond 2 GiB. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #borrowed: boolean;

  /**
   * The region at `layout`, over `buffer` where one is given, which then is
   * what lies at `layout.hostAddress`, and else over borrowed memory.
   */
  constructor(layout: RegionLayout, buffer?: ArrayBuffer) {
    this.guestAddress = layout.guestAddress;
    this.size = layout.size;
    this.userAddress = layout.userAddress;
    this.hostAddress = layout.hostAddress;
    this.#borrowed = buffer === undefined;
    const memory = buffer ?? borrow(layout.hostAddress, layout.size);
    assert(
      memory.byteLength === layout.size,
      "a region is as large as it says",
    );
    this.view = new DataView(memory);
    this.bytes = new Uint8Array(memory);
  }
  /** Empties all views of borrowed memory, as before it is unmapped. */
  forget(): void {
    if (this.#borrowed) this.view.buffer.transfer();
  }
}
