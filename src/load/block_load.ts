/**
 * A load on a disk, virtio 1.3 §5.2.
 *
 * @module
 */
import { VIRTIO_F_EVENT_IDX } from "../device/features.ts";
import type { DriverMemory } from "../testing/driver_memory.ts";
import { Prng } from "../testing/prng.ts";
import {
  BlockWork,
  CONTROL_SIZE,
  FLUSH,
  OPERATIONS,
  READ,
  SECTOR_SIZE,
  STATUS_OFFSET,
  WRITE,
} from "./block_work.ts";
import { LoadError } from "./errors.ts";
import { Histogram } from "./histogram.ts";
import { RequestLane } from "./lane.ts";
import type { Load, LoadResult } from "./load.ts";
import { type LoadSegment, wordsAt } from "./load_ring.ts";
import { BlockStates, Pattern } from "./pattern.ts";
import { Pump, type RunLimit } from "./pump.ts";
import { STALL_MS, Wire, type WireOptions } from "./wire.ts";

const VIRTIO_BLK_F_RO = 1n << 5n;
const VIRTIO_BLK_F_BLK_SIZE = 1n << 6n;
const VIRTIO_BLK_F_FLUSH = 1n << 9n;
const VIRTIO_BLK_F_MQ = 1n << 12n;

const HEADER_SIZE = 16;
/** Of `struct virtio_blk_config`, as far as is read. */
const CONFIG_SIZE = 24;
const BLK_SIZE_AT = 20;
/** The most blocks that are checked: what is known of one takes 5 bytes. */
const CHECKED_BLOCKS = 1 << 24;
/** Header, data and status. */
const BUFFERS = 3;
const PAGE = 4096;

/** The parts of a mix: reads, writes and flushes. */
export interface BlockMix {
  /** Reads, in proportion. */
  readonly read: number;
  /** Writes, in proportion. */
  readonly write: number;
  /** Flushes, in proportion. */
  readonly flush: number;
}

/** A load on a disk. */
export interface BlockLoadOptions extends WireOptions {
  /** Bytes of a read or write; 4096 by default. */
  readonly size?: number;
  /** Rings; 1 by default. */
  readonly queues?: number;
  /** Reads only, by default. */
  readonly mix?: BlockMix;
  /** One block after the other, instead of any. */
  readonly sequential?: boolean;
  /** Bytes from the beginning of the disk that are touched; else all. */
  readonly range?: number;
  /** Writes a pattern, and checks it where it is read. */
  readonly verify?: boolean;
}

/** The work of one ring, and what it drives. */
interface Queue {
  readonly lane: RequestLane;
  readonly work: BlockWork;
  readonly pattern: Pattern | null;
}

/** Reads, writes and flushes over the rings of a disk. */
export class BlockLoad implements Load {
  readonly facts: Readonly<Record<string, string | number | boolean>>;
  readonly #wire: Wire;
  readonly #queues: readonly Queue[];
  readonly #histogram: Histogram;
  readonly #pump: Pump;
  readonly #size: number;

  private constructor(
    wire: Wire,
    queues: readonly Queue[],
    histogram: Histogram,
    options: BlockLoadOptions,
    capacity: number,
  ) {
    const { polled = false, stallMs = STALL_MS } = options;
    this.#wire = wire;
    this.#queues = queues;
    this.#histogram = histogram;
    this.#size = sizeOf(options);
    const lanes = queues.map(({ lane }) => lane);
    this.#pump = new Pump(lanes, polled, stallMs, wire.frontend.fd);
    this.facts = {
      capacity,
      ringSize: lanes[0]!.ring.size,
      eventIndex: wire.has(VIRTIO_F_EVENT_IDX),
    };
  }

