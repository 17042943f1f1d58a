/**
 * Rings of every kind, each with its driver, for one suite.
 *
 * @module
 */
import { DriverMemory, SplitDriver } from "../../src/testing/mod.ts";
import type {
  AddOptions,
  DriverRegionSpec,
  DriverSegment,
  SplitDriverOptions,
  UsedChain,
} from "../../src/testing/mod.ts";
import {
  type GuestMemory,
  SplitVirtqueue,
  type Virtqueue,
  type VirtqueueConfig,
} from "../../src/virtqueue/mod.ts";

/** What a driver of any kind of ring can do. */
export interface RingDriver {
  config(index?: number): VirtqueueConfig;
  add(segments: readonly DriverSegment[], options?: AddOptions): number;
  publish(): boolean;
  kickNeeded(): boolean;
  nextUsed(): UsedChain | null;
  armInterrupt(): boolean;
}

/** How a ring is to be. */
export interface RigOptions extends SplitDriverOptions {
  /** Entries, 8 where not said. */
  size?: number;
  /** The guest's memory, 1 MiB where not said. */
  regions?: readonly DriverRegionSpec[];
}

/** One ring, its driver and their memory. */
export interface Rig<D extends RingDriver> {
  readonly memory: DriverMemory;
  readonly guest: GuestMemory;
  readonly driver: D;
  readonly queue: Virtqueue;
}

/** A kind of ring. */
export interface RingKind {
  readonly name: string;
  /** Makes a ring of this kind. */
  make(options?: RigOptions): Rig<RingDriver>;
  /** Opens a ring as a device does. Throws a GuestError. */
  open(config: VirtqueueConfig, guest: GuestMemory): Virtqueue;
}

/** Makes a split ring. */
export function splitRig(options: RigOptions = {}): Rig<SplitDriver> {
  const memory = DriverMemory.plain(options.regions ?? 1 << 20);
  const guest = memory.guestMemory();
  const driver = new SplitDriver(memory, options.size ?? 8, options);
  const queue = SplitVirtqueue.open(driver.config(), guest);
  return { memory, guest, driver, queue };
}

/** The kinds there are. */
export const RING_KINDS: readonly RingKind[] = [
  { name: "split", make: splitRig, open: SplitVirtqueue.open },
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
