/**
 * The contract between a device and the house.
 *
 * A device is two modules. The *control* module (`devices/<name>/mod.ts`)
 * declares a {@linkcode DeviceDescriptor} and opens a {@linkcode Device}. The
 * *data* module (`devices/<name>/queue.ts`) makes a {@linkcode DataDevice},
 * which works the virtqueues on whichever thread they were put. The two are
 * joined by a structured-cloneable *seed*: functions can't be posted to a
 * worker.
 *
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";
import type { IoUring } from "../io/io_uring.ts";
import type { Virtqueue } from "../virtqueue/virtqueue.ts";
import type { ConfigSpace } from "./config_space.ts";
import type { FeatureNames } from "./features.ts";
import type { OptionSpecs, OptionValues } from "./options.ts";

/** Something of a device that waits for a descriptor. */
export interface ReadySource {
  /**
   * The descriptor has become readable (or writable, where that was asked for
   * too), or has failed. Told once for a change: read until EAGAIN. As `drain`:
   * never throws, waits or allocates; chains may be popped and pushed.
   */
  ready(): void;
}

/** What the thread that runs the virtqueues offers to a {@linkcode DataDevice}. */
export interface DataPlaneServices {
  /** The guest memory as it is now; replaced only while nothing is in flight. */
  readonly memory: GuestMemory;
  /** The thread's io_uring, or null where the kernel or the user forbids it. */
  readonly uring: IoUring | null;
  /**
   * Tells `source` on this thread, from now on, when `fd` becomes readable;
   * `writable`: also when it becomes writable.
   */
  watch(fd: number, source: ReadySource, writable?: boolean): void;
  /** Ends that. Before `fd` is closed. */
  unwatch(fd: number): void;
}

/**
 * The data side of a device on one thread. All methods are called on that
 * thread, never while another of them runs.
 */
export interface DataDevice {
  /** A ring was started: allocate what its requests need. */
  start?(queue: Virtqueue): void;
  /**
   * There may be chains to pop. Pops until `queue.pop()` is false, or leaves
   * what it can't use yet: then it is asked again at the next event of its
   * thread (a kick, a completion, a `ready`). Pushes, now or later, each head
   * exactly once. Never throws, waits or allocates. The plane flushes the queue
   * afterwards.
   */
  drain(queue: Virtqueue): void;
  /**
   * Whether chains that `drain` left in the ring wait for more of them to come.
   * Where it is false, or not implemented, the driver need not kick for those:
   * something else is waited for.
   */
  wantsMore?(queue: Virtqueue): boolean;
  /** A ring that was started is enabled, or no longer. Disabled at its start. */
  enable?(queue: Virtqueue, enabled: boolean): void;
  /**
   * There may be chains on a ring that is started and disabled. Not called
   * where not implemented: then they wait for the ring to be enabled. As
   * `drain` otherwise.
   */
  discard?(queue: Virtqueue): void;
  /** A ring was stopped. Nothing of it is in flight any more. */
  stop?(queue: Virtqueue): void;
  /** A new state from the control side, see {@linkcode DeviceControl.update}. */
  update?(state: unknown): void;
  /** The thread ends: close what `open` opened. */
  [Symbol.dispose]?(): void;
}

/** Makes the data side of a device from its seed. Exported as `open` by queue.ts. */
export type OpenDataDevice = (
  seed: unknown,
  services: DataPlaneServices,
) => DataDevice;

/** How the data side of a device is reached from either plane. */
export interface DataModule {
  /** The function itself, for the inline plane, which may lack read permission. */
  readonly open: OpenDataDevice;
  /** The module that exports it as `open`, for a worker: `import.meta.resolve("./queue.ts")`. */
  readonly url: string;
}

/** What the house offers to the control side of a device. */
export interface DeviceControl {
  /** What the log calls the device, or "". */
  readonly name: string;
  /** Sends `state` (structured-cloneable) to the data side on every thread; resolves once all have it. */
  update(state: unknown): Promise<void>;
  /** Tells the front-end that the configuration space changed, where it can be told. */
  configChanged(): void;
}

/** What {@linkcode Device.resize} is asked for. */
export interface ResizeRequest {
  /** In bytes, or null: the size that the medium has by now. */
  readonly size: number | null;
  /** Whether it may become smaller, which cuts off its end. */
  readonly shrink: boolean;
}

