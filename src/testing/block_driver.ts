/**
 * The driver side of a block device, virtio 1.3 §5.2.
 *
 * @module
 */
import type { DriverMemory } from "./driver_memory.ts";
import type { RequestLayout, RequestPart } from "./request_layout.ts";
import {
  RequestRing,
  type RequestRingOptions,
  type RingPort,
} from "./request_ring.ts";
import type { RingDriver } from "./ring_driver.ts";

const HEADER_SIZE = 16;
const ID_SIZE = 20;

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

/** How a {@linkcode BlockDriver} works. */
export interface BlockDriverOptions extends RequestRingOptions {
  /** Each request in an indirect table, unless its layout says otherwise. */
  indirect?: boolean;
}

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

/**
 * A request was answered with a status other than OK.
 *
 * @example A read behind the end
 * ```ts
 * import { devices } from "@ringside/ringside";
 * import {
 *   BLOCK_STATUS,
 *   BlockDriver,
 *   BlockError,
 *   FakeDriver,
 * } from "@ringside/ringside/testing";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * await using fake = await FakeDriver.open(devices.block, {
 *   "blk-null": 1 << 20,
 * });
 * const [ring] = fake.rings;
 * const disk = new BlockDriver(fake.memory, ring!.ring, ring!);
 * const error = await assertRejects(() => disk.read(2048, 512), BlockError);
 * assertEquals(error.status, BLOCK_STATUS.IOERR);
 * ```
 */
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

/**
 * Reads and writes a disk through a ring. Requests that are made without
 * waiting for each other are in flight together; one that finds the ring full
 * waits for room, and one that the device keeps for too long rejects with a
 * StalledError. Each takes a layout of its own: in the ring or in a table, cut
 * anywhere.
 *
 * @example A disk, many requests in flight
 * ```ts
 * import { devices } from "@ringside/ringside";
 * import { BlockDriver, FakeDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const path = Deno.makeTempFileSync();
 * Deno.truncateSync(path, 1 << 20);
 * {
 *   await using fake = await FakeDriver.open(devices.block, {
 *     "blk-file": path,
 *     "io-engine": "sync",
 *   });
 *   const [ring] = fake.rings;
 *   const disk = new BlockDriver(fake.memory, ring!.ring, ring!);
 *   const bytes = new Uint8Array(4096).fill(7);
 *   await Promise.all([disk.write(0, bytes), disk.write(8, bytes)]);
 *   await disk.flush();
 *   // The header in two descriptors, the data in an indirect table.
 *   const layout = { readable: [3, 13], writable: [512], indirect: 2 };
 *   assertEquals(await disk.read(8, 4096, layout), bytes);
 * }
 * Deno.removeSync(path);
 * ```
 */
export class BlockDriver {
  /** The requests beneath: what is out, of any make. */
  readonly requests: RequestRing;
  readonly #indirect: boolean;

  /** Drives the device at `port` through `ring`, which lies in `memory`. */
  constructor(
    memory: DriverMemory,
    ring: RingDriver,
    port: RingPort,
    options: BlockDriverOptions = {},
  ) {
    this.requests = new RequestRing(memory, ring, port, options);
    this.#indirect = options.indirect ?? false;
  }

  /** Reads `size` bytes from `sector` on. Rejects with a BlockError. */
  async read(
    sector: number,
    size: number,
    layout?: RequestLayout,
  ): Promise<Uint8Array> {
    const data = [{ room: size }];
    const { rooms } = await this.#ask("IN", sector, data, layout);
    return rooms[0]!;
  }

  /** Writes `bytes` from `sector` on. Rejects with a BlockError. */
  async write(
    sector: number,
    bytes: Uint8Array,
    layout?: RequestLayout,
  ): Promise<void> {
    await this.#ask("OUT", sector, [{ bytes }], layout);
  }

  /** Makes durable what was written. Rejects with a BlockError. */
  async flush(layout?: RequestLayout): Promise<void> {
    await this.#ask("FLUSH", 0, [], layout);
  }

  /** The serial number, without what follows a NUL. */
  async getId(layout?: RequestLayout): Promise<string> {
    const data = [{ room: ID_SIZE }];
    const { rooms } = await this.#ask("GET_ID", 0, data, layout);
    return new TextDecoder().decode(rooms[0]).replace(/\0.*$/s, "");
  }

  /** Gives the ranges back. Rejects with a BlockError. */
  async discard(
    ranges: readonly BlockRange[],
    layout?: RequestLayout,
  ): Promise<void> {
    const bytes = rangeBytes(ranges);
    await this.#ask("DISCARD", 0, [{ bytes }], layout);
  }

  /** Makes the ranges read as zeros. Rejects with a BlockError. */
  async writeZeroes(
    ranges: readonly BlockRange[],
    layout?: RequestLayout,
  ): Promise<void> {
    const bytes = rangeBytes(ranges);
    await this.#ask("WRITE_ZEROES", 0, [{ bytes }], layout);
  }

  /**
   * Sends a request of any make, readable parts first. A part without an
   * address of its own gets a buffer.
   */
  async request(
    parts: readonly RequestPart[],
    layout: RequestLayout = {},
    what = "a request",
  ): Promise<BlockAnswer> {
    const all = { indirect: this.#indirect, ...layout };
    const request = await this.requests.request(parts, all, what);
    const rooms = request.rooms();
    this.requests.release(request);
    const status = rooms.at(-1)?.at(-1) ?? -1;
    return { written: request.written, rooms, status };
  }

  async #ask(
    type: keyof typeof BLOCK_REQUEST,
    sector: number,
    data: readonly RequestPart[],
    layout?: RequestLayout,
  ): Promise<BlockAnswer> {
    const header = { bytes: blockHeader(BLOCK_REQUEST[type], sector) };
    const what = `${type} at sector ${sector}`;
    const parts = [header, ...data, { room: 1 }];
    const answer = await this.request(parts, layout, what);
    if (answer.status === BLOCK_STATUS.OK) return answer;
    throw new BlockError(what, answer.status);
  }
}

/**
 * The 16 bytes before the data of a request.
 *
 * @example The header of a read
 * ```ts
 * import { BLOCK_REQUEST, blockHeader } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const header = blockHeader(BLOCK_REQUEST.IN, 258);
 * assertEquals([...header], [0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
 * ```
 */
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

/**
 * The payload of a DISCARD or a WRITE_ZEROES.
 *
 * @example Eight sectors, to be unmapped
 * ```ts
 * import { rangeBytes } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * const bytes = rangeBytes([{ sector: 16, sectors: 8, flags: 1 }]);
 * assertEquals([bytes.length, bytes[0], bytes[8], bytes[12]], [16, 16, 8, 1]);
 * ```
 */
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
