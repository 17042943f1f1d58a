/**
 * What of a disk goes along with a guest that moves.
 *
 * @module
 */
import {
  decodeState,
  encodeState,
  type StateKind,
} from "../../src/device/state.ts";
import { ProtocolError } from "../../src/errors.ts";

/** u64 sectors, u32 block size, u8 read-only, u8 writeback, 2 bytes of 0. */
const KIND: StateKind = { name: "block", version: 1, size: 16 };

/** A disk as its guest knows it. */
export interface MovedDisk {
  /** In sectors of 512 bytes. */
  readonly sectors: number;
  /** The logical block size, in bytes. */
  readonly blockSize: number;
  /** Whether it refuses writes. */
  readonly readOnly: boolean;
  /** Whether its write cache is on. */
  readonly writeback: boolean;
}

/** The state of `disk`. */
export function encodeBlockState(disk: MovedDisk): Uint8Array {
  return encodeState(KIND, (view) => {
    view.setBigUint64(0, BigInt(disk.sectors), true);
    view.setUint32(8, disk.blockSize, true);
    view.setUint8(12, disk.readOnly ? 1 : 0);
    view.setUint8(13, disk.writeback ? 1 : 0);
  });
}

/**
 * The disk whose state this is, which `present` is to stand in for. Throws a
 * ProtocolError where it can't.
 */
export function decodeBlockState(
  state: Uint8Array,
  present: MovedDisk,
): MovedDisk {
  const view = decodeState(KIND, state);
  const moved = {
    sectors: Number(view.getBigUint64(0, true)),
    blockSize: view.getUint32(8, true),
    readOnly: view.getUint8(12) !== 0,
    writeback: view.getUint8(13) !== 0,
  };
  if (moved.sectors > present.sectors) {
    throw new ProtocolError(
      `The guest's disk has ${moved.sectors} sectors, this one ` +
        `${present.sectors}: serve the same image`,
    );
  }
  if (moved.blockSize !== present.blockSize) {
    throw new ProtocolError(
      `The guest's disk has blocks of ${moved.blockSize} bytes, this one of ` +
        `${present.blockSize}: give --block-size ${moved.blockSize}`,
    );
  }
  if (!moved.readOnly && present.readOnly) {
    throw new ProtocolError(
      "The guest's disk can be written, this one can't: leave out --read-only",
    );
  }
  return moved;
}