/** The control side of an open device. */
export interface Device {
  /** The device feature bits offered, without those of rings and transport. */
  readonly features: bigint;
  /** How they are called in messages; by their numbers where not said. */
  readonly featureNames?: FeatureNames;
  /** Protocol-level `num_queues`: rings, not pairs. */
  readonly queueCount: number;
  /** The largest ring that is accepted, a power of two up to 32768. */
  readonly queueSizeMax: number;
  /** The device configuration space. */
  readonly config: ConfigSpace;
  /** The data side. */
  readonly data: DataModule;
  /** What the data side is opened with, structured-cloneable. */
  readonly seed: unknown;
  /**
   * Whether a request may be run again that was under way when this process
   * died, since once more changes nothing; false where not said. Then the
   * protocol feature INFLIGHT_SHMFD is offered.
   */
  readonly resubmits?: boolean;
  /** Whether the data side drives an io_uring; true where not said. */
  readonly usesUring?: boolean;
  /**
   * So many rings in a row share a thread, as the two of a queue pair; 1 where
   * not said. Ring `i` runs on thread `floor(i / ringsTogether) mod n`.
   */
  readonly ringsTogether?: number;
  /** Called once, before any other method. */
  attach?(control: DeviceControl): void;
  /** The driver accepted `features`; awaited before the front-end is answered. */
  negotiated?(features: bigint): Promise<void>;
  /** Bytes of `config` at `offset` were written by the driver; awaited likewise. */
  configWritten?(offset: number, size: number): Promise<void>;
  /**
   * NET_SET_MTU: the front-end's MTU, 68..65535 bytes. Where implemented, the
   * protocol feature is offered. Rejects where it can't be served.
   */
  setMtu?(mtu: number): Promise<void>;
  /**
   * SEND_RARP: the guest has moved here, and can't tell its network itself that
   * it is at `mac` (6 bytes). Where implemented, the feature is offered.
   */
  announce?(mac: Uint8Array): Promise<void>;
  /**
   * The operator wants the medium to have another size; resolves with what it
   * has, in bytes, once the driver may use it. Not implemented where there is
   * no medium that could change. Rejects with a UsageError that says what to
   * do; then nothing has changed.
   */
  resize?(wanted: ResizeRequest): Promise<number>;
  /**
   * The first ring is about to start: takes hold of what one device at a time
   * may work on. Rejects where that can't be had, and when `signal` says that it
   * is not wanted any more; then the ring does not start.
   */
  claim?(signal: AbortSignal): Promise<void>;
  /** No ring runs any more, and nothing is in flight: others may have it. */
  release?(): void;
  /**
   * The front-end moves the guest to another back-end: what that has to know of
   * this one, beyond the guest's memory and the rings, to go on unnoticed. Up
   * to 16 MiB; `encodeState` makes it safe to mistake. No ring runs. Where both
   * this and `loadState` are implemented DEVICE_STATE is offered.
   */
  saveState?(): Promise<Uint8Array>;
  /**
   * Goes on where another one was, before any ring runs. Rejects where `state`
   * is of something else, or this device can't stand in for that one: the
   * front-end is told, and nothing has changed.
   */
  loadState?(state: Uint8Array): Promise<void>;
  /** Virtio reset, or the front-end left: forget what the driver set. */
  reset?(): Promise<void>;
  /** The server ends: everything is drained. Make durable and close. */
  close(): Promise<void>;
}

/** One device of the registry: how it is named, configured and opened. */
export interface DeviceDescriptor<S extends OptionSpecs = OptionSpecs> {
  /** As on the command line. */
  readonly name: string;
  /** As in vhost-user.json. */
  readonly type: string;
  /** virtio 1.3 §5 */
  readonly virtioId: number;
  /** One line for `--help`. */
  readonly summary: string;
  /** The typed options: the command line, its help and the capabilities follow from them. */
  readonly options: S;
  /** The `features` of `--print-capabilities`. */
  readonly capabilities: readonly string[];
  /** Opens the device, or throws a SystemError or UsageError that says what to do. */
  open(options: OptionValues<S>): Promise<Device>;
}
