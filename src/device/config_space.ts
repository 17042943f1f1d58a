/**
 * The device configuration space, virtio 1.3 §2.5.
 *
 * @module
 */
import { assert } from "../assert.ts";

/**
 * What GET_CONFIG may ask for: VHOST_USER_MAX_CONFIG_SIZE. Front-ends ask for
 * the structure of their own version, which may be longer than ours.
 */
export const CONFIG_SPACE_MAX = 256;

/**
 * The bytes of a device's configuration, and which of them the driver may write.
 *
 * @example A space whose first byte the driver may write
 * ```ts
 * import { ConfigSpace } from "@ringside/ringside/device";
 * import { assertEquals } from "@std/assert";
 *
 * const config = new ConfigSpace(8, [[0, 1]]);
 * config.view.setUint32(4, 1500, true);
 * assertEquals(config.write(0, Uint8Array.of(1)), true);
 * assertEquals(config.write(4, Uint8Array.of(1)), false);
 * assertEquals([...config.read(0, 10)!], [1, 0, 0, 0, 220, 5, 0, 0, 0, 0]);
 * ```
 */
export class ConfigSpace {
  /** The bytes themselves; the device writes them freely. */
  readonly bytes: Uint8Array;
  /** The same bytes, for fields. All of them are little-endian. */
  readonly view: DataView;
  readonly #writable: readonly (readonly [number, number])[];

  /**
   * Makes a zeroed space of `size` bytes (at most 256). The driver may write
   * within the `writable` ranges of `[offset, size]` only.
   */
  constructor(
    size: number,
    writable: readonly (readonly [number, number])[] = [],
  ) {
    assert(size <= CONFIG_SPACE_MAX, `a configuration of ${size} bytes`);
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
    this.#writable = writable;
  }

  /**
   * A copy of `size` bytes from `offset`, zero behind the end of the structure,
   * or null where the range is empty or leaves the 256 bytes there can be.
   */
  read(offset: number, size: number): Uint8Array | null {
    if (size < 1 || offset < 0 || offset + size > CONFIG_SPACE_MAX) return null;
    const copy = new Uint8Array(size);
    copy.set(this.bytes.subarray(offset, offset + size));
    return copy;
  }

  /**
   * Writes `bytes` for the driver; false, with nothing written, unless they
   * all lie within one writable range.
   */
  write(offset: number, bytes: Uint8Array): boolean {
    if (bytes.length < 1) return false;
    for (const [start, size] of this.#writable) {
      if (offset >= start && offset + bytes.length <= start + size) {
        this.bytes.set(bytes, offset);
        return true;
      }
    }
    return false;
  }
}
