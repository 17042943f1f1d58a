/**
 * The memory of a pretended guest.
 *
 * @module
 */
import { F_SEAL_SHRINK } from "../ffi/abi.ts";
import { addressOf } from "../ffi/pointer.ts";
import { Mapping } from "../ffi/mapping.ts";
import { SystemError } from "../errors.ts";
import type { Fd } from "../io/fd.ts";
import { createMemfd, HUGE_PAGE_SIZE } from "../io/memfd.ts";
import {
  GuestMemory,
  type MemoryLayout,
  type RegionLayout,
} from "../memory/guest_memory.ts";

/** Of the memfds, in /proc. */
const NAME = "ringside-guest";
const NO_BYTES = new ArrayBuffer(0);

/** A region to be made. */
export interface DriverRegionSpec {
  /** The address of its first byte in the guest. */
  readonly guestAddress: number;
  /** In bytes. */
  readonly size: number;
  /** Said to be its address in the front-end; else where it is in this process. */
  readonly userAddress?: number;
  /** Where it starts in its memfd, which then is as much larger; else 0. */
  readonly mmapOffset?: number;
  /** The index of an earlier region in whose memfd this one is too. */
  readonly fileOf?: number;
  /**
   * Whether its memfd has huge pages of 2 MiB: they must be there, or are taken
   * where there are enough.
   */
  readonly hugePages?: boolean | "preferred";
  /**
   * Whether those who have its memfd may make that shorter, as a hostile
   * back-end would: then touching what is gone ends the process. False by
   * default; of regions that share a memfd, what the first one says.
   */
  readonly shrinkable?: boolean;
}

/** A region that was made. */
export interface DriverRegion extends RegionLayout {
  /** Its memfd, or null where it is plain. Owned by the DriverMemory. */
  readonly fd: Fd | null;
  /** Where it starts in its memfd. */
  readonly mmapOffset: number;
  /** Whether its memfd has huge pages. */
  readonly hugePages: boolean;
  /** Its bytes. */
  readonly buffer: ArrayBuffer;
}

/**
 * Guest memory as the driver sees it: to allocate from, to write and to read.
 * Guest addresses are numbers.
 *
 * @example Two regions
 * ```ts
 * import { DriverMemory } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * using memory = DriverMemory.shared([
 *   { guestAddress: 0, size: 1 << 20 },
 *   // Behind a hole, in the same memfd.
 *   { guestAddress: 1 << 30, size: 1 << 20, fileOf: 0, mmapOffset: 1 << 20 },
 * ]);
 * const address = memory.allocate(3, 1, 1);
 * memory.write(address, Uint8Array.of(1, 2, 3));
 * assertEquals(memory.read(address, 3), Uint8Array.of(1, 2, 3));
 * ```
 */
export class DriverMemory implements Disposable {
  /** As they were asked for. */
  readonly regions: readonly DriverRegion[];
  readonly #mappings: readonly Mapping[];
  readonly #memory: GuestMemory;
  /** Bytes that are allocated of each region. */
  readonly #allocated: number[];

  private constructor(regions: DriverRegion[], mappings: Mapping[]) {
    this.regions = regions;
    this.#mappings = mappings;
    this.#allocated = regions.map(() => 0);
    this.#memory = this.guestMemory();
  }

  /**
   * Memory of this thread only: one region of so many bytes at guest address
   * 0x10000, or `regions`.
   */
  static plain(regions: number | readonly DriverRegionSpec[]): DriverMemory {
    const made = specsOf(regions).map((spec) => {
      const buffer = new ArrayBuffer(spec.size);
      return describe(spec, addressOf(buffer), buffer, null, false);
    });
    return new DriverMemory(made, []);
  }

  /**
   * Memory that can be shared: a memfd for each region, unless they say
   * otherwise. Throws a SystemError, as where there are no huge pages.
   */
  static shared(regions: number | readonly DriverRegionSpec[]): DriverMemory {
    const specs = specsOf(regions);
    const made: DriverRegion[] = [];
    const mappings: Mapping[] = [];
    try {
      for (const [index, spec] of specs.entries()) {
        const file = spec.fileOf === undefined
          ? createFile(fileSize(specs, index), spec)
          : fileOf(made, spec.fileOf);
        // It has an owner before the mapping can fail.
        const region = describe(spec, 0, NO_BYTES, file.fd, file.hugePages);
        made.push(region);
        const { size, mmapOffset } = region;
        const mapping = Mapping.shared(file.fd.number, size, mmapOffset);
        mappings.push(mapping);
        const { address, buffer } = mapping;
        made[index] = describe(spec, address, buffer, file.fd, file.hugePages);
      }
      return new DriverMemory(made, mappings);
    } catch (error) {
      for (const mapping of mappings) mapping[Symbol.dispose]();
      for (const region of made) region.fd?.close();
      throw error;
    }
  }

  /** Where the regions are. True for as long as this object lives. */
  layout(generation = 1): MemoryLayout {
    const regions = this.regions.map((region) => ({
      guestAddress: region.guestAddress,
      size: region.size,
      userAddress: region.userAddress,
      hostAddress: region.hostAddress,
    }));
    return { generation, regions };
  }

