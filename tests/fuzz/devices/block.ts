/**
 * Requests of any layout to a disk, whose every byte is foretold.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { block } from "../../../devices/block/mod.ts";
import type { BlockSeed } from "../../../devices/block/queue.ts";
import { IoUring } from "../../../src/io/io_uring.ts";
import {
  blockHeader,
  FakeDriver,
  Prng,
  RING_KINDS,
} from "../../../src/testing/mod.ts";
import type { Step } from "../batch.ts";
import type { Tally, Target, World } from "../target.ts";
import { Arena, REGIONS, RING_REGION } from "./arena.ts";
import { DiskModel, TYPE } from "./block_model.ts";
import { Bursts, same } from "./bursts.ts";

const SECTOR = 512;
const SECTORS = 96;
const SERIAL = "fuzzed disk";
/** Data of a request, at most. */
const DATA_MAX = 8 * SECTOR;

type Shape = Readonly<Record<string, number>>;

class Disk implements World {
  readonly #fake: FakeDriver;
  readonly #path: string;
  readonly #model: DiskModel;
  readonly #arena: Arena;
  readonly #bursts: Bursts;
  /** Requests are run one after the other, in their order. */
  readonly #inTurn: boolean;

  private constructor(
    fake: FakeDriver,
    path: string,
    content: Uint8Array,
    shape: Shape,
    tally: Tally,
  ) {
    this.#fake = fake;
    this.#path = path;
    const { alignment, readOnly, id } = fake.device.seed as BlockSeed;
    this.#model = new DiskModel(content, readOnly, alignment, id);
    this.#arena = new Arena(fake.memory);
    const { ring } = fake.rings[0]!;
    const indirect = shape.indirect === 1;
    this.#bursts = new Bursts(ring, this.#arena, indirect, tally);
    this.#inTurn = shape.uring === 0;
  }

  static async open(given: Shape, tally: Tally): Promise<Disk> {
    const shape = hasUring() ? given : { ...given, uring: 0 };
    const content = new Prng(7).fill(new Uint8Array(SECTORS * SECTOR));
    const path = await Deno.makeTempFile(temporary());
    await Deno.writeFile(path, content);
    const options = {
      "blk-file": path,
      "serial": SERIAL,
      "num-queues": 1,
      "read-only": shape.readOnly === 3,
      "direct": shape.direct === 3,
      "io-engine": shape.uring === 1 ? "io_uring" : "sync",
    };
    const fake = await FakeDriver.open(block, options, {
      kind: RING_KINDS[shape.packed!]!,
      indirect: shape.indirect === 1,
      eventIndex: shape.eventIndex === 1,
      queueSize: 4 << shape.sizeBits!,
      memory: REGIONS,
      ringRegion: RING_REGION,
      uring: shape.uring === 1,
      watch: false,
    });
    return new Disk(fake, path, content, shape, tally);
  }

