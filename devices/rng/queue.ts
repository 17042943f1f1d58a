// Data plane: the entropy device on one thread.
/**
 * @module
 */
import type { DataDevice, DataPlaneServices } from "../../src/device/device.ts";
import { IovecList } from "../../src/io/iovec.ts";
import type { Virtqueue } from "../../src/virtqueue/virtqueue.ts";
import { Budget } from "./budget.ts";
import {
  FileSource,
  KernelSource,
  type Source,
  type SourceFile,
} from "./source.ts";

/** What the control side opens the data side with. */
export interface RngSeed {
  /** The file to read; null: the kernel. */
  readonly source: SourceFile | null;
  /** Bytes that may be given in a period; null: any number. */
  readonly maxBytes: number | null;
  /** Of the period, in milliseconds. */
  readonly periodMs: number;
}

/**
 * Bytes that one request gets at most: about a tenth of a millisecond of the
 * kernel's generator, or a quarter where each takes a system call. So no request
 * is in the way of the others, be they of other rings or commands.
 */
export const SHARE = 64 << 10;
/**
 * Bytes after which the driver gets what there is: it asks for more while the
 * next ones are made. Measured with 16 requests of 4 KiB, by calls: 136 k a
 * second, 121 where they are all given at once, 125 where it is a quarter.
 */
const PORTION = 32 << 10;

/** Opens the data side from an {@linkcode RngSeed}. */
export function open(seed: unknown, services: DataPlaneServices): DataDevice {
  return new RngQueue(seed as RngSeed, services);
}

class RngQueue implements DataDevice {
  readonly #source: Source;
  readonly #budget: Budget | null = null;
  /** Where the bytes go, of all requests that were gathered. */
  #list: IovecList | null = null;
  #segmentCount = 0;
  #chainCount = 0;
  /** By gathered request: its chain, the bytes it gets, its first segment. */
  #heads = new Uint16Array(0);
  #sizes = new Uint32Array(0);
  #firsts = new Uint32Array(0);

  constructor(seed: RngSeed, services: DataPlaneServices) {
    this.#source = seed.source === null
      ? new KernelSource()
      : new FileSource(seed.source, services);
    try {
      if (seed.maxBytes === null) return;
      this.#budget = new Budget(seed.maxBytes, seed.periodMs, services);
    } catch (error) {
      this.#source[Symbol.dispose]();
      throw error;
    }
  }

  start(queue: Virtqueue): void {
    this.#source.restart();
    if (queue.size > this.#heads.length) {
      this.#heads = new Uint16Array(queue.size);
      this.#sizes = new Uint32Array(queue.size);
      this.#firsts = new Uint32Array(queue.size);
    }
    const segments = queue.chain.sizes.length;
    if (segments <= (this.#list?.capacity ?? 0)) return;
    this.#list?.[Symbol.dispose]();
    this.#list = new IovecList(segments);
  }

  drain(queue: Virtqueue): void {
    const budget = this.#budget;
    let room = budget === null || budget.left > SHARE ? SHARE : budget.left;
    let wanted = PORTION;
    while (room > 0 && wanted > 0 && !this.#source.isDry) {
      this.#gather(queue, room, wanted);
      if (this.#chainCount === 0) return;
      const given = this.#give(queue);
      if (budget !== null) budget.spend(given);
      room -= given;
      wanted -= given;
    }
  }

  [Symbol.dispose](): void {
    this.#budget?.[Symbol.dispose]();
    this.#source[Symbol.dispose]();
    this.#list?.[Symbol.dispose]();
  }

  /** Pops requests for `wanted` bytes or more, up to `room`. */
  #gather(queue: Virtqueue, room: number, wanted: number): void {
    const list = this.#list!;
    const batch = this.#source.batch;
    let segments = 0;
    let chains = 0;
    let rest = room;
    const enough = room - wanted;
    while (rest > 0 && rest > enough && chains < batch && queue.pop()) {
      const { head, writer } = queue.chain;
      const size = writer.size < rest ? writer.size : rest;
      const taken = writer.takeIovecs(list, segments, size);
      if (taken === 0 && size > 0) {
        // The list is full, which has room for any request alone.
        queue.undoPop();
        break;
      }
      this.#heads[chains] = head;
      this.#sizes[chains] = size;
      this.#firsts[chains] = segments;
      segments += taken;
      rest -= size;
      chains++;
    }
    this.#segmentCount = segments;
    this.#chainCount = chains;
  }

  /**
   * Fills what was gathered and gives it back; how many bytes. What the source
   * has nothing for goes back to the ring; what can't be written is given back
   * with what was.
   */
  #give(queue: Virtqueue): number {
    const source = this.#source;
    const list = this.#list!;
    const sizes = this.#sizes;
    const heads = this.#heads;
    let given = 0;
    let chain = 0;
    while (chain < this.#chainCount) {
      const first = this.#firsts[chain]!;
      const count = this.#segmentCount - first;
      const got = count === 0 ? 0 : source.read(list, first, count);
      let rest = got > 0 ? got : 0;
      given += rest;
      const before = chain;
      while (chain < this.#chainCount && rest >= sizes[chain]!) {
        rest -= sizes[chain]!;
        queue.push(heads[chain]!, sizes[chain]!);
        chain++;
      }
      if (rest > 0 || (got < 0 && chain === before)) {
        queue.push(heads[chain]!, rest);
        chain++;
      } else if (chain === before) {
        queue.undoPop();
        return given;
      }
    }
    return given;
  }
}
