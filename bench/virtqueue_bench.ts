/**
 * The parts of a ring: the five shapes that rust-vmm's virtio-queue measures
 * with criterion (queue size 256), and what a block request costs.
 *
 * A figure is for the whole shape: 1 chain of 128 descriptors, 128 chains of 1,
 * 128 used entries; a request is one of a batch of 64.
 *
 * @module
 */
import { IovecList } from "../src/io/iovec.ts";
import { DriverMemory } from "../src/testing/mod.ts";
import { SplitVirtqueue, type Virtqueue } from "../src/virtqueue/mod.ts";

const SIZE = 256;
const COUNT = 128;
const BATCH = 64;

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

/** A ring that is laid out once; publishing is one store. */
class BenchRing {
  readonly queue: Virtqueue;
  readonly #memory = DriverMemory.plain([
    { guestAddress: 0x1_0000_0000, size: 1 << 22 },
  ]);
  readonly #table: number;
  readonly #avail: Uint16Array;
  #index = 0;

  constructor() {
    const memory = this.#memory;
    this.#table = memory.allocate(16 * SIZE);
    const driverArea = memory.allocate(6 + 2 * SIZE);
    const [view, offset] = memory.view(driverArea);
    this.#avail = new Uint16Array(view.buffer, offset, 3 + SIZE);
    this.queue = SplitVirtqueue.open({
      index: 0,
      size: SIZE,
      descriptorArea: this.#table,
      driverArea,
      deviceArea: memory.allocate(6 + 8 * SIZE),
      nextAvail: 0,
      eventIndex: true,
      indirect: true,
    }, memory.guestMemory());
  }

  /** Puts a chain of buffers with these flags at `head`. */
  layOut(head: number, flags: readonly number[], indirect: boolean): void {
    let table = this.#table;
    let first = head;
    if (indirect) {
      const size = 16 * flags.length;
      table = this.#memory.allocate(size);
      first = 0;
      this.#put(this.#table, head, table, size, INDIRECT);
    }
    for (const [i, flag] of flags.entries()) {
      const last = i === flags.length - 1;
      const address = this.#memory.allocate(512, 512);
      const bits = last ? flag : flag | NEXT;
      this.#put(table, first + i, address, 512, bits);
    }
  }

  /** Makes the available ring name `heads` over and over. */
  repeat(heads: readonly number[]): void {
    for (let i = 0; i < SIZE; i++) {
      this.#avail[2 + i] = heads[i % heads.length]!;
    }
  }

  /** Publishes `count` entries more. */
  publish(count: number): void {
    this.#index = (this.#index + count) & 0xffff;
    Atomics.store(this.#avail, 1, this.#index);
  }

  #put(
    table: number,
    index: number,
    address: number,
    size: number,
    flags: number,
  ): void {
    const [view, at] = this.#memory.view(table + 16 * index);
    view.setBigUint64(at, BigInt(address), true);
    view.setUint32(at + 8, size, true);
    view.setUint16(at + 12, flags, true);
    view.setUint16(at + 14, index + 1, true);
  }
}

/** All pops there are, each visited segment by segment; their bytes. */
function walk(queue: Virtqueue): number {
  let bytes = 0;
  while (queue.pop()) {
    const { chain } = queue;
    for (let i = 0; i < chain.segmentCount; i++) bytes += chain.sizes[i]!;
    queue.push(chain.head, 0);
  }
  queue.flush();
  return bytes;
}

const iovecs = new IovecList(16);

/** Serves a batch as a block device does, but for the disk. */
function serve(queue: Virtqueue): void {
  while (queue.pop()) {
    const { head, reader, writer } = queue.chain;
    const type = reader.readU32();
    reader.skip(4);
    const sector = reader.readU64();
    const data = writer.size - 1;
    if (type !== 0 || sector !== 0) throw new Error("Not what was laid out");
    writer.takeIovecs(iovecs, 0, data);
    writer.writeU8(0);
    queue.push(head, writer.written);
  }
  queue.flush();
}

for (const indirect of [false, true]) {
  const single = new BenchRing();
  single.layOut(0, Array<number>(COUNT).fill(0), indirect);
  single.repeat([0]);
  Deno.bench(`single chain (indirect=${indirect})`, () => {
    single.publish(1);
    if (walk(single.queue) !== 512 * COUNT) throw new Error("Lost");
  });

  const multiple = new BenchRing();
  for (let i = 0; i < COUNT; i++) multiple.layOut(i, [0], indirect);
  multiple.repeat(Array.from({ length: COUNT }, (_, i) => i));
  Deno.bench(`multiple chains (indirect=${indirect})`, () => {
    multiple.publish(COUNT);
    if (walk(multiple.queue) !== 512 * COUNT) throw new Error("Lost");
  });
}

const used = new BenchRing();
for (let i = 0; i < COUNT; i++) used.layOut(i, [WRITE], false);
used.repeat(Array.from({ length: COUNT }, (_, i) => i));
Deno.bench("add used", (b) => {
  const { queue } = used;
  used.publish(COUNT);
  while (queue.pop());
  b.start();
  for (let head = 0; head < COUNT; head++) queue.push(head, 512);
  queue.flush();
  b.end();
});

for (const indirect of [false, true]) {
  const ring = new BenchRing();
  const heads = Array.from({ length: BATCH }, (_, i) => 3 * i);
  for (const head of heads) ring.layOut(head, [0, WRITE, WRITE], indirect);
  ring.repeat(heads);
  const name = indirect ? "indirect" : "direct";
  Deno.bench(`${BATCH} chains of 3, pop and push (${name})`, () => {
    ring.publish(BATCH);
    while (ring.queue.pop()) ring.queue.push(ring.queue.chain.head, 1);
    ring.queue.flush();
  });
  Deno.bench(`${BATCH} block requests without a disk (${name})`, () => {
    ring.publish(BATCH);
    serve(ring.queue);
  });
}