  step([kind, count, seed]: Step): void {
    const prng = new Prng(seed);
    if (kind === "restart") return this.#fake.rings[0]!.restart();
    for (let i = 0; i < count; i++) {
      if (!this.#request(kind, prng)) this.#run();
      // What runs at once may overlap, and end in any order.
      if (!this.#inTurn) this.#run();
    }
    this.#run();
  }

  soundness(): void {
    for (let sector = 0; sector < SECTORS; sector += 32) {
      const size = 32 * SECTOR;
      const prng = new Prng(sector);
      const header = blockHeader(TYPE.IN, BigInt(sector));
      const outcome = this.#model.run(header, size + 1);
      const segments = [
        ...this.#arena.readable(header, prng, 1),
        ...this.#arena.writable(size + 1, prng, 1),
      ];
      assertEquals(this.#bursts.stage(segments, outcome, prng), true);
      this.#run();
    }
    same(Deno.readFileSync(this.#path), this.#model.bytes);
    assertEquals(this.#fake.rings[0]!.queue.broken, "");
  }

  async close(): Promise<void> {
    await this.#fake[Symbol.asyncDispose]();
    await Deno.remove(this.#path);
  }

  #run(): void {
    this.#bursts.publish();
    this.#fake.settle();
    this.#bursts.collectAll();
    this.#arena.reset();
  }

  /** Stages one request; false where there is no room for it. */
  #request(kind: string, prng: Prng): boolean {
    const pieces = this.#bursts.pieces(prng);
    if (pieces < 4 || this.#arena.room < 4 * DATA_MAX) return false;
    const [readable, writable] = contentOf(kind, prng);
    const half = 1 + prng.below(pieces - 1);
    const segments = [
      ...readable.length > 0 || prng.oneIn(2)
        ? this.#arena.readable(readable, prng, half)
        : [],
      ...writable > 0 || prng.oneIn(2)
        ? this.#arena.writable(writable, prng, pieces - half)
        : [],
    ];
    if (segments.length === 0) return true;
    if (kind === "broken" && this.#bursts.stageBroken(segments, prng)) {
      return true;
    }
    const outcome = this.#model.run(readable, writable);
    return this.#bursts.stage(segments, outcome, prng);
  }
}

/** What the device reads of a request, and how much it may write. */
function contentOf(
  kind: string,
  prng: Prng,
): [readable: Uint8Array, writable: number] {
  switch (kind) {
    case "read":
      return [blockHeader(TYPE.IN, anySector(prng)), sizeOf(prng) + 1];
    case "write": {
      const data = prng.fill(new Uint8Array(sizeOf(prng)));
      const room = prng.oneIn(9) ? prng.below(40) : 1;
      return [join(blockHeader(TYPE.OUT, anySector(prng)), data), room];
    }
    case "zero": {
      const type = prng.pick([TYPE.DISCARD, TYPE.WRITE_ZEROES]);
      return [join(blockHeader(type, 0n), rangesOf(prng)), 1];
    }
    case "id":
      return [blockHeader(TYPE.GET_ID, anySector(prng)), 1 + prng.below(32)];
    case "flush":
      return [blockHeader(TYPE.FLUSH, anySector(prng)), 1];
    case "odd": {
      // Any type, with anything: short headers, no status, data both ways.
      const type = prng.oneIn(3) ? prng.next() : prng.below(16);
      const data = prng.fill(new Uint8Array(sizeOf(prng)));
      const all = join(blockHeader(type, anySector(prng)), data);
      const size = prng.oneIn(3) ? prng.below(18) : all.length;
      return [all.subarray(0, size), prng.oneIn(3) ? 0 : sizeOf(prng)];
    }
    default: {
      const data = prng.fill(new Uint8Array(SECTOR));
      return [join(blockHeader(TYPE.OUT, anySector(prng)), data), 1];
    }
  }
}

/** On the disk, mostly. */
function anySector(prng: Prng): bigint {
  if (!prng.oneIn(8)) return BigInt(prng.below(SECTORS));
  const bits = prng.pick([7, 8, 32, 53, 55, 63, 64]);
  return (1n << BigInt(bits)) - 1n - BigInt(prng.below(2));
}

/** Whole sectors, mostly. */
function sizeOf(prng: Prng): number {
  const size = SECTOR * prng.below(DATA_MAX / SECTOR + 1);
  return prng.oneIn(8) ? prng.below(DATA_MAX) : size;
}

function rangesOf(prng: Prng): Uint8Array {
  const count = prng.oneIn(30) ? 200 + prng.below(60) : prng.below(6);
  const bytes = new Uint8Array(16 * count + (prng.oneIn(20) ? 8 : 0));
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) {
    const sector = prng.oneIn(4) ? anySector(prng) : BigInt(prng.below(80));
    view.setBigUint64(16 * i, sector, true);
    view.setUint32(
      16 * i + 8,
      prng.oneIn(40) ? prng.next() : prng.below(16),
      true,
    );
    view.setUint32(16 * i + 12, prng.oneIn(9) ? prng.below(4) : 0, true);
  }
  return bytes;
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}

/** Where io_uring is forbidden there is one engine only. */
function hasUring(): boolean {
  try {
    IoUring.open(8)[Symbol.dispose]();
    return true;
  } catch {
    return false;
  }
}

/** In memory where there is such a place. */
function temporary(): Deno.MakeTempOptions {
  const prefix = "ringside-fuzz-";
  try {
    if (Deno.statSync("/dev/shm").isDirectory) {
      return { dir: "/dev/shm", prefix };
    }
  } catch {
    // Then not.
  }
  return { prefix };
}

/** A disk on either engine, on either kind of ring. */
export const blockTarget: Target = {
  name: "block",
  unit: "requests",
  deterministic: true,
  spec: {
    shape: {
      packed: 1,
      uring: 1,
      readOnly: 3,
      direct: 3,
      eventIndex: 1,
      indirect: 1,
      sizeBits: 5,
    },
    kinds: [
      "read",
      "read",
      "write",
      "write",
      "write",
      "zero",
      "id",
      "flush",
      "odd",
      "odd",
      "broken",
      "restart",
    ],
    steps: 30,
    count: 30,
  },
  open: (shape, tally) => Disk.open(shape, tally),
};
