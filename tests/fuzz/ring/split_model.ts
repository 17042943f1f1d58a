/**
 * What a split ring is to do, virtio 1.3 §2.7, with the decisions of
 * docs/decisions/0006: a malformed chain goes back unread, a malformed ring
 * breaks.
 *
 * @module
 */
import type { DriverMemory } from "../../../src/testing/mod.ts";
import {
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT as INDIRECT,
  VIRTQ_DESC_F_NEXT as NEXT,
  VIRTQ_DESC_F_WRITE as WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
  type VirtqueueConfig,
} from "../../../src/virtqueue/mod.ts";
import { ChainModel, type Range, readDescriptor } from "./chain_model.ts";
import { ForetoldWrites } from "./foretold_writes.ts";
import type { RingModel } from "./ring_model.ts";

/** Entries of an indirect table, however small the ring is. */
const TABLE_MAX = 1024;

/** A chain that was popped, or is malformed, and is not staged yet. */
interface Held {
  readonly head: number;
  done: boolean;
  written: number;
}

/** The model of a split ring. */
export class SplitModel implements RingModel {
  broken = false;
  readonly inFlight = new Set<number>();
  malformed = 0;
  chain: ChainModel;
  head = 0;
  readonly #memory: DriverMemory;
  readonly #config: VirtqueueConfig;
  readonly #ranges: readonly Range[];
  readonly #writes: ForetoldWrites;
  readonly #limit: number;
  #next: number;
  #seen: number;
  #nextUsed: number;
  /** In the order in which they were popped. */
  #held: Held[] = [];
  #staged = 0;
  #waiting = -1;
  /** Heads popped since the last one that was pushed, or was malformed. */
  #undoable: number[] = [];

  /** Of the ring of `config` as it is opened now. */
  constructor(
    memory: DriverMemory,
    config: VirtqueueConfig,
    ranges: readonly Range[],
  ) {
    this.#memory = memory;
    this.#config = config;
    this.#ranges = ranges;
    this.#writes = new ForetoldWrites(memory);
    this.#next = config.nextAvail;
    this.#seen = config.nextAvail;
    this.#nextUsed = this.#writes.u16(config.deviceArea + 2);
    this.chain = new ChainModel(ranges);
    this.#limit = Math.max(config.size, TABLE_MAX);
  }

  pop(): boolean {
    const popped = !this.broken && this.#pop();
    this.#writes.undo();
    return popped;
  }

  canUndo(): boolean {
    return this.#undoable.length > 0;
  }

  undoPop(): void {
    const head = this.#undoable.pop()!;
    this.inFlight.delete(head);
    this.#held = this.#held.filter((held) => held.head !== head);
    this.#next = (this.#next - 1) & 0xffff;
  }

  push(head: number, written: number): void {
    this.inFlight.delete(head);
    this.#undoable = this.#undoable.slice(this.#undoable.indexOf(head) + 1);
    this.#complete(head, written);
  }

