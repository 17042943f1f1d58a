/**
 * A ring, a hostile driver, a device that keeps books, and a model that
 * foretells every answer of the ring.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { type DriverMemory, Prng } from "../../../src/testing/mod.ts";
import type {
  GuestMemory,
  Virtqueue,
  VirtqueueConfig,
} from "../../../src/virtqueue/mod.ts";
import type { Step } from "../batch.ts";
import type { Tally, World } from "../target.ts";
import { addressesOf } from "./chain_model.ts";
import type { RingModel } from "./ring_model.ts";

/** Bytes of a chain that are read and written, at most. */
const BYTES_MAX = 48;

/** The driver's part, which differs by the kind of the ring. */
export interface Hostile {
  readonly memory: DriverMemory;
  /** Changes something in the ring's memory; how many changes that were. */
  mutate(kind: string, prng: Prng): number;
  /** Shows chains to the device, which serves `queue`. */
  publish(prng: Prng, queue: Virtqueue): void;
  /** Where a ring is opened anew, the last one having been left as `queue`. */
  restart(queue: Virtqueue | null, prng: Prng): VirtqueueConfig;
  open(config: VirtqueueConfig, guest: GuestMemory): Virtqueue;
  foretell(config: VirtqueueConfig): RingModel;
  /** A sound driver of another ring of the memory gets a sound answer. */
  soundness(guest: GuestMemory): void;
}

/** One ring and what is done to it. */
export class Duel implements World {
  readonly #hostile: Hostile;
  readonly #guest: GuestMemory;
  readonly #tally: Tally;
  readonly #buffer = new Uint8Array(BYTES_MAX);
  #queue: Virtqueue;
  #model: RingModel;

  /** Opens a ring of `hostile`. */
  constructor(hostile: Hostile, tally: Tally) {
    this.#hostile = hostile;
    this.#tally = tally;
    this.#guest = hostile.memory.guestMemory();
    const config = hostile.restart(null, new Prng(0));
    this.#model = hostile.foretell(config);
    this.#queue = hostile.open(config, this.#guest);
  }

  step([kind, count, seed]: Step): void {
    const prng = new Prng(seed);
    for (let i = 0; i < count; i++) this.#act(kind, prng);
  }

  soundness(): void {
    const { inFlight } = this.#model;
    for (const head of [...inFlight]) this.#push(head, 0);
    this.#flush();
    assertEquals(this.#queue.inFlight, 0);
    this.#hostile.soundness(this.#guest);
  }

  close(): void {
    this.#hostile.memory[Symbol.dispose]();
  }

  #act(kind: string, prng: Prng): void {
    switch (kind) {
      case "life":
        return this.#live(prng);
      case "publish":
        return this.#hostile.publish(prng, this.#queue);
      case "drain":
        if (prng.oneIn(2)) this.#hostile.publish(prng, this.#queue);
        return this.#drain(prng);
      case "complete":
        return this.#complete(prng);
      case "kicks":
        return this.#kicks(prng);
      case "reopen":
        // Once: twice in a row says nothing new.
        if (prng.oneIn(16)) this.#reopen(prng);
        return;
      default:
        this.#tally.add("mutations", this.#hostile.mutate(kind, prng));
    }
  }

  /** A change, and now and then a look of the device. */
  #live(prng: Prng): void {
    this.#tally.add("mutations", this.#hostile.mutate("any", prng));
    if (prng.oneIn(3)) this.#hostile.publish(prng, this.#queue);
    if (prng.oneIn(4)) this.#drain(prng);
    if (prng.oneIn(5)) this.#complete(prng);
    if (prng.oneIn(9)) this.#kicks(prng);
    if (prng.oneIn(50) || this.#model.broken) this.#reopen(prng);
  }

