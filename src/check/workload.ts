/**
 * The usual work of each device, in any layout: what checks that are about
 * memory, rings and chains have done, whatever the device.
 *
 * @module
 */
import type { DriverSegment } from "../testing/ring_driver.ts";
import type { Guest } from "./guest.ts";
import { BlockWorkload } from "./workload_block.ts";
import { NetWorkload } from "./workload_net.ts";
import { RngWorkload } from "./workload_rng.ts";

/**
 * How a part of a request is cut into descriptors: `size` bytes, where `usual`
 * is how a driver does it. The sizes of the pieces, none of them 0.
 */
export type Shape = (size: number, usual: readonly number[]) => number[];

/** How a request is laid out. */
export interface Layout {
  /** Of the bytes that the device reads; as usual by default. */
  readonly readable?: Shape;
  /** Of the bytes that the device writes; as usual by default. */
  readonly writable?: Shape;
  /** Where those that the device writes are; anywhere by default. */
  readonly writableAt?: number;
  /** Where those that the device reads are; anywhere by default. */
  readonly readableAt?: number;
  /** The region for both; any by default. */
  readonly region?: number;
}

/** A request that can be sent, and again once it was given back. */
export interface WorkRequest {
  /** Its buffers. */
  readonly segments: readonly DriverSegment[];
  /** Bytes that the device is to write. */
  readonly room: number;
  /** Fails unless the device, which says it wrote so much, did it right. */
  check(written: number): void;
}

/** What a device is asked for. */
export interface Workload {
  /** The ring that it goes through. */
  readonly ring: number;
  /** Rings to start for it. */
  readonly ringCount: number;
  /** Descriptors of a request as usual. */
  readonly descriptors: number;
  /** Makes a request. */
  request(layout?: Layout): WorkRequest;
  /** Done while a request is waited for: what else the device needs. */
  pump?(): void;
}

/** The work of the device that `guest` drives. */
export function workloadOf(guest: Guest): Workload {
  switch (guest.run.target.device) {
    case "block":
      return new BlockWorkload(guest);
    case "net":
      return new NetWorkload(guest);
    default:
      return new RngWorkload(guest);
  }
}
