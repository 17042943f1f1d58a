/**
 * The usual work of an entropy device.
 *
 * @module
 */
import { expect } from "./check.ts";
import type { Guest } from "./guest.ts";
import { cut, place, untouched, usual } from "./layout.ts";
import type { Layout, Workload, WorkRequest } from "./workload.ts";

const SIZE = 32;

/** Asks for a few random bytes. */
export class RngWorkload implements Workload {
  readonly ring = 0;
  readonly ringCount = 1;
  readonly descriptors = 1;
  readonly #guest: Guest;

  /** For the device of `guest`. */
  constructor(guest: Guest) {
    this.#guest = guest;
  }

  /** A buffer to be filled. */
  request(layout: Layout = {}): WorkRequest {
    const { memory } = this.#guest;
    const { writable = usual } = layout;
    const at = place(memory, untouched(SIZE), layout.writableAt, layout.region);
    return {
      segments: cut(at, writable(SIZE, [SIZE]), true),
      room: SIZE,
      check: (written) => {
        expect(
          written >= 1 && written <= SIZE,
          `${written} random bytes were given, wanted 1 to ${SIZE}`,
        );
        const bytes = memory.read(at, written);
        memory.write(at, untouched(SIZE));
        // The odds against four bytes that look untouched are 2^32.
        expect(
          written < 4 || bytes.some((byte) => byte !== 0xa5),
          `${written} bytes are said to be written, and none was`,
        );
      },
    };
  }
}
