// Data plane: the rings of one thread.
/**
 * @module
 */
import { clearEventFd } from "../io/event_fd.ts";
import type { IoUring } from "../io/io_uring.ts";
import type {
  DataDevice,
  DataPlaneServices,
  OpenDataDevice,
} from "../device/device.ts";
import { GuestMemory, type MemoryLayout } from "../memory/guest_memory.ts";
import type { openVirtqueue } from "../virtqueue/open.ts";
import type { Virtqueue } from "../virtqueue/virtqueue.ts";
import type {
  Command,
  InvalidateIotlb,
  RingCounters,
  StartVring,
  UpdateIotlb,
} from "./command.ts";
import { LiveRing } from "./live_ring.ts";
import { type TellMiss, VirtualRings } from "./virtual_rings.ts";
import { EpollWaiter, UringWaiter, type Waiter } from "./waiter.ts";

/** Completions taken in one go. */
const REAP_LIMIT = 4096;
/**
 * The fewest requests that are handed over by themselves while more are there.
 * A system call is 0.2 us, a read of 4 KiB from the page cache 1.
 */
const PART_MIN = 4;

/** What a device gets, whose memory is replaced here. */
type Services = DataPlaneServices & { memory: GuestMemory };

/** Opens a ring; who makes the plane says where that comes from. */
export type OpenRing = typeof openVirtqueue;

/** Answers a command: the number it asked for, or what went wrong. */
export type Answer = (
  result: number,
  error?: Error,
  rings?: RingCounters[],
) => void;

/**
 * Runs the rings of one thread. Commands come between turns, on the same
 * thread; one that has to wait for requests in flight is answered by a later
 * turn.
 */
export class DataPlane implements Disposable {
  readonly waiter: Waiter;
  readonly #services: Services;
  readonly #device: DataDevice;
  readonly #uring: IoUring | null;
  readonly #openRing: OpenRing;
  /** By ring index; null where no ring runs. */
  readonly #rings: (LiveRing | null)[];
  /** The rings that run, without holes. */
  #active: LiveRing[] = [];
  /** How many rings wait for their requests in flight before they stop. */
  #stopping = 0;
  /** How many rings have no kick descriptor and must be looked at for ever. */
  #polled = 0;
  /** What waits until nothing is in flight. */
  #changes: (() => void)[] = [];
  readonly #virtual: VirtualRings;

