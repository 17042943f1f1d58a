/**
 * Runs so many requests against a disk, with a driver that allocates nothing,
 * and says when it is warm: for tests that look at what V8 does then.
 *
 *     deno run --allow-all hot_run.ts sync|io_uring|null [split|packed]
 *
 * @module
 */
import { block } from "../../devices/block/mod.ts";
import type { LoadRing, LoadSegment } from "../../src/load/load_ring.ts";
import { blockHeader, FakeDriver } from "../../src/testing/mod.ts";
import { hotRing, kindNamed } from "./hot_ring.ts";
import { measureRounds } from "./rounds.ts";

const DEPTH = 64;
const SECTORS = 64 << 11; // 64 MiB
/** Where they are on the disk: beyond 8 GiB, where offsets are no small integers. */
const FIRST_SECTOR = 1 << 24;
const WARM_UP = 400_000;
const MEASURED = 1_000_000;

function isWrite(i: number): boolean {
  return i % 16 === 3;
}

async function openDisk(
  engine: string,
  path: string,
  kind: string | undefined,
): Promise<FakeDriver> {
  const given = engine === "null"
    ? { "blk-null": (FIRST_SECTOR + SECTORS) * 512 }
    : { "blk-file": path, "io-engine": engine };
  const uring = engine === "io_uring";
  const options = { uring, kind: kindNamed(kind) };
  return await FakeDriver.open(block, given, options);
}

/** The driver: one address for each request, random sectors, few writes. */
class Load {
  readonly #fake: FakeDriver;
  readonly #ring: LoadRing;
  readonly #headers: DataView[] = [];
  #random = 1;

  constructor(fake: FakeDriver) {
    this.#fake = fake;
    const requests = Array.from({ length: DEPTH }, (_, i) => this.#request(i));
    this.#ring = hotRing(fake, 0, requests);
    for (let i = 0; i < DEPTH; i++) this.#post(i);
    this.#ring.publish();
  }

  /** Serves `count` requests. */
  run(count: number): void {
    const { data, uring } = this.#fake;
    const { queue } = this.#fake.rings[0]!;
    let done = 0;
    while (done < count) {
      data.drain(queue);
      if (uring !== null) {
        uring.submitAndWait(1);
        uring.reap(DEPTH);
      }
      queue.flush();
      done += this.#turn();
    }
  }

  #request(i: number): LoadSegment[] {
    const { memory } = this.#fake;
    const header = memory.allocate(16);
    memory.write(header, blockHeader(isWrite(i) ? 1 : 0, 0));
    const [view, at] = memory.view(header);
    this.#headers.push(new DataView(view.buffer, view.byteOffset + at, 16));
    // One request in four is in two pieces, the others in one.
    const sizes = i % 4 === 0 ? [16, 2048, 2048, 1] : [16, 4096, 1];
    return sizes.map((size, n) => ({
      address: n === 0 ? header : memory.allocate(size, 512),
      size,
      writable: n > 0 && (!isWrite(i) || n === sizes.length - 1),
    }));
  }

  #post(i: number): void {
    this.#random = (Math.imul(this.#random, 1664525) + 1013904223) >>> 0;
    const block = this.#random % (SECTORS / 8);
    this.#headers[i]!.setUint32(8, FIRST_SECTOR + block * 8, true);
    this.#ring.add(i, 0);
  }

  /** Takes back what is there, and makes it available again. */
  #turn(): number {
    const ring = this.#ring;
    let count = 0;
    if (!ring.look()) return 0;
    for (let i = ring.take(); i >= 0; i = ring.take()) {
      const wanted = isWrite(i) ? 1 : 4097;
      if (ring.written !== wanted) throw new Error(`Request ${i} failed`);
      this.#post(i);
      count++;
    }
    ring.publish();
    return count;
  }
}

if (import.meta.main) {
  const [engine, kind] = Deno.args as [string, string?];
  const path = Deno.makeTempFileSync();
  try {
    using file = Deno.openSync(path, { write: true });
    file.seekSync(FIRST_SECTOR * 512, Deno.SeekMode.Start);
    const mebibyte = new Uint8Array(1 << 20).fill(1);
    for (let i = 0; i < SECTORS >> 11; i++) file.writeSync(mebibyte);
    await using fake = await openDisk(engine, path, kind);
    const load = new Load(fake);
    load.run(WARM_UP);
    measureRounds(engine, MEASURED, () => load.run(MEASURED));
  } finally {
    Deno.removeSync(path);
  }
}
