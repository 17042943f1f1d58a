/**
 * The rings of one thread whose addresses are I/O virtual ones: what they may
 * reach, what they ask for, and those that wait for their own areas.
 *
 * @module
 */
import { clearEventFd, signalEventFd } from "../io/event_fd.ts";
import { about, log } from "../log.ts";
import type { GuestMemory } from "../memory/guest_memory.ts";
import { Iotlb, IOTLB_READ, IOTLB_WRITE } from "../memory/iotlb.ts";
import { IovaMemory } from "../memory/iova_memory.ts";
import {
  descriptorAreaSize,
  deviceAreaSize,
  driverAreaSize,
} from "../virtqueue/layout.ts";
import type { VirtqueueConfig } from "../virtqueue/virtqueue.ts";
import type {
  EnableVring,
  IotlbMiss,
  SetNotifier,
  SetUsedLog,
  StartVring,
  UpdateIotlb,
} from "./command.ts";

const BOTH = IOTLB_READ | IOTLB_WRITE;
/** Bytes of each event area of a packed ring (virtio 1.3 §2.8.10). */
const EVENT_AREA_SIZE = 4;

/** One part of a ring: where it is and what is done there. */
type Area = readonly [address: number, size: number, permissions: number];

/** Tells the front-end what is missing. */
export type TellMiss = (miss: IotlbMiss) => void;

/** One ring behind the IOMMU. */
interface VirtualRing {
  /** What it was started with, or is to be started with again. */
  start: StartVring;
  memory: IovaMemory;
  /** Whether it waits for its areas to be mapped. */
  waiting: boolean;
  /** Whether it asks for them, or waits until there is something to do. */
  asking: boolean;
}

/** The rings behind an IOMMU, and the mappings that this thread knows. */
export class VirtualRings implements Disposable {
  /** How the front-end is told; nobody is while it is null. */
  tellMiss: TellMiss | null = null;
  readonly #iotlb: Iotlb;
  readonly #rings: VirtualRing[] = [];
  #memory: GuestMemory;
  /** What rings used that were not told of the new memory yet. */
  #replaced: IovaMemory[] = [];

  /** None yet, over `memory`. */
  constructor(memory: GuestMemory) {
    this.#memory = memory;
    this.#iotlb = new Iotlb(memory);
  }

  /** Whether there are any. */
  get any(): boolean {
    return this.#rings.length > 0;
  }

  /** The starts of the rings that wait. */
  get waiting(): StartVring[] {
    return this.#rings.filter(({ waiting }) => waiting)
      .map(({ start }) => start);
  }

  /**
   * Takes on the ring of `start`: the memory to open it in, or null where it
   * has to wait for its areas.
   */
  admit(start: StartVring): IovaMemory | null {
    const { index } = start.config;
    this.remove(index);
    const memory = new IovaMemory(this.#memory, this.#iotlb);
    const ring = { start, memory, waiting: true, asking: true };
    this.#rings.push(ring);
    return this.#tryRing(ring);
  }

  /** Ring `index`, which waits: as `admit`, once something has changed. */
  retry(index: number): IovaMemory | null {
    return this.#tryRing(this.#ring(index)!);
  }

  /** Whether ring `index` waits for its areas. */
  isWaiting(index: number): boolean {
    return this.#ring(index)?.waiting ?? false;
  }

  /** What ring `index`, a virtual one, was or is to be started with. */
  startOf(index: number): StartVring {
    return this.#ring(index)!.start;
  }

  /** The memory of ring `index` where it is a virtual one, else null. */
  memoryOf(index: number): IovaMemory | null {
    return this.#ring(index)?.memory ?? null;
  }

  /** A ring that waits will be started as `command` says. */
  adjust(command: EnableVring | SetNotifier | SetUsedLog): void {
    const ring = this.#ring(command.index);
    if (ring === null) return;
    const { start } = ring;
    if (command.kind === "enableVring") {
      ring.start = { ...start, enabled: command.enabled };
    } else if (command.kind === "setErr") {
      ring.start = { ...start, errFd: command.fd };
    } else if (command.kind === "setUsedLog") {
      const config = { ...start.config, usedLog: command.address };
      ring.start = { ...start, config };
    } else ring.start = { ...start, callFd: command.fd };
  }

  /**
   * Ring `index` has to wait, and then goes on from `nextAvail`. It asks for
   * its areas at once where it `asks`, else at the next kick: the driver may be
   * done with it, and a question about what is gone is a fault in its log.
   */
  suspend(
    index: number,
    nextAvail: number,
    change: Pick<StartVring, "enabled" | "callFd" | "errFd">,
    asks: boolean,
  ): void {
    const ring = this.#ring(index)!;
    ring.asking = asks || ring.start.kickFd < 0;
    const config = { ...ring.start.config, nextAvail };
    ring.start = { ...ring.start, ...change, config };
    ring.waiting = true;
    ring.memory.release();
  }

  /** Ring `index` is broken, and looks at nothing until it ends. */
  abandon(index: number): void {
    this.#ring(index)!.memory.release();
  }

  /** Ring `index` has its areas and can't be opened in them: why. */
  fail(index: number, error: Error): void {
    const ring = this.#ring(index)!;
    ring.waiting = true;
    ring.memory.release();
    report(ring.start, error.message);
  }

  /** Ring `index` ends: what it was last to be started with. */
  remove(index: number): StartVring | null {
    const at = this.#rings.findIndex(({ start }) =>
      start.config.index === index
    );
    if (at < 0) return null;
    const { start, memory } = this.#rings.splice(at, 1)[0]!;
    memory.release();
    return start;
  }

