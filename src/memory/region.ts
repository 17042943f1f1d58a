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

/** A range of guest memory as bytes. It borrows them and frees nothing. */
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
