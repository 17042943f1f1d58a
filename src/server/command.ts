/**
 * The commands that the control plane sends to a data plane, the same on both
 * carriers. All are structured-cloneable.
 *
 * @module
 */
import type { MemoryLayout } from "../memory/guest_memory.ts";
import type { VirtqueueConfig } from "../virtqueue/virtqueue.ts";

/** A ring and the descriptors it works with. */
export interface StartVring {
  readonly kind: "startVring";
  /** What the log calls its device; nothing where not said. */
  readonly name?: string;
  readonly config: VirtqueueConfig;
  /** Its addresses, and those in it, are I/O virtual ones. */
  readonly virtual?: boolean;
  readonly kickFd: number;
  readonly callFd: number;
  readonly errFd: number;
  readonly enabled: boolean;
}

/** Replaces the guest memory once nothing in flight uses the present one. */
export interface SetMemory {
  readonly kind: "setMemory";
  readonly layout: MemoryLayout;
}

/** Stops a ring after draining it; answered with the next available index. */
export interface StopVring {
  readonly kind: "stopVring";
  readonly index: number;
}

/** Enables or disables a ring. */
export interface EnableVring {
  readonly kind: "enableVring";
  readonly index: number;
  readonly enabled: boolean;
}

/** Replaces the call or the err eventfd of a ring; -1 means none. */
export interface SetNotifier {
  readonly kind: "setCall" | "setErr";
  readonly index: number;
  readonly fd: number;
}

/** The front-end's IOMMU maps a range; it lies whole in one region. */
export interface UpdateIotlb {
  readonly kind: "updateIotlb";
  readonly iova: number;
  readonly size: number;
  readonly userAddress: number;
  readonly permissions: number;
}

/** It maps a range no longer: answered once nothing in flight uses it. */
export interface InvalidateIotlb {
  readonly kind: "invalidateIotlb";
  readonly iova: number;
  readonly size: number;
}

/** What a thread asks for: a mapping that it lacks. */
export interface IotlbMiss {
  readonly iova: number;
  /** The access that is wanted. */
  readonly permissions: number;
}

/** The front-end has no mapping for what was asked. */
export interface RefuseIotlb extends IotlbMiss {
  readonly kind: "refuseIotlb";
}

/** Where the used ring of a ring is logged, a guest address; -1: nowhere. */
export interface SetUsedLog {
  readonly kind: "setUsedLog";
  readonly index: number;
  readonly address: number;
}

/** A new state of the device's control side. */
export interface UpdateDevice {
  readonly kind: "update";
  readonly state: unknown;
}

/** Asks for what the rings of a thread have done. */
export interface InspectRings {
  readonly kind: "inspect";
}

/** What a ring has done since it started. */
export interface RingCounters {
  /** Of the ring in its device. */
  readonly index: number;
  /** Requests that are under way. */
  readonly inFlight: number;
  /** Requests that were given back unread because they were malformed. */
  readonly malformed: number;
  /** How often the driver was called. */
  readonly calls: number;
  /** Why it is broken, or "". */
  readonly broken: string;
}

/** Ends the thread's data plane: every ring is stopped. */
export interface CloseDataPlane {
  readonly kind: "close";
}

/** One command. */
export type Command =
  | StartVring
  | SetMemory
  | StopVring
  | EnableVring
  | SetNotifier
  | SetUsedLog
  | UpdateIotlb
  | InvalidateIotlb
  | RefuseIotlb
  | UpdateDevice
  | InspectRings
  | CloseDataPlane;

/** Why a command fails that comes after `close`. */
export const CLOSED = "The data plane is closed";

/** Runs commands on one thread; the promise is the thread's acknowledgement. */
export interface Carrier {
  /** Is told what a thread lacks a mapping for; null: nobody listens. */
  onMiss: ((miss: IotlbMiss) => void) | null;
  /** Resolves once its threads take part; rejects where they can't. */
  readonly ready: Promise<void>;
  /** Rejects when a thread ended by itself: a defect, and its rings are lost. */
  readonly failure: Promise<never>;
  /**
   * Resolves with the answer of `command` (a number for stopVring, else 0);
   * rejects once it is closed.
   */
  send(command: Command): Promise<number>;
  /** What the rings that run have done, by index. */
  inspect(): Promise<RingCounters[]>;
  /** Ends the thread, after a `close` command. */
  close(): Promise<void>;
}
