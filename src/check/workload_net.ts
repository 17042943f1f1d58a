/**
 * The usual work of a network card: frames that are sent.
 *
 * @module
 */
import { NET_HEADER_SIZE } from "../testing/net_driver.ts";
import { expectEqual } from "./check.ts";
import type { Guest } from "./guest.ts";
import { cut, place, usual } from "./layout.ts";
import type { Layout, Workload, WorkRequest } from "./workload.ts";

/** IEEE 802: local experiments. */
const ETHERTYPE = [0x88, 0xb5];
const FRAME_SIZE = 64;

/** Sends frames that nobody wants. */
export class NetWorkload implements Workload {
  readonly ring = 1;
  readonly ringCount = 2;
  readonly descriptors = 2;
  readonly #guest: Guest;

  /** For the card of `guest`. */
  constructor(guest: Guest) {
    this.#guest = guest;
  }

  /** One short frame. */
  request(layout: Layout = {}): WorkRequest {
    const { memory, run } = this.#guest;
    const frame = testFrame(run.prng.next(), FRAME_SIZE);
    const bytes = new Uint8Array(NET_HEADER_SIZE + frame.length);
    bytes.set(frame, NET_HEADER_SIZE);
    const { readable = usual } = layout;
    const at = place(memory, bytes, layout.readableAt, layout.region);
    const sizes = readable(bytes.length, [NET_HEADER_SIZE, frame.length]);
    return {
      segments: cut(at, sizes, false),
      room: 0,
      check: (written) => {
        expectEqual(written, 0, "The used length of a frame that was sent");
      },
    };
  }
}

/** A frame of `size` bytes between two addresses that are nobody's. */
export function testFrame(seed: number, size: number): Uint8Array {
  const frame = new Uint8Array(size);
  frame.set([0x02, 0x52, 0x49, 0x4e, 0x47, 0x01], 0);
  frame.set([0x02, 0x52, 0x49, 0x4e, 0x47, 0x02], 6);
  frame.set(ETHERTYPE, 12);
  for (let i = 14; i < size; i++) frame[i] = seed + i * 7 + (i >> 8);
  return frame;
}
