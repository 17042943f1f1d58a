/**
 * Runs two million chains through a ring, half of them after a warm-up. To be
 * run in a process of its own with V8's traces on; two forced collections mark
 * the part that counts.
 *
 * @module
 */
import { DriverMemory } from "../../src/testing/mod.ts";
import { SplitVirtqueue, type Virtqueue } from "../../src/virtqueue/mod.ts";
import { IovecList } from "../../src/io/iovec.ts";

const SIZE = 256;
/** Chains that are published at a time. */
const BATCH = 64;
/** Beyond 4 GiB, where no address is a small integer. */
const HIGH = 0x2_0000_0000;

const memory = DriverMemory.plain([
  { guestAddress: 0x10000, size: 1 << 16 },
  { guestAddress: HIGH, size: 1 << 22 },
]);
const iovecs = new IovecList(16);

class HotRing {
  readonly queue: Virtqueue;
  readonly #avail: Uint16Array;
  #index = 0;

  /** A ring whose slots are laid out once: read 16, write 4096, write 1. */
  constructor(indirect: boolean, eventIndex: boolean) {
    const table = memory.allocate(16 * SIZE, 16, 0);
    const avail = memory.allocate(6 + 2 * SIZE, 2, 0);
    const used = memory.allocate(6 + 8 * SIZE, 4, 0);
    const [view, offset] = memory.view(avail);
    this.#avail = new Uint16Array(view.buffer, offset, 3 + SIZE);
    for (let i = 0; i < SIZE; i++) this.#avail[2 + i] = 3 * (i % BATCH);
    for (let slot = 0; slot < BATCH; slot++) {
      this.#layOut(table, 3 * slot, indirect);
    }
    this.queue = SplitVirtqueue.open({
      index: 0,
      size: SIZE,
      descriptorArea: table,
      driverArea: avail,
      deviceArea: used,
      nextAvail: 0,
      eventIndex,
      indirect,
    }, memory.guestMemory());
  }

  /** Publishes one batch and serves it as a block device would. */
  round(): void {
    const { queue } = this;
    this.#index = (this.#index + BATCH) & 0xffff;
    this.#avail[2 + SIZE] = this.#index - 1;
    Atomics.store(this.#avail, 1, this.#index);
    queue.disableKicks();
    while (queue.pop()) serve(queue);
    if (!queue.flush() || queue.enableKicks()) throw new Error("No call");
  }

  #layOut(table: number, head: number, indirect: boolean): void {
    let at = table;
    let first = head;
    if (indirect) {
      at = memory.allocate(48, 16, 1);
      first = 0;
      put(table, head, at, 48, 4, 0);
    }
    put(at, first, memory.allocate(16, 16, 1), 16, 1, first + 1);
    put(at, first + 1, memory.allocate(4096, 16, 1), 4096, 3, first + 2);
    put(at, first + 2, memory.allocate(1, 1, 0), 1, 2, 0);
  }
}

function put(
  table: number,
  index: number,
  address: number,
  size: number,
  flags: number,
  next: number,
): void {
  const [view, offset] = memory.view(table + 16 * index);
  view.setBigUint64(offset, BigInt(address), true);
  view.setUint32(offset + 8, size, true);
  view.setUint16(offset + 12, flags, true);
  view.setUint16(offset + 14, next, true);
}

function serve(queue: Virtqueue): void {
  const { chain } = queue;
  const { reader, writer } = chain;
  const type = reader.readU32();
  reader.skip(4);
  const sector = reader.readU64();
  const data = writer.size - 1;
  const count = writer.takeIovecs(iovecs, 0, data);
  if (type !== 0 || sector !== 0 || count === 0) throw new Error("Not so");
  writer.locate(data);
  writer.writeU8(0);
  queue.push(chain.head, writer.written);
}

function rounds(rings: readonly HotRing[], count: number): void {
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < rings.length; j++) rings[j]!.round();
  }
}

if (import.meta.main) {
  const collect = (globalThis as unknown as { gc(): void }).gc;
  const rings = [
    new HotRing(false, true),
    new HotRing(true, true),
    new HotRing(false, false),
    new HotRing(true, false),
  ];
  const total = 1_000_000 / BATCH / rings.length;
  for (let i = 0; i < 100; i++) rounds(rings, Math.ceil(total / 100));
  collect();
  for (let i = 0; i < 100; i++) rounds(rings, Math.ceil(total / 100));
  collect();
  console.log(rings.map((ring) => ring.queue.malformed).join());
}
