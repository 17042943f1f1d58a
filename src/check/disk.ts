/**
 * Requests to a disk, one at a time and of any kind.
 *
 * @module
 */
import {
  BLOCK_STATUS,
  blockHeader,
  type BlockRange,
  rangeBytes,
} from "../testing/block_driver.ts";
import type { DriverSegment } from "../testing/ring_driver.ts";
import { expect, expectEqual, Skip } from "./verdict.ts";
import type { CheckRun } from "./check_run.ts";
import type { Guest, GuestOptions } from "./guest.ts";
import type { GuestRing } from "./guest_ring.ts";
import { place, UNTOUCHED, untouched } from "./layout.ts";

/** Request types, virtio 1.3 §5.2.6. */
export const BLOCK_T = {
  IN: 0,
  OUT: 1,
  FLUSH: 4,
  GET_ID: 8,
  DISCARD: 11,
  WRITE_ZEROES: 13,
} as const;

/** A request: its type, and what follows its header. */
export interface DiskRequest {
  readonly type: number;
  readonly sector?: number | bigint;
  /** Bytes for the device. */
  readonly bytes?: Uint8Array;
  /** Room for bytes of the device. */
  readonly room?: number;
}

/** What became of it. */
export interface DiskAnswer {
  /** The status byte. */
  readonly status: number;
  /** What is in the room. */
  readonly bytes: Uint8Array;
  /** The used length. */
  readonly written: number;
}

/** A disk that a check drives. */
export class Disk {
  /** Its guest. */
  readonly guest: Guest;

  private constructor(guest: Guest) {
    this.guest = guest;
  }

  /** Connects, with a ring and room for large requests. */
  static async open(run: CheckRun, options: GuestOptions = {}): Promise<Disk> {
    return new Disk(await run.guest({ memory: 32 << 20, ...options }));
  }

  /** In sectors of 512 bytes. */
  get sectors(): number {
    const { config } = this.guest.run.target;
    if (config.byteLength < 8) throw new Skip("the capacity is not known");
    return Number(config.getBigUint64(0, true));
  }

  /** Sends a request and waits for it. */
  async ask(
    request: DiskRequest,
    ring: GuestRing = this.guest.ring,
  ): Promise<DiskAnswer> {
    const { memory } = this.guest;
    const { type, sector = 0, bytes, room = 0 } = request;
    const header = blockHeader(type, sector);
    const segments: DriverSegment[] = [
      { address: place(memory, header), size: header.length, writable: false },
    ];
    if (bytes !== undefined && bytes.length > 0) {
      const address = place(memory, bytes);
      segments.push({ address, size: bytes.length, writable: false });
    }
    const into = room === 0 ? 0 : place(memory, untouched(room));
    if (room > 0) segments.push({ address: into, size: room, writable: true });
    const status = place(memory, untouched(1));
    segments.push({ address: status, size: 1, writable: true });
    const written = await ring.send(segments);
    return {
      status: memory.read(status, 1)[0]!,
      bytes: room === 0 ? new Uint8Array(0) : memory.read(into, room),
      written,
    };
  }

  /** Sends a request that must be answered with `wanted`. */
  async mustAnswer(
    request: DiskRequest,
    wanted: number,
    what: string,
  ): Promise<DiskAnswer> {
    const answer = await this.ask(request);
    expectEqual(nameOf(answer.status), nameOf(wanted), `The status of ${what}`);
    return answer;
  }

  /** Sends a request that must not succeed. */
  async mustFail(request: DiskRequest, what: string): Promise<void> {
    const { status } = await this.ask(request);
    expect(
      status !== BLOCK_STATUS.OK && status !== UNTOUCHED,
      () => `The status of ${what} is ${nameOf(status)}, wanted IOERR`,
    );
  }

  /** Reads; fails unless that works. */
  async read(sector: number, size: number): Promise<Uint8Array> {
    const request = { type: BLOCK_T.IN, sector, room: size };
    const what = `a read of ${size} bytes at ${sector}`;
    return (await this.mustAnswer(request, BLOCK_STATUS.OK, what)).bytes;
  }

  /** Writes; fails unless that works. */
  async write(sector: number, bytes: Uint8Array): Promise<void> {
    const request = { type: BLOCK_T.OUT, sector, bytes };
    const what = `a write of ${bytes.length} bytes at ${sector}`;
    await this.mustAnswer(request, BLOCK_STATUS.OK, what);
  }

  /** A DISCARD or WRITE_ZEROES of `ranges`. */
  ranges(type: number, ranges: readonly BlockRange[]): DiskRequest {
    return { type, bytes: rangeBytes(ranges) };
  }
}

function nameOf(status: number): string {
  if (status === UNTOUCHED) return "not written";
  return ["OK", "IOERR", "UNSUPP"][status] ?? String(status);
}
