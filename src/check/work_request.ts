/**
 * A request to a device that any check can send.
 *
 * @module
 */
import type { DriverSegment } from "../testing/ring_driver.ts";

/** A request that can be sent, and again once it was given back. */
export interface WorkRequest {
  /** Its buffers. */
  readonly segments: readonly DriverSegment[];
  /** Bytes that the device is to write. */
  readonly room: number;
  /** Fails unless the device, which says it wrote so much, did it right. */
  check(written: number): void;
}
