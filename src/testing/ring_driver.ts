/**
 * The driver side of a ring, whatever its kind.
 *
 * @module
 */
import type { VirtqueueConfig } from "../virtqueue/virtqueue.ts";

/** One buffer of a request. */
export interface DriverSegment {
  /** Its guest address; a bigint can be any 64 bits. */
  readonly address: number | bigint;
  /** In bytes. */
  readonly size: number;
  /** The device writes it (otherwise it reads it). */
  readonly writable: boolean;
}

/** The 16 bytes of a descriptor. */
export interface RawDescriptor {
  /** Any 64 bits. */
  address: number | bigint;
  /** Any 32 bits. */
  size: number;
  /** `VIRTQ_DESC_F_*`, or any 16 bits. */
  flags: number;
  /** Any 16 bits: the next descriptor, or the buffer id of a packed ring. */
  next: number;
}

/** A request that the device gave back. */
export interface UsedChain {
  /** As `add` returned it. */
  head: number;
  /** Bytes that the device says it wrote. */
  written: number;
}

/** How a request is to be laid out. */
export interface AddOptions {
  /** Through an indirect table; or how many segments come before that. */
  indirect?: boolean | number;
}

/**
 * Drives a ring that it laid out in a DriverMemory: `add` stages requests,
 * `publish` shows them to the device, `nextUsed` takes them back. Between `add`
 * and `publish`, `amend` can break what was staged.
 */
export interface RingDriver {
  /** Entries. */
  readonly size: number;
  /** The descriptor area, guest address. */
  readonly descriptorArea: number;
  /** The driver area, guest address. */
  readonly driverArea: number;
  /** The device area, guest address. */
  readonly deviceArea: number;
  /** Descriptors that no chain holds. */
  readonly freeCount: number;

  /** The ring as the device is to open it. */
  config(index?: number): VirtqueueConfig;

  /**
   * Stages a request: what identifies it (the head of its chain, or its buffer
   * id). Throws a RangeError where it does not fit.
   */
  add(segments: readonly DriverSegment[], options?: AddOptions): number;

  /**
   * Overwrites parts of descriptor `position` (from 0, in the order of the
   * chain, tables included) of `head`, which is staged. Throws a RangeError
   * where there is none.
   */
  amend(head: number, position: number, raw: Partial<RawDescriptor>): void;

  /** Shows what is staged to the device; true when that wants a kick. */
  publish(): boolean;

  /** Whether the device wants a kick for what the last `publish` showed. */
  kickNeeded(): boolean;

  /** Takes the next chain that the device gave back, or null. */
  nextUsed(): UsedChain | null;

  /** Asks for no calls, or for them again. */
  setNoInterrupt(value: boolean): void;

  /**
   * Asks for a call at the next chain that is given back; true when there is
   * one already.
   */
  armInterrupt(): boolean;
}
