/**
 * Runs two million chains through rings of one kind, half of them after a
 * warm-up. To be run in a process of its own with V8's traces on, `split` or
 * `packed` as its argument; two forced collections mark the part that counts.
 *
 * @module
 */
import { DriverMemory } from "../../src/testing/mod.ts";
import type { Virtqueue } from "../../src/virtqueue/mod.ts";
import { IovecList } from "../../src/io/iovec.ts";
import { LaidOutRing } from "./laid_out_ring.ts";

/** Chains that are published at a time. */
const BATCH = 64;
/** Beyond 4 GiB, where no address is a small integer, nor its lower half. */
const HIGH = 0x2_c000_0000;
const WRITE = 2;

const memory = DriverMemory.plain([
  { guestAddress: 0x10000, size: 1 << 16 },
  { guestAddress: HIGH, size: 1 << 22 },
]);
const iovecs = new IovecList(16);

/** As of a block device: a header, data, a status. */
const REQUEST = [
  { flags: 0, size: 16 },
  { flags: WRITE, size: 4096 },
  { flags: WRITE, size: 1 },
];

/** Publishes one batch and serves it as a block device would. */
function round(ring: LaidOutRing): void {
  const { queue } = ring;
  ring.publish(BATCH);
  queue.disableKicks();
  while (queue.pop()) serve(queue);
  if (!queue.flush() || queue.enableKicks()) throw new Error("No call");
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

function rounds(rings: readonly LaidOutRing[], count: number): void {
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < rings.length; j++) round(rings[j]!);
  }
}

if (import.meta.main) {
  const collect = (globalThis as unknown as { gc(): void }).gc;
  const packed = Deno.args[0] === "packed";
  const rings = [false, true].flatMap((eventIndex) =>
    [false, true].flatMap((indirect) =>
      [false, true].map((inOrder) =>
        LaidOutRing.of(memory, REQUEST, BATCH, {
          packed,
          eventIndex,
          indirect,
          inOrder,
          ringRegion: 0,
          bufferRegion: 1,
        })
      )
    )
  );
  const total = 1_000_000 / BATCH / rings.length;
  for (let i = 0; i < 100; i++) rounds(rings, Math.ceil(total / 100));
  collect();
  for (let i = 0; i < 100; i++) rounds(rings, Math.ceil(total / 100));
  collect();
  console.log(rings.map((ring) => ring.queue.malformed).join());
}
