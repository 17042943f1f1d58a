/**
 * The driver's end of a split ring whose chains never change: it makes no
 * garbage, so that what V8 says is of the device.
 *
 * @module
 */
import {
  asSplit,
  type DriverMemory,
  type FakeRing,
} from "../../src/testing/mod.ts";
import {
  AVAIL_RING,
  RING_INDEX,
  USED_RING_WORD,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from "../../src/virtqueue/layout.ts";

/** A descriptor of a chain that stays. */
export interface HotPiece {
  readonly address: number;
  readonly size: number;
  readonly writable: boolean;
}

/** Posts chains by their number, and takes them back. */
export class HotRing {
  /** What the device says it wrote into the chain that was taken last. */
  written = 0;
  readonly #ring: ReturnType<typeof asSplit>;
  readonly #perChain: number;
  readonly #mask: number;
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedElements: Uint32Array;
  #availIndex = 0;
  #usedIndex = 0;

  /** Chains of up to `perChain` descriptors on `port`, which lies in `memory`. */
  constructor(memory: DriverMemory, port: FakeRing, perChain: number) {
    this.#ring = asSplit(port.ring);
    this.#perChain = perChain;
    const { size, driverArea, deviceArea } = this.#ring;
    this.#mask = size - 1;
    const words = (address: number, count: number) => {
      const [view, at] = memory.view(address);
      return new Uint16Array(view.buffer, view.byteOffset + at, count);
    };
    this.#avail = words(driverArea, size + 3);
    this.#used = words(deviceArea, 4 * size + 3);
    const { buffer, byteOffset } = this.#used;
    this.#usedElements = new Uint32Array(buffer, byteOffset, 2 * size + 1);
  }

  /** Lays chain `number` out. */
  layOut(number: number, pieces: readonly HotPiece[]): void {
    const first = number * this.#perChain;
    for (const [i, { address, size, writable }] of pieces.entries()) {
      const last = i === pieces.length - 1;
      const flags = (last ? 0 : VIRTQ_DESC_F_NEXT) |
        (writable ? VIRTQ_DESC_F_WRITE : 0);
      const next = last ? 0 : first + i + 1;
      this.#ring.rawDescriptor(first + i, { address, size, flags, next });
    }
  }

  /** Makes chain `number` available, which `publish` shows. */
  post(number: number): void {
    const slot = AVAIL_RING + (this.#availIndex & this.#mask);
    this.#avail[slot] = number * this.#perChain;
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
  }

  /** Shows what was posted. */
  publish(): void {
    Atomics.store(this.#avail, RING_INDEX, this.#availIndex);
  }

  /** The number of the next chain that was given back, or -1. */
  take(): number {
    const index = Atomics.load(this.#used, RING_INDEX);
    if (this.#usedIndex === index) return -1;
    const element = USED_RING_WORD + 2 * (this.#usedIndex & this.#mask);
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
    this.written = this.#usedElements[element + 1]!;
    return this.#usedElements[element]! / this.#perChain;
  }
}
