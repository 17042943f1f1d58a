/**
 * The usual work of an entropy device.
 *
 * @module
 */
import { expect } from "./verdict.ts";
import { cut, type Layout, place, untouched, usual } from "./layout.ts";
import type { Workload, Workplace } from "./workload.ts";
import type { WorkRequest } from "./work_request.ts";

const SIZE = 32;

/** Asks for a few random bytes. */
export class RngWorkload implements Workload {
  readonly ring = 0;
  readonly ringCount = 1;
  readonly descriptors = 1;
  readonly #place: Workplace;

  /** For the device at `place`. */
  constructor(place: Workplace) {
    this.#place = place;
  }

  /** A buffer to be filled. */
  request(layout: Layout = {}): WorkRequest {
    const { memory } = this.#place;
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
