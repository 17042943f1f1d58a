/**
 * What a request is made of, and how it is cut into descriptors.
 *
 * @module
 */
import type { DriverSegment } from "./ring_driver.ts";

/** Bytes for the device. */
export interface BytesPart {
  /** The bytes. */
  readonly bytes: Uint8Array;
  /** Where they are put; else in a buffer of their own. */
  readonly address?: number;
}

/** Room for the device to write into. */
export interface RoomPart {
  /** In bytes. */
  readonly room: number;
  /** Where it is; else in a buffer of its own. */
  readonly address?: number;
}

/**
 * A part of a request, a descriptor unless the layout says otherwise. A
 * DriverSegment is taken as it is, wherever it points: nothing is written
 * there, nor read.
 */
export type RequestPart = BytesPart | RoomPart | DriverSegment;

/** How a request is laid out; else each part is a descriptor, in the ring. */
export interface RequestLayout {
  /** In an indirect table; or how many descriptors come before that. */
  indirect?: boolean | number;
  /**
   * Sizes of the descriptors that the bytes for the device are cut into,
   * whatever the parts; what is left over is one more.
   */
  readable?: readonly number[];
  /** The same for the room that the device writes into. */
  writable?: readonly number[];
  /** The region of the memory that its buffers are in, else any. */
  region?: number;
}

/** A descriptor to be: with `bytes`, with room of its own, or in full. */
export type Piece = RequestPart;

/**
 * The descriptors of a request, readable ones and writable ones in the order
 * of the parts. Throws a RangeError where parts that have a place of their own
 * are to be cut.
 */
export function piecesOf(
  parts: readonly RequestPart[],
  layout: RequestLayout,
): readonly Piece[] {
  const { readable, writable } = layout;
  if (readable === undefined && writable === undefined) return parts;
  const isWritable = (part: RequestPart) =>
    "room" in part || ("writable" in part && part.writable);
  const out = parts.filter((part) => !isWritable(part));
  const into = parts.filter(isWritable);
  return [
    ...(readable === undefined ? out : cutBytes(out, readable)),
    ...(writable === undefined ? into : cutRoom(into, writable)),
  ];
}

/** How many descriptors of the ring `pieces` take. */
export function descriptorsOf(
  pieces: readonly Piece[],
  { indirect = false }: RequestLayout,
): number {
  if (indirect === false) return pieces.length;
  return indirect === true ? 1 : Math.min(indirect, pieces.length) + 1;
}

/** `parts` one after the other. */
export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  const all = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** `sizes`, and what they leave of `total`. */
function cut(total: number, sizes: readonly number[]): number[] {
  const pieces: number[] = [];
  let rest = total;
  for (const size of sizes) {
    if (rest === 0) break;
    pieces.push(Math.min(size, rest));
    rest -= pieces.at(-1)!;
  }
  if (rest > 0) pieces.push(rest);
  return pieces;
}

function cutBytes(
  parts: readonly RequestPart[],
  sizes: readonly number[],
): BytesPart[] {
  const all = concat(parts.map((part) => {
    if ("bytes" in part && part.address === undefined) return part.bytes;
    throw misplaced();
  }));
  let at = 0;
  return cut(all.length, sizes).map((size) => ({
    bytes: all.subarray(at, at += size),
  }));
}

function cutRoom(
  parts: readonly RequestPart[],
  sizes: readonly number[],
): RoomPart[] {
  const all = parts.reduce((sum, part) => {
    if ("room" in part && part.address === undefined) return sum + part.room;
    throw misplaced();
  }, 0);
  return cut(all, sizes).map((room) => ({ room }));
}

function misplaced(): RangeError {
  return new RangeError(
    "A part with an address of its own is to be cut, wanted parts without: " +
      "leave the address away, or cut it by hand",
  );
}
