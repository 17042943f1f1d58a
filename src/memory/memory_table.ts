/**
 * The memory table of a session: what the front-end shares, mapped.
 *
 * @module
 */
import { assert } from "../assert.ts";
import { ProtocolError, SystemError } from "../errors.ts";
import { Mapping } from "../ffi/mapping.ts";
import { type FileStatus, fileStatus } from "../ffi/status.ts";
import type { Fd } from "../io/fd.ts";
import { sealAgainstShrinking } from "../io/memfd.ts";
import type { MemoryLayout, RegionLayout } from "./guest_memory.ts";

/** Regions that a table has room for, the same as the front-ends in use. */
export const MEMORY_SLOTS_MAX = 509;

/** `mmap_offset` is a multiple of this: the smallest page there is. */
const PAGE_SIZE = 4096;

/** A region as a message describes it. Addresses and sizes are numbers. */
export interface RegionSpec {
  /** The address of its first byte in the guest. */
  guestAddress: number;
  /** In bytes. */
  size: number;
  /** The address of its first byte in the front-end. */
  userAddress: number;
  /** Where it starts in its file. */
  mmapOffset: number;
}

/**
 * A change of the table that is mapped but not in force yet. Whoever runs rings
 * goes over to `layout`; then `commit` unmaps what is gone. Exactly one of the
 * two methods is to be called.
 */
export interface MemoryChange {
  /** The memory as it will be. */
  readonly layout: MemoryLayout;
  /** Puts the change in force and unmaps what is not in `layout`. */
  commit(): void;
  /** Gives the change up and unmaps what is new in `layout`. */
  abort(): void;
}

interface Slot {
  readonly layout: RegionLayout;
  readonly mapping: Mapping;
  /** What is mapped: one file and offset, by a name of our own. */
  readonly source: string;
  /** So many times it was added, and has to be removed. */
  readonly additions: number;
}

/**
 * Owns the mappings of guest memory. A change that is refused throws a
 * ProtocolError and changes nothing. Descriptors are closed in any case: a
 * mapping needs none.
 */
export class MemoryTable implements Disposable {
  #slots: readonly Slot[] = [];
  #generation = 0;
  #pending: readonly Slot[] | null = null;

  /** SET_MEM_TABLE: all of the memory anew, with a descriptor a region. */
  replace(specs: readonly RegionSpec[], fds: readonly Fd[]): MemoryChange {
    return closing(fds, () => {
      if (specs.length !== fds.length) {
        throw new ProtocolError(
          `The memory table has ${specs.length} regions and ${fds.length} ` +
            "descriptors, wanted a descriptor a region",
        );
      }
      return this.#change([], specs, fds);
    });
  }

  /**
   * ADD_MEM_REG: one region more, or one that is there once more. QEMU before
   * 8.0 tells of each region for each queue pair of a network card, and likewise
   * of its end.
   */
  add(spec: RegionSpec, fd: Fd): MemoryChange {
    return closing([fd], () => {
      const known = this.#slots.find(({ layout, source }) =>
        isAt(layout, spec) && source === sourceOf(spec, fileStatus(fd.number))
      );
      if (known === undefined) return this.#change(this.#slots, [spec], [fd]);
      return this.#count(known, known.additions + 1);
    });
  }

  /**
   * REM_MEM_REG: the region with the addresses and the size of `spec`, which
   * stays until it was removed as often as it was added.
   */
  remove(spec: RegionSpec): MemoryChange {
    const known = this.#slots.find(({ layout }) => isAt(layout, spec));
    if (known === undefined) {
      throw new ProtocolError(
        `There is no ${describe(spec)} to remove, wanted the addresses and ` +
          "the size of one that was added",
      );
    }
    return this.#count(known, known.additions - 1);
  }

  /** The memory that is in force. */
  layout(): MemoryLayout {
    return layoutOf(this.#slots, this.#generation);
  }

  /**
   * The guest address of the `size` bytes at `address` in the front-end, -1
   * where they are not all in one region.
   */
  userToGuest(address: number, size: number): number {
    for (const { layout } of this.#slots) {
      const offset = address - layout.userAddress;
      if (offset >= 0 && offset < layout.size && size <= layout.size - offset) {
        return layout.guestAddress + offset;
      }
    }
    return -1;
  }

  /** Unmaps all. Nobody may use the memory any more. */
  [Symbol.dispose](): void {
    const gone = [...this.#slots, ...this.#pending ?? []];
    this.#slots = [];
    this.#pending = null;
    unmap(gone);
  }

  /** The table with `slot` added so many times. */
  #count(slot: Slot, additions: number): MemoryChange {
    const next = additions === 0
      ? this.#slots.filter((each) => each !== slot)
      : this.#slots.map((each) =>
        each === slot ? { ...slot, additions } : each
      );
    return this.#pend(next, []);
  }

  #change(
    kept: readonly Slot[],
    specs: readonly RegionSpec[],
    fds: readonly Fd[],
  ): MemoryChange {
    assert(this.#pending === null, "one change of the memory at a time");
    if (kept.length + specs.length > MEMORY_SLOTS_MAX) {
      throw new ProtocolError(
        `The memory table would have ${kept.length + specs.length} regions, ` +
          `wanted at most ${MEMORY_SLOTS_MAX}`,
      );
    }
    const taken: RegionSpec[] = kept.map(({ layout }) => ({
      ...layout,
      mmapOffset: 0,
    }));
    for (const spec of specs) {
      checkSpec(spec);
      for (const other of taken) checkApart(spec, other);
      taken.push(spec);
    }
    return this.#pend(kept, mapAll(specs, fds));
  }

  #pend(kept: readonly Slot[], added: readonly Slot[]): MemoryChange {
    const next = [...kept, ...added];
    const generation = this.#generation + 1;
    this.#pending = next;
    return {
      layout: layoutOf(next, generation),
      commit: () => {
        this.#settle(next);
        const stays = new Set(next.map(({ mapping }) => mapping));
        const gone = this.#slots.filter(({ mapping }) => !stays.has(mapping));
        this.#slots = next;
        this.#generation = generation;
        unmap(gone);
      },
      abort: () => {
        this.#settle(next);
        unmap(added);
      },
    };
  }

  #settle(next: readonly Slot[]): void {
    assert(this.#pending === next, "a change of the memory is settled once");
    this.#pending = null;
  }
}