  /** The same memory as a device of this thread sees it. */
  guestMemory(generation = 1): GuestMemory {
    const buffers = this.regions.map((region) => region.buffer);
    return new GuestMemory(this.layout(generation), buffers);
  }

  /**
   * Sets `size` bytes apart for good, in the first region (or in the one with
   * index `region`) that has them: their guest address. Throws a RangeError.
   */
  allocate(size: number, alignment = 16, region?: number): number {
    if (!Number.isSafeInteger(size) || size < 0) {
      throw new RangeError(
        `There are ${size} bytes to be set apart, wanted a whole number, 0 or ` +
          "more",
      );
    }
    for (const [index, { guestAddress, size: all }] of this.regions.entries()) {
      if (region !== undefined && region !== index) continue;
      const free = guestAddress + this.#allocated[index]!;
      const address = Math.ceil(free / alignment) * alignment;
      if (address + size > guestAddress + all) continue;
      this.#allocated[index] = address + size - guestAddress;
      return address;
    }
    throw new RangeError(
      `No region has ${size} bytes left: make the driver's memory larger`,
    );
  }

  /** Where `guestAddress` is: the view of its region and an offset into it. */
  view(guestAddress: number): [DataView<ArrayBuffer>, number] {
    const region = this.#memory.regionAt(guestAddress);
    if (region < 0) throw outside(guestAddress);
    const start = this.#memory.starts[region]!;
    return [this.#memory.views[region]!, guestAddress - start];
  }

  /** Writes `bytes`, over the borders of adjacent regions. */
  write(guestAddress: number, bytes: Uint8Array): void {
    let done = 0;
    while (done < bytes.length) {
      const [view, offset] = this.view(guestAddress + done);
      const piece = Math.min(bytes.length - done, view.byteLength - offset);
      const target = new Uint8Array(view.buffer, offset, piece);
      target.set(bytes.subarray(done, done + piece));
      done += piece;
    }
  }

  /** A copy of `size` bytes, over the borders of adjacent regions. */
  read(guestAddress: number, size: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(size);
    if (!this.#memory.read(guestAddress, bytes, size)) {
      throw outside(guestAddress);
    }
    return bytes;
  }

  /** Frees what `shared` made. */
  [Symbol.dispose](): void {
    for (const mapping of this.#mappings) mapping[Symbol.dispose]();
    for (const region of this.regions) region.fd?.close();
  }
}

function specsOf(
  regions: number | readonly DriverRegionSpec[],
): readonly DriverRegionSpec[] {
  const specs = typeof regions !== "number"
    ? regions
    : [{ guestAddress: 0x10000, size: regions }];
  for (const { guestAddress, size } of specs) {
    const isSound = Number.isSafeInteger(guestAddress + size) &&
      guestAddress >= 0 && size > 0;
    if (isSound) continue;
    throw new RangeError(
      `A region has ${size} bytes at ${guestAddress}, wanted whole numbers ` +
        "below 2^53, and a byte at least",
    );
  }
  return specs;
}

/** A memfd and what its pages are. */
interface RegionFile {
  readonly fd: Fd;
  readonly hugePages: boolean;
}

/** Bytes that the memfd of region `index` needs for all the regions in it. */
function fileSize(specs: readonly DriverRegionSpec[], index: number): number {
  const ends = specs
    .filter((spec, i) => i === index || spec.fileOf === index)
    .map((spec) => (spec.mmapOffset ?? 0) + spec.size);
  return Math.max(...ends);
}

function createFile(size: number, spec: DriverRegionSpec): RegionFile {
  const { hugePages = false, shrinkable = false } = spec;
  const sealed = shrinkable ? {} : { seals: F_SEAL_SHRINK };
  if (hugePages !== false) {
    const whole = Math.ceil(size / HUGE_PAGE_SIZE) * HUGE_PAGE_SIZE;
    try {
      const fd = createMemfd(NAME, whole, { hugePages: true, ...sealed });
      return { fd, hugePages: true };
    } catch (error) {
      if (hugePages === true || !(error instanceof SystemError)) throw error;
    }
  }
  return { fd: createMemfd(NAME, size, sealed), hugePages: false };
}

function fileOf(made: readonly DriverRegion[], index: number): RegionFile {
  const region = made[index];
  if (region?.fd) return { fd: region.fd, hugePages: region.hugePages };
  throw new RangeError(
    `There is no region ${index} to share a memfd with: name an earlier one`,
  );
}

function describe(
  spec: DriverRegionSpec,
  hostAddress: number,
  buffer: ArrayBuffer,
  fd: Fd | null,
  hugePages: boolean,
): DriverRegion {
  return {
    guestAddress: spec.guestAddress,
    size: spec.size,
    userAddress: spec.userAddress ?? hostAddress,
    mmapOffset: spec.mmapOffset ?? 0,
    hostAddress,
    buffer,
    fd,
    hugePages,
  };
}

function outside(guestAddress: number): RangeError {
  return new RangeError(
    `Guest address 0x${guestAddress.toString(16)} is in no region, ` +
      "wanted memory that the driver has",
  );
}