  /**
   * Connects to the back-end at `socketPath` and starts its rings.
   *
   * @throws {LoadError} the disk is not fit for the load
   */
  static async open(
    socketPath: string,
    options: BlockLoadOptions,
  ): Promise<BlockLoad> {
    const { queues: count = 1, depth } = options;
    const wanted = VIRTIO_BLK_F_RO | VIRTIO_BLK_F_BLK_SIZE |
      VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_MQ;
    const wire = await Wire.open(socketPath, options, wanted);
    const queues: Queue[] = [];
    try {
      const capacity = await fitCapacity(wire, options);
      const size = sizeOf(options);
      const ringSize = wire.ringSize(BUFFERS);
      const slot = CONTROL_SIZE + Math.ceil(size / PAGE) * PAGE;
      const payload = count * (depth * slot + 2 * PAGE);
      const memory = await wire.share(count, ringSize, payload);
      const histogram = new Histogram();
      const range = Math.min(options.range ?? capacity, capacity);
      const blocks = Math.floor(range / size);
      const states = statesOf(blocks, options);
      for (let index = 0; index < count; index++) {
        const rig = new QueueRig(wire, memory, options, ringSize);
        const queue = rig.queue(index, blocks, states, histogram);
        queues.push(queue);
        await wire.start(index, queue.lane);
      }
      await wire.ready();
      return new BlockLoad(wire, queues, histogram, options, capacity);
    } catch (error) {
      for (const { lane } of queues) lane[Symbol.dispose]();
      wire[Symbol.dispose]();
      throw error;
    }
  }

  run(limit: RunLimit): LoadResult {
    this.#histogram.clear();
    for (const { work, pattern } of this.#queues) {
      work.clear();
      pattern?.clear();
    }
    const pumped = this.#pump.run(limit);
    const sum = (of: (queue: Queue) => number) =>
      this.#queues.reduce((all, queue) => all + of(queue), 0);
    const read = sum(({ work }) => work.counts[READ]!);
    const write = sum(({ work }) => work.counts[WRITE]!);
    const flush = sum(({ work }) => work.counts[FLUSH]!);
    const errors = sum(({ work }) => work.errors);
    const wrongLengths = sum(({ work }) => work.wrongLengths);
    const checks = this.#queues.some(({ pattern }) => pattern !== null);
    const mismatches = sum(({ pattern }) => pattern?.mismatches ?? 0);
    const checked = sum(({ pattern }) => pattern?.checked ?? 0);
    return {
      ...pumped,
      counts: {
        read,
        write,
        flush,
        ...(checks ? { checked, mismatches } : {}),
      },
      requests: read + write + flush + errors,
      errors,
      failures: errors + wrongLengths + mismatches,
      bytes: (read + write) * this.#size,
      latency: this.#histogram,
      complaints: this.#complaints(),
    };
  }

  /** Hangs up. */
  [Symbol.dispose](): void {
    this.#pump[Symbol.dispose]();
    for (const { lane } of this.#queues) lane[Symbol.dispose]();
    this.#wire[Symbol.dispose]();
  }

  #complaints(): string[] {
    const lines: string[] = [];
    for (const [index, { work, pattern }] of this.#queues.entries()) {
      if (work.errors > 0) {
        lines.push(
          `Ring ${index}: ${work.errors} requests failed, the first with ` +
            `status ${work.firstStatus}`,
        );
      }
      if (work.wrongLengths > 0) {
        lines.push(
          `Ring ${index}: ${work.wrongLengths} requests came back with a ` +
            `wrong used length, the first with ${work.firstLength}, wanted ` +
            `${work.wantedLength}`,
        );
      }
      if (pattern !== null && pattern.mismatches > 0) {
        lines.push(
          `Ring ${index}: ${pattern.mismatches} reads had other data than ` +
            `was written, the first at byte ` +
            `${pattern.firstMismatch * this.#size}`,
        );
      }
    }
    return lines;
  }
}

/** Lays rings out, each with its work. */
class QueueRig {
  readonly #wire: Wire;
  readonly #memory: DriverMemory;
  readonly #options: BlockLoadOptions;
  readonly #ringSize: number;

  constructor(
    wire: Wire,
    memory: DriverMemory,
    options: BlockLoadOptions,
    ringSize: number,
  ) {
    this.#wire = wire;
    this.#memory = memory;
    this.#options = options;
    this.#ringSize = ringSize;
  }

