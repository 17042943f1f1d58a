/**
 * A live ring, whatever its kind.
 *
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";
import type { Chain } from "./chain.ts";
import type { InflightArea } from "./inflight.ts";

/** A ring as it is to be run. Structured-cloneable. */
export interface VirtqueueConfig {
  /** Of the ring in its device, from 0. */
  index: number;
  /** Entries. */
  size: number;
  /** The descriptor table, guest address (virtio 1.3 §2.7.5). */
  descriptorArea: number;
  /** The available ring (§2.7.6) or driver event area, guest address. */
  driverArea: number;
  /** The used ring (§2.7.8) or device event area, guest address. */
  deviceArea: number;
  /**
   * Where to go on, as SET_VRING_BASE has it: of a split ring the available
   * index, 0..65535; of a packed one 32 bits, see `RING_START`.
   */
  nextAvail: number;
  /** VIRTIO_F_RING_PACKED was negotiated. */
  packed?: boolean;
  /** VIRTIO_F_IN_ORDER was negotiated. */
  inOrder?: boolean;
  /** VIRTIO_F_EVENT_IDX was negotiated. */
  eventIndex: boolean;
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  indirect: boolean;
  /** Where to record what is in flight, and what may be recorded; else nowhere. */
  inflight?: InflightArea | null;
  /** As `setUsedLog`; not logged where it is not said. */
  usedLog?: number;
}

/**
 * The device side of a live ring. Nothing here throws whatever the driver does:
 * a chain that is malformed is given back with 0 bytes written, a ring that is
 * malformed breaks and stays so. Misuse by a device does throw.
 *
 * @example A device that waits until there are two chains
 * ```ts
 * import { FakeDriver } from "@ringside/ringside/testing";
 * import { assertEquals } from "@std/assert";
 *
 * using fake = FakeDriver.over(() => ({
 *   drain(queue) {
 *     while (queue.pop()) {
 *       const first = queue.chain.head;
 *       if (!queue.pop()) return queue.undoPop();
 *       queue.push(queue.chain.head, 0);
 *       queue.push(first, 0);
 *     }
 *   },
 * }));
 * const { queue, requests } = fake.rings[0]!;
 * const asked = [1, 2, 3].map((room) => requests.stage([{ room }]));
 * requests.publish();
 * fake.settle();
 * assertEquals([queue.inFlight, queue.nextAvail], [0, 2]);
 * requests.collect();
 * assertEquals(asked.map(({ written }) => written), [0, 0, -1]);
 * ```
 */
export interface Virtqueue {
  /** Of the ring in its device, from 0. */
  readonly index: number;
  /** Entries. */
  readonly size: number;
  /** What the last successful `pop` found; valid until the next one. */
  readonly chain: Chain;
  /** "" while the ring is sound, afterwards the reason why it no longer is. */
  readonly broken: string;
  /** Chains popped and not yet pushed. */
  readonly inFlight: number;
  /** Chains given back unread because they were malformed. */
  readonly malformed: number;
  /**
   * What `pop` takes next, 0..65535: the available index, or the position of a
   * packed ring with its wrap counter in bit 15.
   */
  readonly nextAvail: number;
  /**
   * Chains that an earlier process had in flight and that `pop` gives first.
   * They have to be popped before the ring can be stopped.
   */
  readonly recovered: number;
  /** Where to go on once nothing is in flight, as in the configuration. */
  readonly resumeAt: number;

  /**
   * Takes the next chain. False when there is none, when the ring is broken,
   * or when the driver published more than the ring holds: then the rest comes
   * after a `flush` or, where it names a chain in flight, after its `push`.
   */
  pop(): boolean;
  /**
   * Puts the chain back that the last `pop` took, to be popped again. Called
   * again, the one before it: as long as none of them was pushed, and nothing
   * was given back unread in between (see `malformed`).
   */
  undoPop(): void;
  /**
   * Gives the chain at `head` back. `written` bytes, counted from the first
   * writable one, are the driver's to read; never overstate them. The driver
   * sees it after the next `flush`.
   */
  push(head: number, written: number): void;
  /** Publishes what was pushed. True when the driver wants to be called. */
  flush(): boolean;
  /** Whether `pop` is worth a try. */
  hasAvailable(): boolean;
  /** Asks the driver for no kicks, for as long as it is polled. */
  disableKicks(): void;
  /** Asks the driver for kicks; true when there is something already. */
  enableKicks(): boolean;
  /**
   * From now on writes to the used ring are logged as if it were at guest
   * address `address`, where the memory has a log; -1: they are not.
   */
  setUsedLog(address: number): void;
  /**
   * Goes on in `memory`, while nothing is in flight and all is flushed. False
   * when the ring no longer fits: then it is broken.
   */
  setMemory(memory: GuestMemory): boolean;
}