function closing<T>(fds: readonly Fd[], work: () => T): T {
  try {
    return work();
  } finally {
    for (const fd of fds) fd.close();
  }
}

function layoutOf(slots: readonly Slot[], generation: number): MemoryLayout {
  return { generation, regions: slots.map(({ layout }) => ({ ...layout })) };
}

function unmap(slots: readonly Slot[]): void {
  // A region that is counted anew is in both tables, mapped once.
  for (const mapping of new Set(slots.map(({ mapping }) => mapping))) {
    mapping[Symbol.dispose]();
  }
}

function isAt(layout: RegionLayout, spec: RegionSpec): boolean {
  return layout.guestAddress === spec.guestAddress &&
    layout.userAddress === spec.userAddress && layout.size === spec.size;
}

/** Names what `spec` has of the file of `status`. */
function sourceOf(spec: RegionSpec, status: FileStatus): string {
  return `${status.device}:${status.inode}:${spec.mmapOffset}`;
}

function mapAll(specs: readonly RegionSpec[], fds: readonly Fd[]): Slot[] {
  const slots: Slot[] = [];
  try {
    for (const [i, spec] of specs.entries()) slots.push(map(spec, fds[i]!));
    return slots;
  } catch (error) {
    unmap(slots);
    throw error;
  }
}

function map(spec: RegionSpec, fd: Fd): Slot {
  const { guestAddress, size, userAddress, mmapOffset } = spec;
  try {
    const status = fileStatus(fd.number);
    if (status.kind !== "regular file") {
      throw new ProtocolError(
        `The ${describe(spec)} comes with a descriptor of kind ` +
          `${status.kind}, wanted a memfd or a file of shared memory`,
      );
    }
    sealAgainstShrinking(fd);
    // Looked at once it can't become shorter any more.
    const fileSize = fileStatus(fd.number).size;
    if (mmapOffset + size > fileSize) {
      throw new ProtocolError(
        `The ${describe(spec)} ends at ${mmapOffset + size} of a file of ` +
          `${fileSize} bytes, wanted a file that holds it`,
      );
    }
    const mapping = Mapping.shared(fd.number, size, mmapOffset);
    const hostAddress = mapping.address;
    return {
      layout: { guestAddress, size, userAddress, hostAddress },
      mapping,
      source: sourceOf(spec, status),
      additions: 1,
    };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new ProtocolError(
      `The ${describe(spec)} can't be mapped (${error.message}), wanted a ` +
        "descriptor that is open for reading and writing and is not sealed",
    );
  }
}

function checkSpec(spec: RegionSpec): void {
  const { guestAddress, size, userAddress, mmapOffset } = spec;
  if (size === 0) {
    throw new ProtocolError(`The ${describe(spec)} is empty, wanted bytes`);
  }
  const ends = [guestAddress, userAddress, mmapOffset].map((at) => at + size);
  if (!ends.every(Number.isSafeInteger) || !Number.isSafeInteger(size)) {
    throw new ProtocolError(
      `The ${describe(spec)} with user address ${hex(userAddress)} and file ` +
        `offset ${hex(mmapOffset)} goes beyond 2^53, wanted it below`,
    );
  }
  if (mmapOffset % PAGE_SIZE !== 0) {
    throw new ProtocolError(
      `The ${describe(spec)} is at offset ${hex(mmapOffset)} of its file, ` +
        `wanted a multiple of ${PAGE_SIZE}`,
    );
  }
}

function checkApart(a: RegionSpec, b: RegionSpec): void {
  for (const key of ["guestAddress", "userAddress"] as const) {
    if (a[key] < b[key] + b.size && b[key] < a[key] + a.size) {
      const space = key === "guestAddress" ? "guest" : "front-end";
      throw new ProtocolError(
        `The ${describe(a)} overlaps the ${describe(b)} in the ${space}, ` +
          "wanted regions apart",
      );
    }
  }
}

function describe(spec: RegionSpec): string {
  return `region of ${hex(spec.size)} bytes at ${hex(spec.guestAddress)}`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