  queue(
    index: number,
    blocks: number,
    states: BlockStates | null,
    histogram: Histogram,
  ): Queue {
    const { depth, queues = 1, mix, sequential = false } = this.#options;
    const size = sizeOf(this.#options);
    const seed = mixSeed(this.#options.seed ?? 1, index);
    const memory = this.#memory;
    const control = memory.allocate(depth * CONTROL_SIZE, PAGE);
    const prng = new Prng(seed);
    const data: Uint32Array[] = [];
    const slots: LoadSegment[][][] = [];
    for (let slot = 0; slot < depth; slot++) {
      const address = memory.allocate(size, PAGE);
      const words = wordsAt(memory, address, size)[1];
      // Not zeros, which a medium may store as a hole.
      for (let i = 0; i < words.length; i++) words[i] = prng.next();
      data.push(words);
      slots.push(shapesOf(control + slot * CONTROL_SIZE, address, size));
    }
    // One seed for all rings: each reads what the others write.
    const pattern = states &&
      new Pattern(states, data, this.#options.seed ?? 1);
    const work = new BlockWork({
      control: wordsAt(memory, control, depth * CONTROL_SIZE)[1],
      blocks,
      firstBlock: Math.floor(index * blocks / queues),
      sectorsPerBlock: size / SECTOR_SIZE,
      random: !sequential,
      mix: drawFrom(mix ?? { read: 1, write: 0, flush: 0 }),
      seed,
      pattern,
    });
    const ring = this.#wire.layOut(memory, this.#ringSize, slots);
    const lane = new RequestLane(ring, depth, work, histogram);
    return { lane, work, pattern };
  }
}

/** The buffers of a read, a write and a flush. */
function shapesOf(
  control: number,
  data: number,
  size: number,
): LoadSegment[][] {
  const header = { address: control, size: HEADER_SIZE, writable: false };
  const status = { address: control + STATUS_OFFSET, size: 1, writable: true };
  const shapes: LoadSegment[][] = new Array(OPERATIONS);
  shapes[READ] = [header, { address: data, size, writable: true }, status];
  shapes[WRITE] = [header, { address: data, size, writable: false }, status];
  shapes[FLUSH] = [header, status];
  return shapes;
}

/** Operations in the proportions of `mix`; one where there is one only. */
function drawFrom({ read, write, flush }: BlockMix): Uint8Array {
  const parts = [[read, READ], [write, WRITE], [flush, FLUSH]] as const;
  const used = parts.filter(([part]) => part > 0);
  if (used.length === 1) return Uint8Array.of(used[0]![1]);
  return Uint8Array.from(
    used.flatMap(([part, operation]) => new Array(part).fill(operation)),
  );
}

/** The disk's size in bytes, once it is sure that the load fits it. */
async function fitCapacity(
  wire: Wire,
  options: BlockLoadOptions,
): Promise<number> {
  const { queues = 1, mix, depth, range } = options;
  const size = sizeOf(options);
  if (wire.has(VIRTIO_BLK_F_RO) && (mix?.write ?? 0) > 0) {
    throw new LoadError(
      "The disk is read-only, but the mix has writes: leave them out",
    );
  }
  if (!wire.has(VIRTIO_BLK_F_FLUSH) && (mix?.flush ?? 0) > 0) {
    throw new LoadError(
      "The disk offers no flushes, but the mix has some: leave them out",
    );
  }
  if (queues > Math.max(1, wire.queueCount)) {
    throw new LoadError(
      `The back-end has ${wire.queueCount} rings, but ${queues} are wanted: ` +
        "ask for fewer",
    );
  }
  const config = await wire.config(CONFIG_SIZE);
  const capacity = Number(config.getBigUint64(0, true)) * SECTOR_SIZE;
  const blockSize = wire.has(VIRTIO_BLK_F_BLK_SIZE)
    ? config.getUint32(BLK_SIZE_AT, true)
    : SECTOR_SIZE;
  if (size % blockSize !== 0) {
    throw new LoadError(
      `Requests have ${size} bytes, but the blocks of the disk ${blockSize}: ` +
        "ask for a multiple",
    );
  }
  const blocks = Math.floor(Math.min(range ?? capacity, capacity) / size);
  // A checked block is on one request at a time.
  const least = options.verify ? depth * queues + 1 : 1;
  if (blocks < least) {
    throw new LoadError(
      `The range has room for ${blocks} requests of ${size} bytes, wanted ` +
        `${least} or more: use a larger disk or range, or smaller requests`,
    );
  }
  return capacity;
}

function statesOf(
  blocks: number,
  options: BlockLoadOptions,
): BlockStates | null {
  if (!options.verify) return null;
  if (blocks <= CHECKED_BLOCKS) return new BlockStates(blocks);
  const size = sizeOf(options);
  throw new LoadError(
    `The range has ${blocks} blocks, but ${CHECKED_BLOCKS} is the most that ` +
      `can be checked: ask for a range of ${CHECKED_BLOCKS * size} bytes`,
  );
}

function sizeOf(options: BlockLoadOptions): number {
  return options.size ?? 4096;
}

/** A seed for ring `index`: not 0, and different for each. */
function mixSeed(seed: number, index: number): number {
  return new Prng(seed + 0x9e3779b9 * index).next() || 1;
}
