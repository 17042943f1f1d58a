/**
 * The usual work of each device, in any layout: what checks that are about
 * memory, rings and chains have done, whatever the device.
 *
 * @module
 */
import type { DriverMemory } from "../testing/driver_memory.ts";
import type { CheckSession } from "./check_session.ts";
import type { GuestRing } from "./guest_ring.ts";
import type { Layout } from "./layout.ts";
import type { WorkRequest } from "./work_request.ts";

/** Where the work is done: what it needs of a guest. */
export interface Workplace {
  /** The check that it is part of. */
  readonly run: CheckSession;
  /** Where its buffers are. */
  readonly memory: DriverMemory;
  /** The rings that were laid out. */
  readonly rings: readonly GuestRing[];
  /** Whether frames that come in are taken and forgotten. */
  readonly receives: boolean;
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
