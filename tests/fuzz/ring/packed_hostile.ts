/**
 * A hostile driver of a packed ring.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { DriverMemory, type Prng } from "../../../src/testing/mod.ts";
import { PackedDriver } from "../../../src/testing/packed_driver.ts";
import {
  type GuestMemory,
  openVirtqueue,
  VIRTQ_DESC_F_AVAIL as AVAIL,
  VIRTQ_DESC_F_NEXT as NEXT,
  VIRTQ_DESC_F_USED as USED,
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
import { PackedModel } from "./packed_model.ts";
import type { RingModel } from "./ring_model.ts";
import { sound } from "./sound.ts";

/** What it changes. */
export const PACKED_MUTATIONS = [
  "descriptor",
  "descriptor",
  "table descriptor",
  "table chain",
  "descriptor bytes",
  "driver event",
  "device event",
  "table bytes",
] as const;

/** The chains that are published at once, at most. */
const CHAINS_MAX = 5;

/** Drives one packed ring as it should not be. */
export class PackedHostile implements Hostile {
  readonly memory = DriverMemory.plain(REGIONS);
  readonly #driver: PackedDriver;
  readonly #size: number;
  readonly #table: number;
  readonly #features: {
    eventIndex: boolean;
    indirect: boolean;
    inOrder: boolean;
  };

  /** A ring of `shape`. */
  constructor(shape: Readonly<Record<string, number>>) {
    this.#size = 1 + shape.size!;
    this.#features = {
      eventIndex: shape.eventIndex === 1,
      indirect: shape.indirect === 1,
      inOrder: shape.inOrder === 1,
    };
    const base = this.#stateOf(shape.base!) & 0xffff;
    const options = { ...this.#features, base, region: 0 };
    this.#driver = new PackedDriver(this.memory, this.#size, options);
    this.#table = this.memory.allocate(16 * TABLE_ENTRIES, 16, 3);
  }

  mutate(kind: string, prng: Prng): number {
    const { descriptorArea, driverArea, deviceArea } = this.#driver;
    const size = this.#size;
    switch (kind === "any" ? prng.pick(PACKED_MUTATIONS) : kind) {
      case "descriptor": {
        const raw = anyDescriptor(prng, size, this.#table);
        if (!prng.oneIn(5)) raw.flags |= prng.pick([AVAIL, USED]);
        this.#driver.rawDescriptor(prng.below(size), raw);
        return 1;
      }
      case "table descriptor": {
        const raw = anyDescriptor(prng, size, this.#table);
        const at = prng.below(TABLE_ENTRIES);
        this.#driver.rawDescriptor(at, raw, this.#table);
        return 1;
      }
      case "table chain": {
        const chain = soundChain(prng, 1 + prng.below(12));
        for (const [i, raw] of chain.entries()) {
          this.#driver.rawDescriptor(i, raw, this.#table);
        }
        return chain.length;
      }
      case "descriptor bytes":
        scribble(this.memory, prng, descriptorArea, 16 * size);
        return 1;
      case "driver event":
        this.#driver.rawDriverEvent(
          prng.below(4),
          prng.oneIn(3) ? prng.next() & 0xffff : this.#place(prng),
        );
        return 1;
      case "device event":
        scribble(this.memory, prng, prng.pick([driverArea, deviceArea]), 4);
        return 1;
      default:
        scribble(this.memory, prng, this.#table, 16 * TABLE_ENTRIES);
        return 1;
    }
  }

  /** Lays chains where the device looks next, in the order of a driver. */
  publish(prng: Prng, queue: Virtqueue): void {
    let at = queue.nextAvail & 0x7fff;
    let wrap = (queue.nextAvail & 0x8000) !== 0;
    const chains = 1 + prng.below(CHAINS_MAX);
    for (let i = 0; i < chains; i++) {
      const wild = prng.oneIn(500);
      const id = wild ? prng.next() & 0xffff : prng.below(this.#size);
      const chain = prng.oneIn(4)
        ? [anyDescriptor(prng, this.#size, this.#table)]
        : soundChain(prng, 1 + prng.below(Math.min(this.#size, 6)));
      for (const [j, raw] of chain.entries()) {
        if (j < chain.length - 1) raw.flags |= NEXT;
        raw.flags = raw.flags & ~(AVAIL | USED) | (wrap ? AVAIL : USED);
        raw.next = id;
        this.#driver.rawDescriptor(at, raw);
        at++;
        if (at < this.#size) continue;
        at = 0;
        wrap = !wrap;
      }
    }
  }

  restart(queue: Virtqueue | null, prng: Prng): VirtqueueConfig {
    const config = this.#driver.config();
    if (queue === null) return config;
    if (queue.broken === "") return { ...config, nextAvail: queue.resumeAt };
    const place = this.#place(prng);
    return { ...config, nextAvail: (place | place << 16) >>> 0 };
  }

  open(config: VirtqueueConfig, guest: GuestMemory): Virtqueue {
    return openVirtqueue(config, guest);
  }

  foretell(config: VirtqueueConfig): RingModel {
    return new PackedModel(this.memory, config, REGIONS);
  }

  soundness(guest: GuestMemory): void {
    const options = { ...this.#features, region: 0 };
    const driver = new PackedDriver(this.memory, this.#size, options);
    const queue = openVirtqueue(driver.config(), guest);
    sound(this.memory, driver, queue, this.#features.indirect);
    assert(!queue.pop());
    assertEquals(queue.broken, "");
  }

  /** Any position with any wrap counter. */
  #place(prng: Prng): number {
    return this.#stateOf(prng.next() & 0xffff);
  }

  #stateOf(number: number): number {
    return (number & 0x7fff) % this.#size | number & 0x8000;
  }
}
