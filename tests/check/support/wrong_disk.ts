/**
 * A small disk in memory that is wrong in one way.
 *
 * @module
 */
import {
  ConfigSpace,
  type DataDevice,
  type Device,
} from "../../../src/device/mod.ts";
import type { Virtqueue } from "../../../src/virtqueue/mod.ts";

/** What can be wrong with it. */
export interface DiskDefects {
  /** The status of a request, where not the right one. */
  status?(type: number, right: number): number;
  /** The used length, where not the right one. */
  written?(right: number): number;
  /** The sector that is read or written, where not the right one. */
  sector?(right: number): number;
  /** Changes the config space. */
  config?(view: DataView): void;
  /** More features, or fewer. */
  features?(right: bigint): bigint;
  /** The header has to be one descriptor, and nothing else in it. */
  headerAlone?: boolean;
  /** What is written is lost. */
  losesWrites?: boolean;
  /** Zeros are not written. */
  losesZeroes?: boolean;
  /** Writes that reach beyond the end are done as far as they go. */
  writesPartly?: boolean;
}

const SIZE = 4 << 20;
const SECTOR = 512;
const OK = 0;
const IOERR = 1;
const UNSUPP = 2;
/** FLUSH, MQ, DISCARD, WRITE_ZEROES, BLK_SIZE, SEG_MAX */
const FEATURES = 1n << 9n | 1n << 12n | 1n << 13n | 1n << 14n | 1n << 6n |
  1n << 2n;

let current: DiskDefects = {};

/** A disk of 4 MiB with `defects`. One at a time: they are not posted. */
export function wrongDisk(defects: DiskDefects): Device {
  current = defects;
  const config = new ConfigSpace(60);
  const { view } = config;
  view.setBigUint64(0, BigInt(SIZE / SECTOR), true);
  view.setUint32(12, 126, true);
  view.setUint32(20, SECTOR, true);
  view.setUint16(34, 2, true);
  for (const at of [36, 40, 48, 52]) view.setUint32(at, 256, true);
  defects.config?.(view);
  return {
    features: defects.features?.(FEATURES) ?? FEATURES,
    queueCount: 2,
    queueSizeMax: 1024,
    config,
    data: { open, url: import.meta.url },
    seed: null,
    usesUring: false,
    close: () => Promise.resolve(),
  };
}

/** Opens the data side. */
export function open(): DataDevice {
  const disk = new WrongDisk(current);
  return { drain: (queue) => disk.drain(queue) };
}

class WrongDisk {
  readonly #defects: DiskDefects;
  readonly #bytes = new Uint8Array(SIZE);

  constructor(defects: DiskDefects) {
    this.#defects = defects;
  }

  drain(queue: Virtqueue): void {
    while (queue.pop()) {
      const { head } = queue.chain;
      const length = this.#serve(queue);
      queue.push(head, this.#defects.written?.(length) ?? length);
    }
  }

  /** Does the request; how much was written. */
  #serve(queue: Virtqueue): number {
    const { reader, writer } = queue.chain;
    const header = new Uint8Array(16);
    const { remaining: room } = writer;
    const { remaining: given } = reader;
    const headerAlone = queue.chain.sizes[0] === 16;
    if (given < 16 || room < 1) return 0;
    reader.readBytes(header);
    const view = new DataView(header.buffer);
    const type = view.getUint32(0, true);
    const told = Number(view.getBigUint64(8, true));
    const sector = this.#defects.sector?.(told) ?? told;
    const data = new Uint8Array(given - 16);
    reader.readBytes(data);
    const answer = new Uint8Array(room);
    let right = this.#do(type, sector, data, answer.subarray(0, room - 1));
    if ((this.#defects.headerAlone ?? false) && !headerAlone) right = IOERR;
    answer[room - 1] = this.#defects.status?.(type, right) ?? right;
    return writer.writeBytes(answer);
  }

  #do(
    type: number,
    sector: number,
    data: Uint8Array,
    room: Uint8Array,
  ): number {
    const at = sector * SECTOR;
    switch (type) {
      case 0:
        if (room.length % SECTOR !== 0 || at + room.length > SIZE) return IOERR;
        room.set(this.#bytes.subarray(at, at + room.length));
        return OK;
      case 1: {
        const fits = at + data.length <= SIZE;
        if (!fits && this.#defects.writesPartly && at < SIZE) {
          this.#bytes.set(data.subarray(0, SIZE - at), at);
        }
        if (data.length % SECTOR !== 0 || !fits) return IOERR;
        if (!this.#defects.losesWrites) this.#bytes.set(data, at);
        return OK;
      }
      case 4:
        return OK;
      case 8:
        return OK;
      case 11:
      case 13:
        return this.#ranges(type, data);
      default:
        return UNSUPP;
    }
  }

  #ranges(type: number, data: Uint8Array): number {
    if (data.length === 0 || data.length % 16 !== 0) return IOERR;
    const view = new DataView(data.buffer, data.byteOffset);
    const sector = Number(view.getBigUint64(0, true));
    const count = view.getUint32(8, true);
    const flags = view.getUint32(12, true);
    if (flags > (type === 13 ? 1 : 0)) return UNSUPP;
    const [from, to] = [sector * SECTOR, (sector + count) * SECTOR];
    if (to > SIZE) return IOERR;
    if (type === 13 && !this.#defects.losesZeroes) {
      this.#bytes.fill(0, from, to);
    }
    return OK;
  }
}
