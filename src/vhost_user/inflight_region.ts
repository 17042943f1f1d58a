/**
 * The memory in which rings record what is in flight, as the front-end keeps it
 * (specification, "Inflight I/O tracking"): the areas of the rings, one after
 * the other.
 *
 * @module
 */
import { ProtocolError, SystemError } from "../errors.ts";
import { F_SEAL_GROW, F_SEAL_SHRINK } from "../ffi/abi.ts";
import { Mapping } from "../ffi/mapping.ts";
import { fileStatus } from "../ffi/status.ts";
import type { Fd } from "../io/fd.ts";
import { createMemfd, sealAgainstShrinking } from "../io/memfd.ts";
import type { InflightArea } from "../virtqueue/inflight.ts";
import type { InflightDescription } from "./message.ts";
import { PACKED, type RingKind, SPLIT } from "./ring_kind.ts";

/** What a back-end allows. */
interface Limits {
  readonly queueCount: number;
  readonly queueSizeMax: number;
}

/** Areas start at multiples of this, as those of other back-ends do. */
const ALIGNMENT = 64;

/**
 * Blank memory for as many rings as `wanted` says, of `kind` or, where that is
 * not known yet, of any. Throws a ProtocolError.
 */
export function createInflight(
  wanted: InflightDescription,
  limits: Limits,
  kind: RingKind | null,
): { description: InflightDescription; fd: Fd } {
  const { queueCount, queueSize } = wanted;
  checkRings(wanted, limits);
  const mmapSize = queueCount * strideOf(queueSize, kind ?? PACKED);
  const seals = F_SEAL_SHRINK | F_SEAL_GROW;
  const fd = createMemfd("ringside-inflight", mmapSize, { seals });
  const description = { mmapSize, mmapOffset: 0, queueCount, queueSize };
  return { description, fd };
}

/** The areas of a session's rings, mapped. */
export class InflightRegion implements Disposable {
  readonly #mapping: Mapping;
  readonly #queueCount: number;
  readonly #stride: number;

  private constructor(mapping: Mapping, queueCount: number, stride: number) {
    this.#mapping = mapping;
    this.#queueCount = queueCount;
    this.#stride = stride;
  }

  /**
   * Maps what SET_INFLIGHT_FD describes: ours, or that of another back-end
   * before us. Throws a ProtocolError. The descriptor stays the caller's.
   */
  static map(
    description: InflightDescription,
    fd: Fd,
    limits: Limits,
  ): InflightRegion {
    const { mmapSize, mmapOffset, queueCount } = description;
    checkRings(description, limits);
    const stride = strideIn(description);
    try {
      checkFile(description, fd);
      const mapping = Mapping.shared(fd.number, mmapSize, mmapOffset);
      return new InflightRegion(mapping, queueCount, stride);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      throw new ProtocolError(
        `The inflight area can't be mapped (${error.message}), wanted the ` +
          "descriptor of GET_INFLIGHT_FD",
      );
    }
  }

  /**
   * The area of vring `index` of `kind`, or null where there is none for so many
   * entries.
   */
  area(index: number, size: number, kind: RingKind): InflightArea | null {
    if (index >= this.#queueCount) return null;
    if (kind.inflightSize(size) > this.#stride) return null;
    const address = this.#mapping.address + index * this.#stride;
    return { address, size: this.#stride };
  }

  /** Unmaps it. No ring uses it any more. */
  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
  }
}

function strideOf(queueSize: number, kind: RingKind): number {
  return Math.ceil(kind.inflightSize(queueSize) / ALIGNMENT) * ALIGNMENT;
}

/**
 * How far apart the areas are. Not all back-ends round them alike, and the
 * description does not say; the size of the whole does.
 */
function strideIn(description: InflightDescription): number {
  const { mmapSize, queueCount, queueSize } = description;
  const exact = mmapSize / queueCount;
  const least = SPLIT.inflightSize(queueSize);
  if (exact >= least && exact % 8 === 0) return exact;
  const rounded = strideOf(queueSize, SPLIT);
  if (rounded * queueCount <= mmapSize) return rounded;
  throw new ProtocolError(
    `The inflight area has ${mmapSize} bytes for ${queueCount} rings of ` +
      `${queueSize} entries, wanted ${rounded * queueCount}`,
  );
}

/** Compared before anything is multiplied. */
function checkRings(
  { queueCount, queueSize }: InflightDescription,
  limits: Limits,
): void {
  const { queueCount: count, queueSizeMax: size } = limits;
  if (queueCount >= 1 && queueCount <= count) {
    if (queueSize >= 1 && queueSize <= size) return;
  }
  throw new ProtocolError(
    `An inflight area for ${queueCount} rings of ${queueSize} entries is not ` +
      `possible: the device has ${count} rings of up to ${size} entries`,
  );
}

function checkFile(description: InflightDescription, fd: Fd): void {
  const { mmapSize, mmapOffset } = description;
  const { kind } = fileStatus(fd.number);
  if (kind !== "regular file") {
    throw new ProtocolError(
      `The inflight area is a ${kind}: a memfd or a file of shared memory is ` +
        "wanted",
    );
  }
  sealAgainstShrinking(fd);
  // Looked at once it can't become shorter any more.
  const { size } = fileStatus(fd.number);
  if (mmapOffset % 8 === 0 && mmapOffset + mmapSize <= size) return;
  throw new ProtocolError(
    `The inflight area has ${mmapSize} bytes at ${mmapOffset} of a file of ` +
      `${size}, wanted a multiple of 8 and a file that holds it`,
  );
}
