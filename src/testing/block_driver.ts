/**
 * The driver side of a block device, virtio 1.3 §5.2.
 *
 * @module
 */
import type { DriverMemory } from "./driver_memory.ts";
import type { DriverSegment } from "./ring_driver.ts";
import type { RingDriver } from "./ring_driver.ts";

const SECTOR_SIZE = 512;
const HEADER_SIZE = 16;
const ID_SIZE = 20;
/** What a buffer is aligned to, where it is as large: fit for O_DIRECT. */
const BUFFER_ALIGNMENT = 4096;

/** Request types by name. */
export const BLOCK_REQUEST = {
  IN: 0,
  OUT: 1,
  FLUSH: 4,
  GET_ID: 8,
  DISCARD: 11,
  WRITE_ZEROES: 13,
} as const;

/** The status byte by name. */
export const BLOCK_STATUS = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;

/** What joins the driver with the device. */
export interface BlockDriverPort {
  /** Tells the device that there are requests. */
  kick(): void;
  /** Resolves when the device may have given some back. */
  called(): Promise<void>;
}

/** How a {@linkcode BlockDriver} lays its requests out. */
export interface BlockDriverOptions {
  /** Each request in an indirect table. */
  indirect?: boolean;
}

/** One buffer of a request: bytes for the device, or room for its answer. */
export type BlockPart =
  | { readonly bytes: Uint8Array; readonly address?: number }
  | { readonly room: number; readonly address?: number };

/** What became of a request. */
export interface BlockAnswer {
  /** The bytes that the device says it wrote. */
  readonly written: number;
  /** What is in each of the writable buffers now. */
  readonly rooms: Uint8Array[];
  /** The last byte of the last of them, -1 where there are none. */
  readonly status: number;
}

/** A range of the disk, in sectors of 512 bytes. */
export interface BlockRange {
  /** The first. */
  readonly sector: number;
  /** How many. */
  readonly sectors: number;
  /** Bit 0: may be unmapped. */
  readonly flags?: number;
}

/** A request was answered with a status other than OK. */
export class BlockError extends Error {
  /** The name of the class, as in a stack. */
  override readonly name = "BlockError";
  /** One of {@linkcode BLOCK_STATUS}. */
  readonly status: number;

  /** Makes the error of request `what`. */
  constructor(what: string, status: number) {
    super(`${what} was answered with status ${status}, wanted 0`);
    this.status = status;
  }
}

interface Waiting {
  resolve(written: number): void;
  reject(error: unknown): void;
}

/**
 * Reads and writes a disk through a ring. Requests that are made without
 * waiting for each other are in flight together; one that finds the ring full
 * waits for room.
 */
export class BlockDriver {
  readonly #memory: DriverMemory;
  readonly #ring: RingDriver;
  readonly #port: BlockDriverPort;
  readonly #indirect: boolean;
  /** By head. */
  readonly #waiting = new Map<number, Waiting>();
  /** Buffers to be used again, by their size. */
  readonly #buffers = new Map<number, number[]>();
  #collecting: Promise<void> | null = null;
  /** Those that want descriptors. */
  #full: (() => void)[] = [];

  /** Drives the device at `port` through `ring`, which lies in `memory`. */
  constructor(
    memory: DriverMemory,
    ring: RingDriver,
    port: BlockDriverPort,
    options: BlockDriverOptions = {},
  ) {
    this.#memory = memory;
    this.#ring = ring;
    this.#port = port;
    this.#indirect = options.indirect ?? false;
  }

