/**
 * Rings of every kind, each with its driver, for one suite.
 *
 * @module
 */
import { DriverMemory, SplitDriver } from "../../src/testing/mod.ts";
import type {
  DriverRegionSpec,
  DriverSegment,
  RawDescriptor,
  RingDriver,
  UsedChain,
} from "../../src/testing/mod.ts";
import { PackedDriver } from "../../src/testing/packed_driver.ts";
import {
  type GuestMemory,
  openVirtqueue,
  RING_WRAP,
  type Virtqueue,
  type VirtqueueConfig,
} from "../../src/virtqueue/mod.ts";

/** A driver of any kind of ring that also writes what it must not. */
export interface RawDriver extends RingDriver {
  /** Overwrites descriptor `index` of the ring, or of the table at `table`. */
  rawDescriptor(
    index: number,
    raw: Partial<RawDescriptor>,
    table?: number,
  ): void;
}

/** How a ring is to be. */
export interface RigOptions {
  /** Entries, 8 where not said. */
  size?: number;
  /** The guest's memory, 1 MiB where not said. */
  regions?: readonly DriverRegionSpec[];
  /** VIRTIO_F_EVENT_IDX is negotiated. */
  eventIndex?: boolean;
  /** VIRTIO_F_INDIRECT_DESC is negotiated. */
  indirect?: boolean;
  /** VIRTIO_F_IN_ORDER is negotiated. */
  inOrder?: boolean;
  /** So many chains of one descriptor had been there before; at most 65535. */
  base?: number;
  /** The region of the memory to lay the ring out in, else any. */
  region?: number;
}

/** One ring, its driver and their memory. */
export interface Rig<D extends RawDriver> {
  readonly memory: DriverMemory;
  readonly guest: GuestMemory;
  readonly driver: D;
  readonly queue: Virtqueue;
}

/** A kind of ring. */
export interface RingKind {
  readonly name: string;
  /** Sizes that it can't have. */
  readonly badSizes: readonly number[];
  /** Places where a ring of 8 entries can't go on. */
  readonly badStates: readonly number[];
  /** Alignments of descriptor, driver and device area. */
  readonly alignments: readonly [number, number, number];
  /** Makes a ring of this kind. */
  make(options?: RigOptions): Rig<RawDriver>;
  /** `nextAvail` of a ring after `count` chains of one descriptor. */
  nextAvail(count: number, size?: number): number;
}

/** Opens a ring as a device does. Throws a GuestError. */
export function open(config: VirtqueueConfig, guest: GuestMemory): Virtqueue {
  return openVirtqueue(config, guest);
}

function rigOf<D extends RawDriver>(
  options: RigOptions,
  driverOf: (memory: DriverMemory) => D,
): Rig<D> {
  const memory = DriverMemory.plain(options.regions ?? 1 << 20);
  const guest = memory.guestMemory();
  const driver = driverOf(memory);
  return { memory, guest, driver, queue: open(driver.config(), guest) };
}

/** Makes a split ring. */
export function splitRig(options: RigOptions = {}): Rig<SplitDriver> {
  const { size = 8 } = options;
  return rigOf(options, (memory) => new SplitDriver(memory, size, options));
}

/** Makes a packed ring. */
export function packedRig(options: RigOptions = {}): Rig<PackedDriver> {
  const { size = 8, base = 0 } = options;
  return rigOf(options, (memory) =>
    new PackedDriver(memory, size, {
      ...options,
      base: packedPosition(base, size),
    }));
}

/** Where a packed ring is after `count` descriptors, wrap counter in bit 15. */
export function packedPosition(count: number, size: number): number {
  const isOddLap = Math.floor(count / size) % 2 === 1;
  return count % size | (isOddLap ? 0 : RING_WRAP);
}

/** The kinds there are. */
export const RING_KINDS: readonly RingKind[] = [
  {
    name: "split",
    badSizes: [0, 3, 65536, -8, 1.5, NaN],
    badStates: [65536, -1, 0.5, NaN],
    alignments: [16, 2, 4],
    make: splitRig,
    nextAvail: (count) => count & 0xffff,
  },
  {
    name: "packed",
    badSizes: [0, 32769, 65536, -8, 1.5, NaN],
    badStates: [8, 0x8008, 0x8008_8000, 2 ** 32, -1, 0.5, NaN],
    alignments: [16, 4, 4],
    make: packedRig,
    nextAvail: (count, size = 8) => packedPosition(count, size),
  },
];

/** A readable segment. */
export function readable(
  address: number | bigint,
  size: number,
): DriverSegment {
  return { address, size, writable: false };
}

/** A writable segment. */
export function writable(
  address: number | bigint,
  size: number,
): DriverSegment {
  return { address, size, writable: true };
}

/** All that the device gave back. */
export function takeUsed(driver: RingDriver): UsedChain[] {
  const used: UsedChain[] = [];
  for (let one = driver.nextUsed(); one !== null; one = driver.nextUsed()) {
    used.push(one);
  }
  return used;
}

/** The readable bytes of the chain that was popped, all that remain. */
export function readAll(queue: Virtqueue): Uint8Array {
  const { reader } = queue.chain;
  const bytes = new Uint8Array(reader.remaining);
  reader.readBytes(bytes);
  return bytes;
}

/** Bytes 0, 1, 2 ... modulo 251. */
export function pattern(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => i % 251);
}