  #drain(prng: Prng): void {
    const { size } = this.#queue;
    for (let count = 0; this.#pop(); count++) {
      assertEquals(count < size, true, "a drain is at most a ring");
      this.#use(prng);
      if (prng.oneIn(20) && this.#model.canUndo()) {
        this.#undo(prng);
        break;
      }
      if (!prng.oneIn(3)) this.#push(this.#model.head, prng.next());
    }
    if (!prng.oneIn(3)) this.#flush();
  }

  #pop(): boolean {
    const model = this.#model;
    const queue = this.#queue;
    const wanted = model.pop();
    same(queue.pop(), wanted, "pop");
    model.verify();
    this.#compare();
    if (!wanted) return false;
    this.#tally.add("chains");
    same(queue.chain.head, model.head, "head");
    model.chain.compare(queue.chain);
    return true;
  }

  /** Reads and writes the chain that was popped. */
  #use(prng: Prng): void {
    const { reader, writer } = this.#queue.chain;
    const { readable, writable } = this.#model.chain;
    const memory = this.#hostile.memory;
    if (prng.oneIn(3)) {
      const there = addressesOf(readable, BYTES_MAX)
        .map((address) => byteAt(memory, address));
      const skipped = Math.min(prng.below(4), there.length);
      same(reader.skip(skipped), true, "skip");
      const count = reader.readBytes(this.#buffer.subarray(skipped));
      same(count, there.length - skipped, "bytes read");
      for (let i = skipped; i < there.length; i++) {
        same(this.#buffer[i]!, there[i]!, `byte ${i}`);
      }
    }
    if (prng.oneIn(3)) {
      const source = prng.fill(this.#buffer);
      const addresses = addressesOf(writable, BYTES_MAX);
      same(writer.writeBytes(source), addresses.length, "bytes written");
      const last = new Map(addresses.map((address, i) => [address, i]));
      for (const [address, i] of last) {
        same(byteAt(memory, address), source[i]!, `byte ${i}`);
      }
      same(writer.locate(writer.size - 1), writer.size > 0, "locate");
    }
    same(writer.written + writer.remaining, writer.size, "written");
  }

  #undo(prng: Prng): void {
    do {
      this.#model.undoPop();
      this.#queue.undoPop();
      this.#compare();
    } while (prng.oneIn(2) && this.#model.canUndo());
  }

  #push(head: number, random: number): void {
    // No device tells more than there is, but the ring need not care.
    const written = random & 0xffff;
    this.#model.push(head, written);
    this.#queue.push(head, written);
    this.#model.verify();
    this.#compare();
  }

  #flush(): void {
    const wanted = this.#model.flush();
    same(this.#queue.flush(), wanted, "call");
    this.#model.verify();
  }

  /** Some of what is in flight ends, in any order. */
  #complete(prng: Prng): void {
    const heads = [...this.#model.inFlight];
    while (heads.length > 0) {
      const [head] = heads.splice(prng.below(heads.length), 1);
      if (prng.oneIn(2)) this.#push(head!, prng.next());
    }
    this.#flush();
  }

  #kicks(prng: Prng): void {
    const model = this.#model;
    if (prng.oneIn(2)) {
      model.disableKicks();
      this.#queue.disableKicks();
      model.verify();
    }
    if (prng.oneIn(2)) {
      const wanted = model.hasAvailable();
      same(this.#queue.hasAvailable(), wanted, "hasAvailable");
    }
    if (prng.oneIn(2)) {
      const wanted = model.enableKicks();
      same(this.#queue.enableKicks(), wanted, "enableKicks");
      model.verify();
    }
    this.#compare();
  }

  #reopen(prng: Prng): void {
    for (const head of [...this.#model.inFlight]) this.#push(head, 0);
    this.#flush();
    const config = this.#hostile.restart(this.#queue, prng);
    this.#model = this.#hostile.foretell(config);
    this.#queue = this.#hostile.open(config, this.#guest);
    this.#tally.add("rings");
  }

  #compare(): void {
    const { broken, inFlight, malformed } = this.#queue;
    same(broken !== "", this.#model.broken, "broken");
    same(inFlight, this.#model.inFlight.size, "in flight");
    same(malformed, this.#model.malformed, "malformed");
  }
}

function byteAt(memory: DriverMemory, address: number): number {
  const [view, at] = memory.view(address);
  return view.getUint8(at);
}

/** As assertEquals, which takes a microsecond to see that all is well. */
function same<T>(value: T, wanted: T, what: string): void {
  if (value !== wanted) assertEquals(value, wanted, what);
}