  flush(): boolean {
    const { size, driverArea, deviceArea, eventIndex } = this.#config;
    const staged = this.#staged;
    if (staged === 0) return false;
    this.#staged = 0;
    this.#writes.foretell(deviceArea + 2, 16, this.#nextUsed);
    if (!eventIndex) {
      return (this.#writes.u16(driverArea) & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0;
    }
    const event = this.#writes.u16(driverArea + 4 + 2 * size);
    const old = this.#nextUsed - staged;
    // vring_need_event() of §2.7.10.
    return ((this.#nextUsed - event - 1) & 0xffff) <
      ((this.#nextUsed - old) & 0xffff);
  }

  hasAvailable(): boolean {
    if (this.broken) return false;
    if (this.#holds(this.#waiting)) return false;
    this.#waiting = -1;
    if (this.#held.length + this.#staged >= this.#config.size) return false;
    return this.#next !== this.#seen || this.#look();
  }

  disableKicks(): void {
    if (this.broken) return;
    const { size, deviceArea, eventIndex } = this.#config;
    if (eventIndex) {
      this.#writes.foretell(
        deviceArea + 4 + 8 * size,
        16,
        (this.#next - 1) & 0xffff,
      );
    } else this.#writes.foretell(deviceArea, 16, VIRTQ_USED_F_NO_NOTIFY);
  }

  enableKicks(): boolean {
    if (this.broken) return false;
    const { size, driverArea, deviceArea, eventIndex } = this.#config;
    if (eventIndex) {
      const index = this.#writes.u16(driverArea + 2);
      this.#writes.foretell(deviceArea + 4 + 8 * size, 16, index);
    } else this.#writes.foretell(deviceArea, 16, 0);
    return this.hasAvailable();
  }

  verify(): void {
    this.#writes.verify();
  }

  #pop(): boolean {
    const { size, driverArea } = this.#config;
    while (this.#held.length + this.#staged < size) {
      if (this.#next === this.#seen && !this.#look()) return false;
      const head = this.#writes.u16(driverArea + 4 + 2 * (this.#next % size));
      if (head >= size) {
        this.broken = true;
        return false;
      }
      if (this.#holds(head)) {
        this.#waiting = head;
        return false;
      }
      this.#next = (this.#next + 1) & 0xffff;
      this.chain = new ChainModel(this.#ranges);
      this.head = head;
      this.#held.push({ head, done: false, written: 0 });
      if (this.#walk(head) && this.chain.isWhole(2 * this.#limit)) {
        this.inFlight.add(head);
        this.#undoable.push(head);
        return true;
      }
      this.malformed++;
      this.#undoable = [];
      this.#complete(head, 0);
      // A table may lie in the used ring.
      this.#writes.apply();
    }
    return false;
  }

  #look(): boolean {
    const index = this.#writes.u16(this.#config.driverArea + 2);
    const count = (index - this.#next) & 0xffff;
    if (count > this.#config.size) this.broken = true;
    if (count === 0 || this.broken) return false;
    this.#seen = index;
    return true;
  }

  /** The chain from `head` on; false where it is malformed. */
  #walk(head: number): boolean {
    const { size, descriptorArea, indirect } = this.#config;
    for (let index = head, walked = 0; walked < size; walked++) {
      const at = descriptorArea + 16 * index;
      const descriptor = readDescriptor(this.#memory, at);
      const { address, flags, next } = descriptor;
      if ((flags & INDIRECT) !== 0) {
        if (!indirect || (flags & NEXT) !== 0) return false;
        return this.#walkTable(address, descriptor.size, walked);
      }
      if (!this.chain.add(descriptor, (flags & WRITE) !== 0)) return false;
      if ((flags & NEXT) === 0) return true;
      if (next >= size) return false;
      index = next;
    }
    return false;
  }

  #walkTable(table: number, bytes: number, before: number): boolean {
    const entries = bytes / 16;
    const limit = this.#limit;
    if (entries < 1 || entries > limit || !Number.isInteger(entries)) {
      return false;
    }
    if (!this.#isMemory(table, bytes)) return false;
    for (let index = 0, walked = 0; walked < entries; walked++) {
      if (before + walked >= limit) return false;
      const descriptor = readDescriptor(this.#memory, table + 16 * index);
      const { flags, next } = descriptor;
      if ((flags & INDIRECT) !== 0) return false;
      if (!this.chain.add(descriptor, (flags & WRITE) !== 0)) return false;
      if ((flags & NEXT) === 0) return true;
      if (next >= entries) return false;
      index = next;
    }
    return false;
  }

  #isMemory(address: number, size: number): boolean {
    const chain = new ChainModel(this.#ranges);
    chain.add({ address, size, flags: 0, next: 0 }, false);
    return chain.isWhole();
  }

  #holds(head: number): boolean {
    return this.#held.some((held) => held.head === head);
  }

  /** The chain of `head` is done. With IN_ORDER it waits for those before it. */
  #complete(head: number, written: number): void {
    const chain = this.#held.find((held) => held.head === head)!;
    chain.done = true;
    chain.written = written;
    if (!this.#config.inOrder) {
      this.#held.splice(this.#held.indexOf(chain), 1);
      return this.#stage(head, written);
    }
    while (this.#held[0]?.done) {
      const { head, written } = this.#held.shift()!;
      this.#stage(head, written);
    }
  }

  /** The next used entry. */
  #stage(head: number, written: number): void {
    const { size, deviceArea } = this.#config;
    const element = deviceArea + 4 + 8 * (this.#nextUsed % size);
    this.#writes.foretell(element, 32, head);
    this.#writes.foretell(element + 4, 32, written);
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    this.#staged++;
  }
}
