/**
 * The usual work of a network card: frames that are sent.
 *
 * @module
 */
import { NET_HEADER_SIZE } from "../testing/net_driver.ts";
import type { DriverSegment } from "../testing/ring_driver.ts";
import { expectEqual } from "./verdict.ts";
import { cut, type Layout, place, usual } from "./layout.ts";
import type { Workload, Workplace } from "./workload.ts";
import type { WorkRequest } from "./work_request.ts";

/** IEEE 802: local experiments. */
const ETHERTYPE = [0x88, 0xb5];
const FRAME_SIZE = 64;

/** Buffers for what comes in meanwhile, and the size of each. */
const BUFFER_COUNT = 16;
const BUFFER_SIZE = 2048;

/** Sends frames that nobody wants, and forgets those that come in. */
export class NetWorkload implements Workload {
  readonly ring = 1;
  readonly ringCount = 2;
  readonly descriptors = 2;
  readonly #place: Workplace;
  /** By head: buffers for what comes in; null before there are any. */
  #buffers: Map<number, DriverSegment> | null = null;

  /** For the card at `place`. */
  constructor(place: Workplace) {
    this.#place = place;
  }

  /** Without buffers to receive into, some cards stop sending. */
  pump(): void {
    const ring = this.#place.rings[0];
    if (ring === undefined || !this.#place.receives) return;
    const spare: DriverSegment[] = [];
    if (this.#buffers === null) {
      this.#buffers = new Map();
      const count = Math.min(BUFFER_COUNT, ring.driver.freeCount);
      for (let i = 0; i < count; i++) {
        const address = this.#place.memory.allocate(BUFFER_SIZE);
        spare.push({ address, size: BUFFER_SIZE, writable: true });
      }
    }
    for (let used; (used = ring.driver.nextUsed()) !== null;) {
      const buffer = this.#buffers.get(used.head);
      if (buffer !== undefined) spare.push(buffer);
    }
    if (spare.length === 0) return;
    for (const buffer of spare) {
      this.#buffers.set(ring.driver.add([buffer]), buffer);
    }
    ring.publish();
  }

  /** One short frame. */
  request(layout: Layout = {}): WorkRequest {
    const { memory, run } = this.#place;
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
