/**
 * What a packed ring is to do, virtio 1.3 §2.8, with the decisions of
 * docs/decisions/0006: a malformed chain goes back unread; a ring breaks where
 * it can't be told what is to go back.
 *
 * @module
 */
import type { DriverMemory } from "../../../src/testing/mod.ts";
import {
  VIRTQ_DESC_F_INDIRECT as INDIRECT,
  VIRTQ_DESC_F_NEXT as NEXT,
  VIRTQ_DESC_F_WRITE as WRITE,
  type VirtqueueConfig,
} from "../../../src/virtqueue/mod.ts";
import { ChainModel, type Range, readDescriptor } from "./chain_model.ts";
import { ForetoldWrites } from "./foretold_writes.ts";
import type { RingModel } from "./ring_model.ts";

/** Entries of an indirect table, however small the ring is. */
const TABLE_MAX = 1024;
const AVAIL = 1 << 7;
const USED = 1 << 15;
const DISABLE = 1;
const DESC = 2;

/** A chain that the device has not published as used. */
interface Held {
  readonly head: number;
  readonly count: number;
  done: boolean;
  written: number;
}

/** A position and its wrap counter. */
class Place {
  at: number;
  wrap: boolean;

  constructor(state: number) {
    this.at = state & 0x7fff;
    this.wrap = (state & 0x8000) !== 0;
  }

  /** Goes on, or back, by `count` of `size`. */
  move(count: number, size: number): void {
    this.at += count;
    if (this.at >= 0 && this.at < size) return;
    this.at -= Math.sign(count) * size;
    this.wrap = !this.wrap;
  }

  get state(): number {
    return this.at | (this.wrap ? 0x8000 : 0);
  }
}

