// Data plane: each frame comes back, its addresses swapped.
/**
 * @module
 */
import type { DataPlaneServices } from "../../src/device/device.ts";
import { EAGAIN } from "../../src/ffi/abi.ts";
import type { IovecList } from "../../src/io/iovec.ts";
import type { HostSeed, OutgoingFrame, Port } from "./backend.ts";
import { createFrameRing, FrameRing } from "./frame_ring.ts";
import { GuestCopy } from "./guest_copy.ts";
import { HEADER_SIZE } from "./protocol.ts";

/** What the ports of a loopback are opened with. */
export interface LoopbackSeed extends HostSeed {
  readonly kind: "loopback";
}

/** Bytes of an Ethernet address. */
const ADDRESS_SIZE = 6;

/** One queue pair that is looped back to itself. */
export class LoopbackPort implements Port {
  readonly headSize = HEADER_SIZE;
  /** Frames that were sent and not received yet. */
  waiting = 0;
  readonly #ring: FrameRing;
  readonly #copy: GuestCopy;
  #enabled = false;

  /** An empty one. Throws a SystemError. */
  constructor(services: DataPlaneServices) {
    this.#copy = new GuestCopy(services);
    const fd = createFrameRing();
    this.#ring = new FrameRing(fd.number);
    fd.close();
  }

  receive(list: IovecList, first: number, count: number): number {
    const result = this.#ring.take(list, first, count, this.#copy);
    if (result !== -EAGAIN) this.waiting--;
    return result;
  }

  send(frame: OutgoingFrame): number {
    if (!this.#enabled) return 0;
    const ring = this.#ring;
    const place = ring.reserve(frame.size);
    // The ring of the same thread that takes the frames makes room.
    if (place < 0) return place;
    ring.fill(place, frame, this.#copy);
    for (let i = 0; i < ADDRESS_SIZE; i++) {
      const at = HEADER_SIZE + i;
      const destination = ring.byteAt(place, at);
      ring.setByteAt(place, at, ring.byteAt(place, at + ADDRESS_SIZE));
      ring.setByteAt(place, at + ADDRESS_SIZE, destination);
    }
    ring.commit(place, frame.size);
    this.waiting++;
    return frame.size;
  }

  enable(enabled: boolean): void {
    this.#enabled = enabled;
    if (enabled) return;
    this.#ring.drop();
    this.waiting = 0;
  }

  [Symbol.dispose](): void {
    this.#ring[Symbol.dispose]();
  }
}
