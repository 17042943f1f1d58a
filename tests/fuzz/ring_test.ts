/**
 * Random garbage in rings. Whatever a driver writes, popping does not throw,
 * ends, gives each available entry back at most once, and hands out only
 * memory of the guest.
 *
 * @module
 */
import { assert, assertEquals, assertLess } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { DriverMemory, Prng, SplitDriver } from "../../src/testing/mod.ts";
import {
  SplitVirtqueue,
  VIRTQ_DESC_F_INDIRECT as INDIRECT,
  VIRTQ_DESC_F_NEXT as NEXT,
  VIRTQ_DESC_F_WRITE as WRITE,
  type Virtqueue,
} from "../../src/virtqueue/mod.ts";

/** Single changes of ring memory in all. */
const MUTATIONS = 200_000;
/** Changes of one ring before the next. */
const LIFE = 500;

const REGIONS = [
  { guestAddress: 0x10000, size: 0x8000 },
  { guestAddress: 0x18000, size: 0x1000 },
  { guestAddress: 0x19000, size: 0x10 },
  { guestAddress: 0x40000, size: 0x8000 },
  { guestAddress: 0x3_0000_0000, size: 0x2000 },
];

/** One ring, its hostile driver and a device that keeps books. */
class Duel {
  readonly #prng: Prng;
  readonly #memory = DriverMemory.plain(REGIONS);
  readonly #driver: SplitDriver;
  readonly #guest = this.#memory.guestMemory();
  readonly #size: number;
  readonly #table: number;
  readonly #buffer = new Uint8Array(300);
  readonly #inFlight = new Set<number>();
  #queue: Virtqueue;
  /** Available entries that the device went past since the ring was opened. */
  #consumed = 0;
  /** Chains the device pushed since then. */
  #pushed = 0;