  /**
   * Opens the device's data side for rings below `ringCount`, which `openRing`
   * opens as they start.
   */
  constructor(
    open: OpenDataDevice,
    seed: unknown,
    uring: IoUring | null,
    ringCount: number,
    openRing: OpenRing,
  ) {
    this.#uring = uring;
    this.#openRing = openRing;
    this.#rings = new Array<LiveRing | null>(ringCount).fill(null);
    this.waiter = uring === null
      ? new EpollWaiter(ringCount)
      : new UringWaiter(uring, ringCount);
    const { waiter } = this;
    this.#services = {
      memory: new GuestMemory({ generation: 0, regions: [] }),
      uring,
      watch: (fd, source, writable = false) =>
        waiter.watchSource(fd, source, writable),
      unwatch: (fd) => waiter.unwatchSource(fd),
    };
    this.#virtual = new VirtualRings(this.#services.memory);
    this.#device = open(seed, this.#services);
  }

  /** How the front-end is told of mappings that are missing. */
  set tellMiss(tell: TellMiss) {
    this.#virtual.tellMiss = tell;
  }

  /**
   * Takes what is there, once: pops, submits, completes, publishes, calls.
   * Returns how much there was; 0 means that nothing moved.
   */
  turn(): number {
    let work = 0;
    const active = this.#active;
    if (this.#changes.length === 0) {
      for (let i = 0; i < active.length; i++) {
        const ring = active[i]!;
        if (!ring.isServed || !ring.queue.hasAvailable()) continue;
        const before = ring.queue.nextAvail;
        if (ring.enabled) this.#device.drain(ring.queue);
        else this.#device.discard!(ring.queue);
        // What the device leaves because it waits for something is no work.
        if (ring.queue.nextAvail !== before) work++;
      }
    }
    if (this.#uring !== null) work += this.#handOver(this.#uring);
    this.#flush();
    if (this.#stopping > 0) this.#tryStops();
    if (this.#changes.length > 0) this.#tryChanges();
    if (this.#virtual.any) this.#virtual.tell();
    return work;
  }

  /**
   * Hands over what the devices have prepared, a part at a time while the
   * kernel does it at once, as it does from its page cache: the driver gets what
   * is done while the rest is being done. One that sleeps is called with the
   * first part, so that it wakes up meanwhile. Returns how much is complete.
   */
  #handOver(uring: IoUring): number {
    // Not what is prepared meanwhile: other rings and commands wait, too.
    let left = uring.pending;
    const part = left >> 2 > PART_MIN ? left >> 2 : PART_MIN;
    let work = 0;
    for (; left > part; left -= part) {
      uring.submit(part);
      const done = uring.reap(REAP_LIMIT);
      work += done;
      // The kernel needs time: the sooner it has all of it the better.
      if (done < part) break;
      this.#flush();
    }
    if (uring.pending > 0) uring.submit();
    return work + uring.reap(REAP_LIMIT);
  }

  /** Publishes what is done, and calls the drivers that want that. */
  #flush(): void {
    const active = this.#active;
    for (let i = 0; i < active.length; i++) active[i]!.flush();
  }

  /**
   * Asks for kicks on all rings, then looks once more. False where there was
   * something to do.
   */
  arm(): boolean {
    if (this.#polled > 0) return false;
    const active = this.#active;
    for (let i = 0; i < active.length; i++) {
      const { isServed, queue } = active[i]!;
      if (isServed && !this.#isLeft(queue)) queue.enableKicks();
    }
    if (this.turn() === 0) return true;
    this.disarm();
    return false;
  }

  /** Asks for no kicks while the thread looks at the rings by itself. */
  disarm(): void {
    const active = this.#active;
    for (let i = 0; i < active.length; i++) {
      if (active[i]!.isServed) active[i]!.queue.disableKicks();
    }
  }

  /** Runs one command and answers it, at once or from a later turn. */
  run(command: Command, answer: Answer): void {
    try {
      switch (command.kind) {
        case "startVring":
          this.#startVring(command);
          return answer(0);
        case "stopVring":
          return this.#stopVring(command.index, answer);
        case "setMemory":
          return this.#setMemory(command.layout, answer);
        case "updateIotlb":
          return this.#updateIotlb(command, answer);
        case "invalidateIotlb":
          return this.#invalidateIotlb(command, answer);
        case "refuseIotlb":
          this.#virtual.refuse(command.iova, command.permissions);
          this.#retryWaiting();
          return answer(0);
        case "update":
          this.#device.update?.(command.state);
          return answer(0);
        case "inspect":
          return answer(0, undefined, this.inspect());
        case "close":
          this[Symbol.dispose]();
          return answer(0);
        default:
          this.#adjust(command);
          return answer(0);
      }
    } catch (error) {
      answer(0, error as Error);
    }
  }

  /** What the rings that run have done. */
  inspect(): RingCounters[] {
    return this.#active.map(({ queue, calls }) => ({
      index: queue.index,
      inFlight: queue.inFlight,
      malformed: queue.malformed,
      calls,
      broken: queue.broken,
    }));
  }

  /** Ends the device's data side and closes the waiting place. */
  [Symbol.dispose](): void {
    this.#device[Symbol.dispose]?.();
    this.#virtual[Symbol.dispose]();
    this.waiter[Symbol.dispose]();
    this.#uring?.[Symbol.dispose]();
  }

  #startVring(start: StartVring): void {
    if (!start.virtual) return this.#open(start, this.#services.memory);
    const memory = this.#virtual.admit(start);
    if (memory !== null) this.#open(start, memory);
  }

  #open(start: StartVring, memory: GuestMemory): void {
    const index = start.config.index;
    const queue = this.#openRing(start.config, memory);
    const ring = new LiveRing(
      queue,
      start.callFd,
      start.errFd,
      this.#device.discard !== undefined,
      start.name,
    );
    this.#device.start?.(queue);
    if (start.enabled) this.#enable(ring, true);
    this.#rings[index] = ring;
    this.#list();
    if (start.kickFd >= 0) this.waiter.watch(index, start.kickFd);
    else this.#polled++;
    ring.polled = start.kickFd < 0;
    queue.disableKicks();
    // A previous life of the ring may have left the driver without its call.
    ring.call();
  }

  #stopVring(index: number, answer: Answer): void {
    if (this.#virtual.isWaiting(index)) {
      this.waiter.unwatch(index);
      return answer(this.#virtual.remove(index)!.config.nextAvail);
    }
    const ring = this.#rings[index];
    if (ring == null) {
      return answer(0, new Error(`Ring ${index} is not running`));
    }
    if (ring.stopped !== null) {
      return answer(0, new Error(`Ring ${index} is being stopped already`));
    }
    ring.stopped = answer;
    this.#stopping++;
    this.waiter.unwatch(index);
    this.#tryStops();
  }

  #tryStops(): void {
    for (const ring of this.#active) {
      if (ring.stopped !== null && ring.isDrained) this.#end(ring);
    }
  }

  #end(ring: LiveRing): void {
    ring.flush();
    // Whoever runs the ring next must be kicked.
    if (ring.queue.broken === "") ring.queue.enableKicks();
    this.#device.stop?.(ring.queue);
    this.#rings[ring.queue.index] = null;
    this.#virtual.remove(ring.queue.index);
    this.#list();
    this.#stopping--;
    if (ring.polled) this.#polled--;
    ring.stopped!(ring.queue.resumeAt);
  }

  #setMemory(layout: MemoryLayout, answer: Answer): void {
    this.#whenIdle(() => {
      this.#swapMemory(new GuestMemory(layout));
      answer(0);
    });
  }

  /** Does `change` once no request, of any ring, refers to guest memory. */
  #whenIdle(change: () => void): void {
    this.#changes.push(change);
    this.#tryChanges();
  }

  #tryChanges(): void {
    for (const ring of this.#active) if (ring.queue.inFlight > 0) return;
    this.#flush();
    for (const change of this.#changes.splice(0)) change();
  }

  #swapMemory(memory: GuestMemory): void {
    const old = this.#services.memory;
    this.#services.memory = memory;
    this.#virtual.setMemory(memory);
    for (const ring of this.#active) {
      const { index } = ring.queue;
      const virtual = this.#virtual.memoryOf(index);
      if (virtual === null) ring.queue.setMemory(memory);
      else if (this.#virtual.isMapped(index)) ring.queue.setMemory(virtual);
      else this.#suspend(ring);
    }
    old.forget();
    this.#virtual.forget();
    this.#retryWaiting();
  }

  #updateIotlb(entry: UpdateIotlb, answer: Answer): void {
    const update = () => {
      this.#virtual.update(entry);
      this.#retryWaiting();
      answer(0);
    };
    if (this.#virtual.agrees(entry)) return update();
    this.#whenIdle(() => {
      this.#unmap(entry.iova, entry.size);
      update();
    });
  }

  #invalidateIotlb({ iova, size }: InvalidateIotlb, answer: Answer): void {
    if (!this.#virtual.minds(iova, size)) return answer(0);
    this.#whenIdle(() => {
      this.#unmap(iova, size);
      answer(0);
    });
  }

  /** What is in the range is gone; nothing in flight uses it. */
  #unmap(iova: number, size: number): void {
    this.#virtual.invalidate(iova, size);
    for (const ring of this.#active) {
      if (!this.#virtual.touches(ring.queue.index, iova, size)) continue;
      this.#suspend(ring);
    }
  }

  /** A ring behind an IOMMU has lost its areas: it waits until it has them. */
  #suspend(ring: LiveRing): void {
    const { queue, enabled, callFd, errFd } = ring;
    const { index } = queue;
    // It looks at nothing any more, and must not come back sound.
    if (queue.broken !== "") return this.#virtual.abandon(index);
    const { kickFd } = this.#virtual.startOf(index);
    // What is kicked for from here on is seen, and what is there already.
    if (kickFd >= 0) clearEventFd(kickFd);
    const asks = queue.chain.missed || queue.enableKicks();
    this.#device.stop?.(queue);
    this.#rings[index] = null;
    this.#list();
    if (ring.polled) this.#polled--;
    const change = { enabled, callFd, errFd };
    this.#virtual.suspend(index, queue.resumeAt, change, asks);
    if (asks) this.#retry(this.#virtual.startOf(index));
  }

  /** Starts the rings that have waited for what is mapped now. */
  #retryWaiting(): void {
    for (const start of this.#virtual.waiting) this.#retry(start);
    this.#virtual.tell();
  }

  #retry(start: StartVring): void {
    const memory = this.#virtual.retry(start.config.index);
    if (memory === null) return;
    this.waiter.unwatch(start.config.index);
    try {
      this.#open(start, memory);
    } catch (error) {
      // It stays as it is until it is stopped: nobody waits for an answer.
      this.#virtual.fail(start.config.index, error as Error);
    }
  }

  #adjust(
    command: Exclude<
      Command,
      {
        kind:
          | "startVring"
          | "stopVring"
          | "setMemory"
          | "updateIotlb"
          | "invalidateIotlb"
          | "refuseIotlb"
          | "update"
          | "inspect"
          | "close";
      }
    >,
  ): void {
    const ring = this.#rings[command.index];
    if (ring == null) return this.#virtual.adjust(command);
    if (command.kind === "enableVring") this.#enable(ring, command.enabled);
    else if (command.kind === "setErr") ring.errFd = command.fd;
    else if (command.kind === "setUsedLog") {
      ring.queue.setUsedLog(command.address);
    } else {
      ring.callFd = command.fd;
      ring.call();
    }
  }

  /** Whether more chains would not make the device take those that it left. */
  #isLeft(queue: Virtqueue): boolean {
    if (!queue.hasAvailable()) return false;
    return this.#device.wantsMore === undefined ||
      !this.#device.wantsMore(queue);
  }

  #enable(ring: LiveRing, enabled: boolean): void {
    if (ring.enabled === enabled) return;
    ring.enabled = enabled;
    this.#device.enable?.(ring.queue, enabled);
  }

  #list(): void {
    this.#active = this.#rings.filter((ring) => ring !== null);
  }
}
