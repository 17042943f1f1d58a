/**
 * Runs so many requests against a disk, with a driver that allocates nothing,
 * and says when it is warm: for tests that look at what V8 does then.
 *
 *     deno run --allow-all hot_run.ts sync|io_uring|null
 *
 * @module
 */
import { block } from "../../devices/block/mod.ts";
import { blockHeader } from "../../src/testing/block_driver.ts";
import {
  AVAIL_RING,
  RING_INDEX,
  USED_RING_WORD,
} from "../../src/virtqueue/layout.ts";
import { Harness } from "./harness.ts";
import { measureRounds } from "./rounds.ts";

const DEPTH = 64;
const SECTORS = 64 << 11; // 64 MiB
/** Where they are on the disk: beyond 8 GiB, where offsets are no small integers. */
const FIRST_SECTOR = 1 << 24;
const WARM_UP = 400_000;
const MEASURED = 1_000_000;
/** Descriptors of a request: header, two for the data, status. */
const PER_REQUEST = 4;

function isWrite(i: number): boolean {
  return i % 16 === 3;
}

async function openDisk(engine: string, path: string): Promise<Harness> {
  const given = engine === "null"
    ? { "blk-null": (FIRST_SECTOR + SECTORS) * 512 }
    : { "blk-file": path, "io-engine": engine };
  const uring = engine === "io_uring";
  return await Harness.open(block, given, { uring, size: 256 });
}

/** The driver: one address for each request, random sectors, few writes. */
class Load {
  readonly #h: Harness;
  readonly #headers: DataView[] = [];
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedElements: Uint32Array;
  #availIndex = 0;
  #usedIndex = 0;
  #random = 1;

  constructor(h: Harness) {
    this.#h = h;
    const { memory, ring } = h;
    const words = (address: number, count: number) => {
      const [view, at] = memory.view(address);
      return new Uint16Array(view.buffer, view.byteOffset + at, count);
    };
    this.#avail = words(ring.driverArea, 256 + 3);
    this.#used = words(ring.deviceArea, 4 * 256 + 3);
    this.#usedElements = new Uint32Array(
      this.#used.buffer,
      this.#used.byteOffset,
      2 * 256 + 1,
    );
    for (let i = 0; i < DEPTH; i++) this.#layOut(i);
  }

  /** Serves `count` requests. */
  run(count: number): void {
    const h = this.#h;
    const uring = h.uring;
    let done = 0;
    while (done < count) {
      h.data.drain(h.queue);
      if (uring !== null) {
        uring.submitAndWait(1);
        uring.reap(DEPTH);
      }
      h.queue.flush();
      done += this.#turn();
    }
  }

  #layOut(i: number): void {
    const { memory, ring } = this.#h;
    const header = memory.allocate(16);
    memory.write(header, blockHeader(0, 0));
    const [view, at] = memory.view(header);
    this.#headers.push(new DataView(view.buffer, view.byteOffset + at, 16));
    // One request in four is in two pieces, the others in one.
    const size = i % 4 === 0 ? 2048 : 4096;
    const first = PER_REQUEST * i;
    const sizes = i % 4 === 0 ? [16, size, size, 1] : [16, size, 1];
    for (const [n, bytes] of sizes.entries()) {
      const last = n === sizes.length - 1;
      const address = n === 0 ? header : memory.allocate(bytes, 512);
      const readable = n === 0 || (isWrite(i) && !last);
      const flags = (last ? 0 : 1) | (readable ? 0 : 2);
      const next = last ? 0 : first + n + 1;
      ring.rawDescriptor(first + n, { address, size: bytes, flags, next });
    }
    this.#headers[i]!.setUint32(0, isWrite(i) ? 1 : 0, true);
    this.#post(i);
  }

  #post(i: number): void {
    this.#random = (Math.imul(this.#random, 1664525) + 1013904223) >>> 0;
    const block = this.#random % (SECTORS / 8);
    this.#headers[i]!.setUint32(8, FIRST_SECTOR + block * 8, true);
    this.#avail[AVAIL_RING + (this.#availIndex & 255)] = PER_REQUEST * i;
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
    Atomics.store(this.#avail, RING_INDEX, this.#availIndex);
  }

  /** Takes back what is there, and makes it available again. */
  #turn(): number {
    const index = Atomics.load(this.#used, RING_INDEX);
    let count = 0;
    while (this.#usedIndex !== index) {
      const element = USED_RING_WORD + 2 * (this.#usedIndex & 255);
      this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
      const i = this.#usedElements[element]! / PER_REQUEST;
      const wanted = isWrite(i) ? 1 : 4097;
      if (this.#usedElements[element + 1] !== wanted) {
        throw new Error(`Request ${i} failed`);
      }
      this.#post(i);
      count++;
    }
    return count;
  }
}

if (import.meta.main) {
  const engine = Deno.args[0]!;
  const path = Deno.makeTempFileSync();
  try {
    using file = Deno.openSync(path, { write: true });
    file.seekSync(FIRST_SECTOR * 512, Deno.SeekMode.Start);
    const mebibyte = new Uint8Array(1 << 20).fill(1);
    for (let i = 0; i < SECTORS >> 11; i++) file.writeSync(mebibyte);
    await using h = await openDisk(engine, path);
    const load = new Load(h);
    load.run(WARM_UP);
    measureRounds(engine, MEASURED, () => load.run(MEASURED));
  } finally {
    Deno.removeSync(path);
  }
}