  /** Reads `size` bytes from `sector` on. Rejects with a BlockError. */
  async read(sector: number, size: number): Promise<Uint8Array> {
    const { rooms } = await this.#ask(BLOCK_REQUEST.IN, sector, [
      { room: size },
    ]);
    return rooms[0]!;
  }

  /** Writes `bytes` from `sector` on. Rejects with a BlockError. */
  async write(sector: number, bytes: Uint8Array): Promise<void> {
    await this.#ask(BLOCK_REQUEST.OUT, sector, [{ bytes }]);
  }

  /** Makes durable what was written. Rejects with a BlockError. */
  async flush(): Promise<void> {
    await this.#ask(BLOCK_REQUEST.FLUSH, 0, []);
  }

  /** The serial number, without what follows a NUL. */
  async getId(): Promise<string> {
    const { rooms } = await this.#ask(BLOCK_REQUEST.GET_ID, 0, [
      { room: ID_SIZE },
    ]);
    return new TextDecoder().decode(rooms[0]).replace(/\0.*$/s, "");
  }

  /** Gives the ranges back. Rejects with a BlockError. */
  async discard(ranges: readonly BlockRange[]): Promise<void> {
    const bytes = rangeBytes(ranges);
    await this.#ask(BLOCK_REQUEST.DISCARD, 0, [{ bytes }]);
  }

  /** Makes the ranges read as zeros. Rejects with a BlockError. */
  async writeZeroes(ranges: readonly BlockRange[]): Promise<void> {
    const bytes = rangeBytes(ranges);
    await this.#ask(BLOCK_REQUEST.WRITE_ZEROES, 0, [{ bytes }]);
  }

  /**
   * Sends a request of any layout: the parts as they are, readable ones first.
   * A part without an address of its own gets a buffer.
   */
  async request(parts: readonly BlockPart[]): Promise<BlockAnswer> {
    const needed = this.#indirect ? 1 : parts.length;
    if (needed > this.#ring.size) {
      throw new RangeError(
        `A request has ${needed} parts, wanted at most the ` +
          `${this.#ring.size} entries of the ring`,
      );
    }
    while (this.#ring.freeCount < needed) {
      await new Promise<void>((resolve) => this.#full.push(resolve));
    }
    const segments = parts.map((part) => this.#place(part));
    const head = this.#ring.add(segments, { indirect: this.#indirect });
    const written = await this.#send(head);
    const rooms = segments.filter(({ writable }) => writable)
      .map(({ address, size }) => this.#memory.read(Number(address), size));
    parts.forEach((part, i) => {
      if (part.address === undefined) this.#release(segments[i]!);
    });
    return { written, rooms, status: rooms.at(-1)?.at(-1) ?? -1 };
  }

  async #ask(
    type: number,
    sector: number,
    data: readonly BlockPart[],
  ): Promise<BlockAnswer> {
    const header = { bytes: blockHeader(type, sector) };
    const answer = await this.request([header, ...data, { room: 1 }]);
    if (answer.status === BLOCK_STATUS.OK) return answer;
    throw new BlockError(`Request ${type} at ${sector}`, answer.status);
  }

  #send(head: number): Promise<number> {
    const answer = new Promise<number>((resolve, reject) => {
      this.#waiting.set(head, { resolve, reject });
    });
    if (this.#ring.publish()) this.#port.kick();
    this.#collecting ??= this.#collect();
    return answer;
  }

  /** Takes requests back for as long as there are any out. */
  async #collect(): Promise<void> {
    // First let the others of the same turn publish theirs.
    await Promise.resolve();
    try {
      while (this.#waiting.size > 0) {
        if (this.#take() > 0) continue;
        if (!this.#ring.armInterrupt()) await this.#port.called();
      }
      this.#collecting = null;
    } catch (error) {
      this.#collecting = null;
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
      this.#makeRoom();
    }
  }

  #take(): number {
    let count = 0;
    for (let used; (used = this.#ring.nextUsed()) !== null; count++) {
      const waiting = this.#waiting.get(used.head);
      this.#waiting.delete(used.head);
      waiting?.resolve(used.written);
    }
    if (count > 0) this.#makeRoom();
    return count;
  }

  /** Lets those that wait for descriptors look again. */
  #makeRoom(): void {
    const full = this.#full;
    this.#full = [];
    for (const resolve of full) resolve();
  }

  #place(part: BlockPart): DriverSegment {
    const writable = "room" in part;
    const size = writable ? part.room : part.bytes.length;
    const address = part.address ?? this.#buffer(size);
    if (!writable) this.#memory.write(address, part.bytes);
    return { address, size, writable };
  }

  #buffer(size: number): number {
    const room = roomOf(size);
    const alignment = Math.min(room, BUFFER_ALIGNMENT);
    return this.#buffers.get(room)?.pop() ??
      this.#memory.allocate(room, alignment);
  }

  #release(segment: DriverSegment): void {
    const room = roomOf(segment.size);
    const buffers = this.#buffers.get(room) ?? [];
    this.#buffers.set(room, buffers);
    buffers.push(Number(segment.address));
  }
}

/** The 16 bytes before the data of a request. */
export function blockHeader(
  type: number,
  sector: number | bigint,
): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return bytes;
}

/** The payload of a DISCARD or a WRITE_ZEROES. */
export function rangeBytes(ranges: readonly BlockRange[]): Uint8Array {
  const bytes = new Uint8Array(16 * ranges.length);
  const view = new DataView(bytes.buffer);
  for (const [i, { sector, sectors, flags = 0 }] of ranges.entries()) {
    view.setBigUint64(16 * i, BigInt(sector), true);
    view.setUint32(16 * i + 8, sectors, true);
    view.setUint32(16 * i + 12, flags, true);
  }
  return bytes;
}

/** What a buffer for `size` bytes takes: a power of two, a sector at least. */
function roomOf(size: number): number {
  return Math.max(SECTOR_SIZE, 2 ** Math.ceil(Math.log2(size)));
}
