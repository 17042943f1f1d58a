/**
 * Memory that is mapped, as array buffers: the only way from an address to
 * bytes.
 *
 * @module
 */
import { assert } from "../assert.ts";
import {
  MAP_ANONYMOUS,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from "./abi.ts";
import { check, errno, systemError } from "./errno.ts";
import { libc } from "./libc.ts";
import { addressFrom, pointerTo } from "./pointer.ts";
import { fileStatus } from "./status.ts";

// Once any buffer is detached, V8 drops the code that relied on none ever being
// and compiles it with a check, which costs nothing measurable. That is to
// happen now, not when memory is unmapped in the middle of the work.
new ArrayBuffer(8).transfer();

const PAGE_SIZE = libc.getpagesize();
/** `MAP_FAILED`, (void *) -1, as it comes out of a 64-bit pointer. */
const MAP_FAILED = 2 ** 64;

/** A part of a shared mapping of this process: whole pages. */
export interface MappingPiece {
  /** Of its first byte. */
  readonly address: number;
  /** In bytes. */
  readonly size: number;
}

/**
 * Mapped memory. Disposing unmaps it and detaches `buffer`, so that a view
 * that is used too late on this thread is empty, not a segmentation fault.
 * Views that other threads borrowed are not detached.
 */
export class Mapping implements Disposable {
  /** Of the first byte that was asked for. */
  readonly address: number;
  /** In bytes, as asked for. */
  readonly size: number;
  /** Exactly the bytes that were asked for. */
  readonly buffer: ArrayBuffer;
  readonly #base: number;
  readonly #mappedSize: number;
  #mapped = true;

  private constructor(
    base: number,
    mappedSize: number,
    delta: number,
    size: number,
  ) {
    this.#base = base;
    this.#mappedSize = mappedSize;
    this.address = base + delta;
    this.size = size;
    this.buffer = borrow(this.address, size);
  }

  /** Private zeroed memory. Pages come into being when touched. */
  static anonymous(size: number): Mapping {
    assert(size > 0 && Number.isSafeInteger(size), "the size of a mapping");
    const whole = roundUp(size, PAGE_SIZE);
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    const base = map(whole, PROT_READ | PROT_WRITE, flags, -1, 0);
    return new Mapping(base, whole, 0, size);
  }

  /**
   * `size` bytes of what `fd` is open on, from `offset`. Neither needs any
   * alignment: whole pages of the file (huge ones where it has such, by
   * `st_blksize`) are mapped. The descriptor may be closed afterwards. Throws
   * a SystemError. That the file is long enough is the caller's to check.
   */
  static shared(
    fd: number,
    size: number,
    offset: number,
    options: { readOnly?: boolean } = {},
  ): Mapping {
    assert(size > 0 && Number.isSafeInteger(size), "the size of a mapping");
    assert(
      offset >= 0 && Number.isSafeInteger(offset + size),
      "the offset of a mapping",
    );
    const page = pageSizeOf(fd);
    const start = Math.floor(offset / page) * page;
    const delta = offset - start;
    const whole = roundUp(delta + size, page);
    const access = options.readOnly ? PROT_READ : PROT_READ | PROT_WRITE;
    const base = map(whole, access, MAP_SHARED | MAP_NORESERVE, fd, start);
    return new Mapping(base, whole, delta, size);
  }

  /**
   * The pages of `pieces`, side by side: each is mapped once more, and stays
   * when the other mapping goes. Throws a SystemError, as where pages are huge
   * and the pieces are not, or where they are not shared memory.
   */
  static joined(pieces: readonly MappingPiece[]): Mapping {
    const size = pieces.reduce((sum, piece) => sum + piece.size, 0);
    assert(size > 0 && Number.isSafeInteger(size), "the size of a mapping");
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    // A place for all of them, where nothing may be touched.
    const base = map(size, PROT_NONE, flags, -1, 0);
    let done = 0;
    for (const { address, size: length } of pieces) {
      // An old size of 0: another mapping of the same pages (mremap(2)).
      const result = libc.mremap(
        pointerTo(address),
        0n,
        BigInt(length),
        MREMAP_MAYMOVE | MREMAP_FIXED,
        pointerTo(base + done),
      );
      const failure = errno();
      if (addressFrom(result) === MAP_FAILED) {
        check(libc.munmap(pointerTo(base), BigInt(size)), "munmap");
        throw systemError("mremap", failure);
      }
      done += length;
    }
    return new Mapping(base, size, 0, size);
  }

  /** Unmaps. Harmless when done already. */
  [Symbol.dispose](): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    this.buffer.transfer();
    const size = BigInt(this.#mappedSize);
    check(libc.munmap(pointerTo(this.#base), size), "munmap");
  }
}

/**
 * `size` bytes at `address`, which this process mapped: the caller sees to it
 * that they stay so for as long as the buffer is used.
 */
export function borrow(address: number, size: number): ArrayBuffer {
  return Deno.UnsafePointerView.getArrayBuffer(pointerTo(address), size);
}

function map(
  size: number,
  access: number,
  flags: number,
  fd: number,
  offset: number,
): number {
  const result = libc.mmap(
    null,
    BigInt(size),
    access,
    flags,
    fd,
    BigInt(offset),
  );
  const failure = errno();
  const address = addressFrom(result);
  if (address === MAP_FAILED) throw systemError("mmap", failure);
  return address;
}

function pageSizeOf(fd: number): number {
  const { blockSize } = fileStatus(fd);
  const isPowerOfTwo = (blockSize & (blockSize - 1)) === 0;
  return isPowerOfTwo && blockSize > PAGE_SIZE ? blockSize : PAGE_SIZE;
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
