/**
 * The usual work of a disk: reads of what is known.
 *
 * @module
 */
import { BLOCK_STATUS, blockHeader } from "../testing/block_driver.ts";
import { expectBytes, expectEqual } from "./verdict.ts";
import { cut, type Layout, place, untouched, usual } from "./layout.ts";
import type { Workload, Workplace } from "./workload.ts";
import type { WorkRequest } from "./work_request.ts";

const READ = 0;
const SECTOR_SIZE = 512;
/** The largest unit: a request of a few of them has to fit the memory. */
const UNIT_MAX = 1 << 20;

/** Reads what was read, or written, at the beginning. */
export class BlockWorkload implements Workload {
  readonly ring = 0;
  readonly ringCount = 1;
  readonly descriptors = 3;
  readonly #place: Workplace;

  /** For the disk at `place`. */
  constructor(place: Workplace) {
    this.#place = place;
  }

  /** Reads one block that is known, each time another. */
  request(layout: Layout = {}): WorkRequest {
    const { memory, run } = this.#place;
    const { known } = run.target;
    const size = blockSizeOf(run.target);
    const blocks = Math.max(1, Math.floor(known.length / size));
    const at = run.prng.below(blocks) * size;
    const header = blockHeader(READ, at / SECTOR_SIZE);
    const { readable = usual, writable = usual, region } = layout;
    const readAt = place(memory, header, layout.readableAt, region);
    const room = size + 1;
    const writeAt = place(memory, untouched(room), layout.writableAt, region);
    return {
      segments: [
        ...cut(readAt, readable(header.length, [header.length]), false),
        ...cut(writeAt, writable(room, [size, 1]), true),
      ],
      room,
      check: () => {
        const bytes = memory.read(writeAt, room);
        memory.write(writeAt, untouched(room));
        expectEqual(bytes[size]!, BLOCK_STATUS.OK, "The status of a read");
        expectBytes(
          bytes.subarray(0, size),
          known.subarray(at, at + size),
          `what was read from byte ${at} on`,
        );
      },
    };
  }
}

/**
 * The unit of requests, in bytes: `blk_size` where that is offered, and can be
 * one. What it is otherwise fails the check of it, and no other.
 */
export function blockSizeOf(
  target: { offers(bit: bigint): boolean; readonly config: DataView },
): number {
  const { config } = target;
  const said = target.offers(1n << 6n) && config.byteLength >= 24
    ? config.getUint32(20, true)
    : 0;
  const isSize = (said & (said - 1)) === 0 && said <= UNIT_MAX;
  return isSize ? Math.max(SECTOR_SIZE, said) : SECTOR_SIZE;
}
