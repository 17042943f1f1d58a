/**
 * The log of dirty pages as the front-end shares it (specification,
 * "Migration").
 *
 * @module
 */
import { ProtocolError, SystemError } from "../errors.ts";
import { Mapping } from "../ffi/mapping.ts";
import { fileStatus } from "../ffi/status.ts";
import type { Fd } from "../io/fd.ts";
import { sealAgainstShrinking } from "../io/memfd.ts";
import { logSizeFor } from "../memory/dirty_log.ts";
import type { RegionLayout } from "../memory/guest_memory.ts";
import type { LogDescription } from "./message.ts";

/** The log of a session, mapped. */
export class LogRegion implements Disposable {
  readonly #mapping: Mapping;

  private constructor(mapping: Mapping) {
    this.#mapping = mapping;
  }

  /** Maps what SET_LOG_BASE describes. Throws a ProtocolError. */
  static map({ size, offset }: LogDescription, fd: Fd): LogRegion {
    try {
      const { kind } = fileStatus(fd.number);
      if (kind !== "regular file") {
        throw new ProtocolError(
          `The log is a ${kind}: a memfd or a file of shared memory is wanted`,
        );
      }
      sealAgainstShrinking(fd);
      // Looked at once it can't become shorter any more.
      const { size: fileSize } = fileStatus(fd.number);
      if (size < 1 || offset + size > fileSize) {
        throw new ProtocolError(
          `The log has ${size} bytes at ${offset} of a file of ${fileSize}, ` +
            "wanted a file that holds it",
        );
      }
      return new LogRegion(Mapping.shared(fd.number, size, offset));
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      throw new ProtocolError(
        `The log can't be mapped (${error.message}), wanted a descriptor that ` +
          "is open for reading and writing",
      );
    }
  }

  /** The address of its first byte. */
  get address(): number {
    return this.#mapping.address;
  }

  /** In bytes. */
  get size(): number {
    return this.#mapping.size;
  }

  /**
   * Throws a ProtocolError unless it has a bit for every page of `regions`: a
   * page that is not logged is one that is not moved.
   */
  checkFor(regions: readonly RegionLayout[]): void {
    const ends = regions.map(({ guestAddress, size }) => guestAddress + size);
    const wanted = logSizeFor(Math.max(0, ...ends));
    if (this.size >= wanted) return;
    throw new ProtocolError(
      `The log has ${this.size} bytes, wanted ${wanted} for the memory that ` +
        "is shared",
    );
  }

  /** Unmaps it. Nobody logs there any more. */
  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
  }
}