/** The model of a packed ring. */
export class PackedModel implements RingModel {
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
  readonly #next: Place;
  readonly #used: Place;
  /** In the order in which they were popped; not those that are staged. */
  #held: Held[] = [];
  /** Descriptors of what was given back and not yet published. */
  #staged = 0;
  #firstStaged: [address: number, word: number] = [0, 0];
  #waiting = -1;
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
    this.#limit = Math.max(config.size, TABLE_MAX);
    this.#next = new Place(config.nextAvail & 0xffff);
    this.#used = new Place(config.nextAvail >>> 16);
    this.chain = new ChainModel(ranges);
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
    const { count } = this.#held.pop()!;
    this.#next.move(-count, this.#config.size);
  }

  push(head: number, written: number): void {
    this.inFlight.delete(head);
    this.#undoable = this.#undoable.slice(this.#undoable.indexOf(head) + 1);
    this.#complete(head, written);
  }

  flush(): boolean {
    if (this.#staged === 0) return false;
    const { size, driverArea, eventIndex } = this.#config;
    const staged = this.#staged;
    this.#staged = 0;
    this.#writes.foretell(this.#firstStaged[0], 32, this.#firstStaged[1]);
    const place = this.#writes.u16(driverArea);
    const mode = this.#writes.u16(driverArea + 2) & 3;
    if (mode !== DESC || !eventIndex) return mode !== DISABLE;
    let event = place & 0x7fff;
    if ((place & 0x8000) !== 0 !== this.#used.wrap) event -= size;
    // vring_need_event() of §2.7.10, on positions.
    return ((this.#used.at - event - 1) & 0xffff) < staged;
  }

  hasAvailable(): boolean {
    if (this.broken) return false;
    if (this.#isHeld(this.#waiting)) return false;
    this.#waiting = -1;
    return this.#heldCount() < this.#config.size && this.#isAvailable();
  }

  disableKicks(): void {
    if (this.broken) return;
    this.#writes.foretell(this.#config.deviceArea, 32, DISABLE << 16);
  }

  enableKicks(): boolean {
    if (this.broken) return false;
    const { deviceArea, eventIndex } = this.#config;
    const event = eventIndex && !this.#isAvailable()
      ? DESC << 16 | this.#next.state
      : 0;
    this.#writes.foretell(deviceArea, 32, event);
    return this.hasAvailable();
  }

  verify(): void {
    this.#writes.verify();
  }

  #pop(): boolean {
    const { size } = this.#config;
    while (this.#heldCount() < size) {
      if (!this.#isAvailable()) return false;
      this.chain = new ChainModel(this.#ranges);
      const [head, count, sound] = this.#walk(size - this.#heldCount());
      if (this.broken) return false;
      if (this.#isHeld(head)) {
        this.#waiting = head;
        return false;
      }
      this.#next.move(count, size);
      this.#held.push({ head, count, done: false, written: 0 });
      this.head = head;
      if (sound && this.chain.isWhole(2 * this.#limit)) {
        this.inFlight.add(head);
        this.#undoable.push(head);
        return true;
      }
      this.malformed++;
      this.#undoable = [];
      this.#complete(head, 0);
      // A table may lie in the ring.
      this.#writes.apply();
    }
    return false;
  }

  /** The buffer id, the descriptors, and whether nothing is wrong with them. */
  #walk(limit: number): [head: number, count: number, sound: boolean] {
    const { size, descriptorArea, indirect } = this.#config;
    let sound = true;
    for (let count = 1; count <= limit; count++) {
      const at = (this.#next.at + count - 1) % size;
      const raw = readDescriptor(this.#memory, descriptorArea + 16 * at);
      // The other way round than in a split ring.
      const { flags: id, next: flags } = raw;
      if ((flags & INDIRECT) !== 0) {
        sound = sound && indirect && count === 1 && (flags & NEXT) === 0 &&
          this.#walkTable(raw.address, raw.size);
      } else sound = sound && this.chain.add(raw, (flags & WRITE) !== 0);
      if ((flags & NEXT) !== 0) continue;
      if (id >= size) break;
      return [id, count, sound];
    }
    this.broken = true;
    return [0, 0, false];
  }

  #walkTable(table: number, bytes: number): boolean {
    const entries = bytes / 16;
    if (entries < 1 || entries > this.#limit || !Number.isInteger(entries)) {
      return false;
    }
    const place = new ChainModel(this.#ranges);
    const whole = { address: table, size: bytes, flags: 0, next: 0 };
    if (!place.add(whole, false) || !place.isWhole()) return false;
    for (let i = 0; i < entries; i++) {
      const raw = readDescriptor(this.#memory, table + 16 * i);
      if (!this.chain.add(raw, (raw.next & WRITE) !== 0)) return false;
    }
    return true;
  }

  /** The chain of `head` is done. With IN_ORDER it waits for those before it. */
  #complete(head: number, written: number): void {
    const chain = this.#held.find((held) => held.head === head)!;
    chain.done = true;
    chain.written = written;
    if (!this.#config.inOrder) {
      this.#held.splice(this.#held.indexOf(chain), 1);
      return this.#stage(chain);
    }
    while (this.#held[0]?.done) this.#stage(this.#held.shift()!);
  }

  /** The next used descriptor. */
  #stage({ head, count, written }: Held): void {
    const { size, descriptorArea } = this.#config;
    const at = descriptorArea + 16 * this.#used.at;
    const owner = this.#used.wrap ? AVAIL | USED : 0;
    const flags = owner | (written > 0 ? WRITE : 0);
    const word = (flags << 16 | head) >>> 0;
    this.#writes.foretell(at + 8, 32, written);
    // The first of a batch is shown last, by flush.
    if (this.#staged === 0) this.#firstStaged = [at + 12, word];
    else this.#writes.foretell(at + 12, 32, word);
    this.#staged += count;
    this.#used.move(count, size);
  }

  #isAvailable(): boolean {
    const at = this.#config.descriptorArea + 16 * this.#next.at;
    const flags = this.#writes.u16(at + 14);
    const { wrap } = this.#next;
    return ((flags & AVAIL) !== 0) === wrap && ((flags & USED) !== 0) !== wrap;
  }

  #isHeld(head: number): boolean {
    return this.#held.some((held) => held.head === head);
  }

  /** Descriptors that are the device's. */
  #heldCount(): number {
    return this.#held.reduce((sum, { count }) => sum + count, this.#staged);
  }
}