  constructor(prng: Prng) {
    this.#prng = prng;
    this.#size = 1 << prng.below(7);
    this.#driver = new SplitDriver(this.#memory, this.#size, {
      eventIndex: prng.oneIn(2),
      indirect: !prng.oneIn(4),
      base: prng.next() & 0xffff,
      region: 0,
    });
    this.#table = this.#memory.allocate(16 * 64, 16, 3);
    this.#queue = this.#open(this.#driver.usedIndex);
  }

  /** One change, and now and then a look of the device. */
  step(): void {
    this.#mutate();
    if (this.#prng.oneIn(3)) this.#publish();
    if (this.#prng.oneIn(4)) this.#drain();
    if (this.#prng.oneIn(5)) this.#complete();
    if (this.#prng.oneIn(50) || this.#queue.broken !== "") this.#reopen();
  }

  #mutate(): void {
    const prng = this.#prng;
    const driver = this.#driver;
    switch (prng.below(9)) {
      case 0:
        return this.#scribble(driver.descriptorArea, 16 * this.#size);
      case 1:
        return this.#scribble(driver.driverArea + 4, 2 * this.#size + 2);
      case 2:
        return this.#scribble(driver.deviceArea, 8 * this.#size + 6);
      case 3:
        return this.#scribble(this.#table, 16 * 64);
      case 4:
        return driver.rawDescriptor(prng.below(64), this.#raw(64), this.#table);
      case 5:
        return this.#layChain(driver.descriptorArea, this.#size);
      case 6:
        return this.#layChain(this.#table, 64);
      default:
        return driver.rawDescriptor(
          prng.below(this.#size),
          this.#raw(this.#size),
        );
    }
  }

  /** Lays a sound chain of any length in the table at `table`. */
  #layChain(table: number, entries: number): void {
    const prng = this.#prng;
    const first = prng.below(entries);
    const count = 1 + prng.below(entries - first);
    const readable = prng.below(count + 1);
    for (let i = 0; i < count; i++) {
      const region = prng.pick(REGIONS);
      const address = region.guestAddress + prng.below(region.size - 8);
      const write = i < readable ? 0 : WRITE;
      const flags = write | (i < count - 1 ? NEXT : 0);
      const next = first + i + 1;
      const raw = { address, size: prng.below(8), flags, next };
      this.#driver.rawDescriptor(first + i, raw, table);
    }
  }

  /** A descriptor that is right more often than not. */
  #raw(entries: number) {
    const prng = this.#prng;
    const region = prng.pick(REGIONS);
    let address = BigInt(region.guestAddress + prng.below(region.size));
    let size = prng.below(64);
    let flags = prng.pick([0, WRITE, NEXT, NEXT, NEXT | WRITE, NEXT | WRITE]);
    let next = prng.below(entries);
    if (prng.oneIn(6)) {
      address = BigInt(this.#table) + BigInt(prng.oneIn(3) ? 16 : 0);
      size = 16 * prng.below(66);
      flags = INDIRECT;
    }
    if (prng.oneIn(20)) size = prng.next();
    if (prng.oneIn(20)) flags = prng.next() & 0xffff;
    if (prng.oneIn(20)) next = prng.next() & 0xffff;
    if (prng.oneIn(20)) address = (1n << BigInt(prng.below(65))) - 1n;
    return { address, size, flags, next };
  }

  /** Overwrites a few of the `size` bytes at `address`. */
  #scribble(address: number, size: number): void {
    const bytes = this.#prng.fill(new Uint8Array(1 + this.#prng.below(4)));
    const at = this.#prng.below(Math.max(1, size - bytes.length));
    this.#memory.write(address + at, bytes);
  }

  #publish(): void {
    const prng = this.#prng;
    const driver = this.#driver;
    if (prng.oneIn(500)) {
      return driver.rawAvailableIndex(prng.next() & 0xffff);
    }
    const count = 1 + prng.below(this.#size);
    for (let i = 0; i < count; i++) {
      const wild = prng.oneIn(2000);
      driver.rawAvailable(wild ? prng.next() : prng.below(this.#size));
    }
    driver.publish();
  }

  #drain(): void {
    const queue = this.#queue;
    if (this.#prng.oneIn(3)) queue.disableKicks();
    const before = queue.nextAvail;
    let count = 0;
    while (queue.pop()) {
      this.#check();
      if (this.#prng.oneIn(30)) {
        queue.undoPop();
        break;
      }
      this.#inFlight.add(queue.chain.head);
      if (!this.#prng.oneIn(3)) this.#push(queue.chain.head);
      assertLess(++count, this.#size + 1, "a drain is at most a ring");
    }
    if (!this.#prng.oneIn(3)) queue.flush();
    if (this.#prng.oneIn(3)) queue.enableKicks();
    assertEquals(queue.inFlight, this.#inFlight.size);
    this.#consumed += (queue.nextAvail - before) & 0xffff;
    const given = this.#pushed + queue.malformed;
    assertEquals(given + queue.inFlight, this.#consumed);
  }

  /** A popped chain is whole, in memory, and no other that is in flight. */
  #check(): void {
    const { head, reader, writer, segmentCount, readableCount } =
      this.#queue.chain;
    const { regions, offsets, sizes, limit } = this.#queue.chain;
    assert(head < this.#size && !this.#inFlight.has(head), `head ${head}`);
    assert(readableCount <= segmentCount && segmentCount <= 2 * limit);
    let bytes = 0;
    for (let i = 0; i < segmentCount; i++) {
      const region = this.#guest.regions[regions[i]!]!;
      assert(sizes[i]! > 0 && offsets[i]! + sizes[i]! <= region.size);
      bytes += sizes[i]!;
    }
    assertEquals(reader.size + writer.size, bytes);
    reader.skip(this.#prng.below(8));
    assert(reader.readBytes(this.#buffer) <= this.#buffer.length);
    if (this.#prng.oneIn(2)) reader.readU64();
    assert(writer.writeBytes(this.#buffer) <= writer.written);
    assertEquals(writer.locate(writer.size - 1), writer.size > 0);
    assertEquals(writer.remaining + writer.written, writer.size);
  }

  #push(head: number): void {
    const written = this.#queue.chain.writer.written;
    this.#queue.push(head, written);
    this.#inFlight.delete(head);
    this.#pushed++;
  }

  /** Some of what is in flight ends. */
  #complete(): void {
    for (const head of this.#inFlight) {
      if (this.#prng.oneIn(2)) this.#push(head);
    }
    this.#queue.flush();
  }

  #reopen(): void {
    for (const head of this.#inFlight) this.#push(head);
    this.#queue.flush();
    assertEquals(this.#queue.inFlight, 0);
    const { broken, nextAvail } = this.#queue;
    const base = broken === "" ? nextAvail : this.#prng.next() & 0xffff;
    if (broken !== "") this.#driver.rawAvailableIndex(base);
    this.#queue = this.#open(base);
  }

  #open(nextAvail: number): Virtqueue {
    this.#consumed = 0;
    this.#pushed = 0;
    const config = { ...this.#driver.config(), nextAvail };
    return SplitVirtqueue.open(config, this.#guest);
  }
}

describe("ring fuzz", () => {
  it("garbage in a ring breaks at most the ring", () => {
    const prng = Prng.fromEnvironment("ring fuzz");
    for (let done = 0; done < MUTATIONS; done += LIFE) {
      const duel = new Duel(prng);
      for (let i = 0; i < LIFE; i++) duel.step();
    }
  });
});
