/**
 * Requests of any layout to an entropy device, whose source is known.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { rng } from "../../../devices/rng/mod.ts";
import { FakeDriver, Prng, RING_KINDS } from "../../../src/testing/mod.ts";
import type { Step } from "../batch.ts";
import type { Tally, Target, World } from "../target.ts";
import { Arena, REGIONS, RING_REGION } from "./arena.ts";
import { Bursts, same } from "./bursts.ts";

/** What one look at the ring gives. */
const SHARE = 64 << 10;
/** Bytes of the source: more than all requests of a batch. */
const SOURCE_SIZE = 8 << 20;

type Shape = Readonly<Record<string, number>>;

/** What the source of every device holds, made once. */
let source: { path: string; bytes: Uint8Array } | null = null;

async function openSource(): Promise<{ path: string; bytes: Uint8Array }> {
  if (source !== null) return source;
  const path = await Deno.makeTempFile({ prefix: "ringside-fuzz-" });
  const bytes = new Prng(3).fill(new Uint8Array(SOURCE_SIZE));
  await Deno.writeFile(path, bytes);
  globalThis.addEventListener("unload", () => Deno.removeSync(path));
  return source = { path, bytes };
}

class Entropy implements World {
  readonly #fake: FakeDriver;
  /** What comes next, or null where that is the kernel's affair. */
  #expected: Uint8Array | null;
  readonly #arena: Arena;
  readonly #bursts: Bursts;
  /** Bytes that the requests of this burst have room for. */
  #wanted = 0;

  private constructor(
    fake: FakeDriver,
    expected: Uint8Array | null,
    shape: Shape,
    tally: Tally,
  ) {
    this.#fake = fake;
    this.#expected = expected;
    this.#arena = new Arena(fake.memory);
    const { ring } = fake.rings[0]!;
    this.#bursts = new Bursts(ring, this.#arena, shape.indirect === 1, tally);
  }

  static async open(shape: Shape, tally: Tally): Promise<Entropy> {
    const known = shape.file === 1 ? await openSource() : null;
    const options = known === null ? {} : { source: known.path };
    const fake = await FakeDriver.open(rng, options, {
      kind: RING_KINDS[shape.packed!]!,
      indirect: shape.indirect === 1,
      eventIndex: shape.eventIndex === 1,
      queueSize: 4 << shape.sizeBits!,
      memory: REGIONS,
      ringRegion: RING_REGION,
    });
    return new Entropy(fake, known?.bytes ?? null, shape, tally);
  }

  step([kind, count, seed]: Step): void {
    const prng = new Prng(seed);
    if (kind === "restart") return this.#fake.rings[0]!.restart();
    for (let i = 0; i < count; i++) {
      if (!this.#request(kind, prng)) this.#run();
    }
    this.#run();
  }

  soundness(): void {
    this.#ask(256, new Prng(1), 1);
    this.#run();
    assertEquals(this.#fake.rings[0]!.queue.broken, "");
  }

  async close(): Promise<void> {
    await this.#fake[Symbol.asyncDispose]();
  }

  #run(): void {
    this.#bursts.publish();
    this.#fake.settle();
    this.#bursts.collectAll();
    this.#arena.reset();
    this.#wanted = 0;
  }

  #request(kind: string, prng: Prng): boolean {
    const pieces = this.#bursts.pieces(prng);
    if (pieces === 0 || this.#arena.room < 1 << 14) return false;
    const size = prng.oneIn(12) ? prng.below(1 << 13) : prng.below(200);
    // Together no more than one look gives: then each is filled.
    if (this.#wanted + size > SHARE) return false;
    if (kind === "broken") {
      const segments = this.#arena.writable(size, prng, pieces);
      return this.#bursts.stageBroken(segments, prng) || size === 0;
    }
    if (kind === "mixed" && pieces > 1) {
      // What it could read is of no interest.
      const bytes = prng.fill(new Uint8Array(prng.below(40)));
      const before = this.#arena.readable(bytes, prng, pieces >> 1);
      const room = pieces - before.length;
      const after = this.#arena.writable(size, prng, room);
      return this.#stage([...before, ...after], size, prng);
    }
    return this.#ask(size, prng, pieces);
  }

  #ask(size: number, prng: Prng, pieces: number): boolean {
    const segments = this.#arena.writable(size, prng, pieces);
    return this.#stage(segments, size, prng);
  }

  #stage(
    segments: Parameters<Bursts["stage"]>[0],
    size: number,
    prng: Prng,
  ): boolean {
    const known = this.#expected?.subarray(0, size);
    const outcome = { written: size, rooms: known ?? null };
    const staged = this.#bursts.stage(segments, outcome, prng, (rooms) => {
      if (known !== undefined) return same(rooms, known);
      // Once in 2^128 it is chance.
      const blank = Arena.blank(16).join();
      assert(size < 16 || rooms.subarray(0, 16).join() !== blank);
    });
    if (!staged) return false;
    this.#wanted += size;
    this.#expected = this.#expected?.subarray(size) ?? null;
    return true;
  }
}

/** Entropy from a file and from the kernel, on either kind of ring. */
export const rngTarget: Target = {
  name: "rng",
  unit: "requests",
  deterministic: true,
  spec: {
    shape: { packed: 1, file: 1, eventIndex: 1, indirect: 1, sizeBits: 5 },
    kinds: ["ask", "ask", "ask", "mixed", "broken", "restart"],
    steps: 25,
    count: 30,
  },
  open: (shape, tally) => Entropy.open(shape, tally),
};
