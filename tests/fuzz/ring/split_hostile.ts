/**
 * A hostile driver of a split ring.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import {
  DriverMemory,
  type Prng,
  SplitDriver,
} from "../../../src/testing/mod.ts";
import {
  type GuestMemory,
  SplitVirtqueue,
  VIRTQ_DESC_F_NEXT as NEXT,
  type Virtqueue,
  type VirtqueueConfig,
} from "../../../src/virtqueue/mod.ts";
import type { Hostile } from "./duel.ts";
import {
  anyDescriptor,
  REGIONS,
  scribble,
  soundChain,
  TABLE_ENTRIES,
} from "./garbage.ts";
import type { RingModel } from "./ring_model.ts";
import { sound } from "./sound.ts";
import { SplitModel } from "./split_model.ts";

/** What it changes. */
export const SPLIT_MUTATIONS = [
  "descriptor",
  "chain",
  "table descriptor",
  "table chain",
  "descriptor bytes",
  "available bytes",
  "used bytes",
  "table bytes",
] as const;

/** Drives one split ring as it should not be. */
export class SplitHostile implements Hostile {
  readonly memory = DriverMemory.plain(REGIONS);
  readonly #driver: SplitDriver;
  readonly #size: number;
  readonly #table: number;
  readonly #features: {
    eventIndex: boolean;
    indirect: boolean;
    inOrder: boolean;
  };

  /** A ring of `shape`. */
  constructor(shape: Readonly<Record<string, number>>) {
    this.#size = 1 << shape.sizeBits!;
    this.#features = {
      eventIndex: shape.eventIndex === 1,
      indirect: shape.indirect === 1,
      inOrder: shape.inOrder === 1,
    };
    const base = shape.base!;
    const options = { ...this.#features, base, region: 0 };
    this.#driver = new SplitDriver(this.memory, this.#size, options);
    this.#table = this.memory.allocate(16 * TABLE_ENTRIES, 16, 3);
  }

  mutate(kind: string, prng: Prng): number {
    const { descriptorArea, driverArea, deviceArea } = this.#driver;
    const size = this.#size;
    switch (kind === "any" ? prng.pick(SPLIT_MUTATIONS) : kind) {
      case "descriptor":
        return this.#lay(descriptorArea, prng.below(size), size, prng);
      case "table descriptor":
        return this.#lay(
          this.#table,
          prng.below(TABLE_ENTRIES),
          TABLE_ENTRIES,
          prng,
        );
      case "chain":
        return this.#layChain(prng, descriptorArea, size);
      case "table chain":
        return this.#layChain(prng, this.#table, TABLE_ENTRIES);
      case "descriptor bytes":
        scribble(this.memory, prng, descriptorArea, 16 * size);
        return 1;
      case "available bytes":
        // Not the index, which would break the ring each time: see publish.
        scribble(this.memory, prng, driverArea + 4, 2 * size + 2);
        return 1;
      case "used bytes":
        scribble(this.memory, prng, deviceArea, 8 * size + 6);
        return 1;
      default:
        scribble(this.memory, prng, this.#table, 16 * TABLE_ENTRIES);
        return 1;
    }
  }

  publish(prng: Prng): void {
    const driver = this.#driver;
    if (prng.oneIn(500)) return driver.rawAvailableIndex(prng.next() & 0xffff);
    const count = 1 + prng.below(this.#size);
    for (let i = 0; i < count; i++) {
      const wild = prng.oneIn(2000);
      driver.rawAvailable(wild ? prng.next() : prng.below(this.#size));
    }
    driver.publish();
  }

  restart(queue: Virtqueue | null, prng: Prng): VirtqueueConfig {
    const config = this.#driver.config();
    if (queue === null) return config;
    if (queue.broken === "") return { ...config, nextAvail: queue.nextAvail };
    const nextAvail = prng.next() & 0xffff;
    this.#driver.rawAvailableIndex(nextAvail);
    return { ...config, nextAvail };
  }

  open(config: VirtqueueConfig, guest: GuestMemory): Virtqueue {
    return SplitVirtqueue.open(config, guest);
  }

  foretell(config: VirtqueueConfig): RingModel {
    return new SplitModel(this.memory, config, REGIONS);
  }

  soundness(guest: GuestMemory): void {
    const options = { ...this.#features, region: 0 };
    const driver = new SplitDriver(this.memory, this.#size, options);
    const queue = SplitVirtqueue.open(driver.config(), guest);
    sound(this.memory, driver, queue, this.#features.indirect);
    assert(!queue.pop());
    assertEquals(queue.broken, "");
  }

  #lay(table: number, index: number, entries: number, prng: Prng): number {
    const raw = anyDescriptor(prng, entries, this.#table);
    this.#driver.rawDescriptor(index, raw, table);
    return 1;
  }

  /** Lays a sound chain of any length in the table at `table`. */
  #layChain(prng: Prng, table: number, entries: number): number {
    const first = prng.oneIn(2) ? 0 : prng.below(entries);
    const count = 1 + prng.below(Math.min(entries - first, 12));
    for (const [i, raw] of soundChain(prng, count).entries()) {
      if (i < count - 1) raw.flags |= NEXT;
      raw.next = first + i + 1;
      this.#driver.rawDescriptor(first + i, raw, table);
    }
    return count;
  }
}