  /** Whether all areas of ring `index` are mapped; asks for what is not. */
  isMapped(index: number): boolean {
    const { start, memory } = this.#ring(index)!;
    return areasOf(start.config).every((area) => memory.demand(...area));
  }

  /** Whether an area of ring `index` has bytes in the range. */
  touches(index: number, iova: number, size: number): boolean {
    const ring = this.#ring(index);
    if (ring === null) return false;
    return areasOf(ring.start.config).some(([address, bytes]) =>
      address < iova + size && iova < address + bytes
    );
  }

  /** Whether requests in flight may use what lies in the range. */
  minds(iova: number, size: number): boolean {
    if (this.#iotlb.evicted || this.#iotlb.overlaps(iova, size)) return true;
    return this.#rings.some(({ start }) =>
      this.touches(start.config.index, iova, size)
    );
  }

  /** Whether `entry` contradicts nothing that requests in flight may use. */
  agrees({ iova, size, userAddress, permissions }: UpdateIotlb): boolean {
    const table = this.#iotlb;
    if (table.evicted && table.overlaps(iova, size)) return false;
    return table.agrees(iova, size, userAddress, permissions);
  }

  /** The front-end maps a range. */
  update({ iova, size, userAddress, permissions }: UpdateIotlb): void {
    this.#iotlb.update(iova, size, userAddress, permissions);
    for (const ring of this.#rings) {
      ring.memory.answer(iova, size, permissions);
    }
  }

  /** The front-end unmaps a range. Nothing in flight uses it. */
  invalidate(iova: number, size: number): void {
    this.#iotlb.invalidate(iova, size);
  }

  /** The front-end has no mapping for what was asked. */
  refuse(iova: number, permissions: number): void {
    for (const ring of this.#rings) ring.memory.refuse(iova, permissions);
  }

  /** Goes over to `memory`: every ring gets its own anew. Then `forget`. */
  setMemory(memory: GuestMemory): void {
    this.#memory = memory;
    this.#iotlb.setMemory(memory);
    for (const ring of this.#rings) {
      this.#replaced.push(ring.memory);
      ring.memory = new IovaMemory(memory, this.#iotlb);
    }
  }

  /** No ring uses the memory any more that was there before `setMemory`. */
  forget(): void {
    for (const memory of this.#replaced) memory.release();
    this.#replaced = [];
  }

  /** No ring runs any more. */
  [Symbol.dispose](): void {
    this.forget();
    for (const { memory } of this.#rings) memory.release();
  }

  /** Tells the front-end what was asked for and not told yet. */
  tell(): void {
    const rings = this.#rings;
    for (let i = 0; i < rings.length; i++) {
      const ring = rings[i]!;
      if (ring.waiting && !ring.asking) this.#lookForKick(ring);
      const memory = ring.memory;
      while (memory.sentCount < memory.questionCount) {
        const at = memory.sentCount++;
        this.tellMiss?.({
          iova: memory.questionAddresses[at]!,
          permissions: memory.questionPermissions[at]!,
        });
      }
    }
  }

  /** A ring that waits in silence has something to do. */
  #lookForKick(ring: VirtualRing): void {
    if (clearEventFd(ring.start.kickFd) === 0) return;
    ring.asking = true;
    this.isMapped(ring.start.config.index);
  }

  #ring(index: number): VirtualRing | null {
    const rings = this.#rings;
    for (let i = 0; i < rings.length; i++) {
      if (rings[i]!.start.config.index === index) return rings[i]!;
    }
    return null;
  }

  #tryRing(ring: VirtualRing): IovaMemory | null {
    const { config } = ring.start;
    const isMapped = ring.asking
      ? this.isMapped(config.index)
      : areasOf(config).every((area) => ring.memory.covers(...area));
    if (isMapped) {
      ring.waiting = false;
      return ring.memory;
    }
    if (ring.asking && !ring.memory.missed) {
      report(
        ring.start,
        "The front-end's IOMMU does not let the device reach it",
      );
    }
    return null;
  }
}

/** Ring `start` does not start. */
function report(start: StartVring, reason: string): void {
  const { name = "", config, errFd } = start;
  log.warn(`${about(name)}Ring ${config.index} can't start: ${reason}`);
  if (errFd >= 0) signalEventFd(errFd);
}

/** The parts of the ring that `config` describes. */
function areasOf(config: VirtqueueConfig): Area[] {
  const { size, descriptorArea, driverArea, deviceArea, eventIndex } = config;
  if (config.packed) {
    return [
      [descriptorArea, descriptorAreaSize(size), BOTH],
      [driverArea, EVENT_AREA_SIZE, IOTLB_READ],
      [deviceArea, EVENT_AREA_SIZE, BOTH],
    ];
  }
  return [
    [descriptorArea, descriptorAreaSize(size), IOTLB_READ],
    [driverArea, driverAreaSize(size, eventIndex), IOTLB_READ],
    [deviceArea, deviceAreaSize(size, eventIndex), BOTH],
  ];
}
