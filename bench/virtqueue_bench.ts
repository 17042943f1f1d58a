/**
 * The parts of a ring: the five shapes that rust-vmm's virtio-queue measures
 * with criterion (queue size 256), and what a block request costs.
 *
 * A figure is for the whole shape: 1 chain of 128 descriptors, 128 chains of 1,
 * 128 used entries; a request is one of a batch of 64. Both kinds of rings, side
 * by side.
 *
 * @module
 */
import { IovecList } from "../src/io/iovec.ts";
import { DriverMemory } from "../src/testing/mod.ts";
import type { Virtqueue } from "../src/virtqueue/mod.ts";
import {
  type LaidOutBuffer,
  LaidOutRing,
} from "../tests/conformance/laid_out_ring.ts";

const COUNT = 128;
const BATCH = 64;

const WRITE = 2;

/** A ring of `count` chains alike, beyond 4 GiB. */
function ringOf(
  packed: boolean,
  indirect: boolean,
  chain: readonly LaidOutBuffer[],
  count: number,
  inOrder = false,
): LaidOutRing {
  const memory = DriverMemory.plain([
    { guestAddress: 0x1_c000_0000, size: 1 << 22 },
  ]);
  const options = { packed, indirect, inOrder, eventIndex: true };
  return LaidOutRing.of(memory, chain, count, options);
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

const REQUEST = [
  { flags: 0, size: 512 },
  { flags: WRITE, size: 512 },
  { flags: WRITE, size: 512 },
];

for (const packed of [false, true]) {
  const group = packed ? "packed" : "split";
  const bench = (name: string, fn: (b: Deno.BenchContext) => void) => {
    Deno.bench(`${group}: ${name}`, { group: name, baseline: !packed }, fn);
  };

  for (const indirect of [false, true]) {
    const long = Array<LaidOutBuffer>(COUNT).fill({ flags: 0, size: 512 });
    const single = ringOf(packed, indirect, long, 2);
    bench(`single chain (indirect=${indirect})`, () => {
      single.publish(1);
      if (walk(single.queue) !== 512 * COUNT) throw new Error("Lost");
    });

    const multiple = ringOf(packed, indirect, long.slice(0, 1), COUNT);
    bench(`multiple chains (indirect=${indirect})`, () => {
      multiple.publish(COUNT);
      if (walk(multiple.queue) !== 512 * COUNT) throw new Error("Lost");
    });
  }

  const used = ringOf(packed, false, [{ flags: WRITE, size: 512 }], COUNT);
  bench("add used", (b) => {
    const { queue } = used;
    const heads: number[] = [];
    used.publish(COUNT);
    while (queue.pop()) heads.push(queue.chain.head);
    b.start();
    for (let i = 0; i < COUNT; i++) queue.push(heads[i]!, 512);
    queue.flush();
    b.end();
  });

  for (const indirect of [false, true]) {
    const name = indirect ? "indirect" : "direct";
    for (const inOrder of [false, true]) {
      const ring = ringOf(packed, indirect, REQUEST, BATCH, inOrder);
      const order = inOrder ? ", in order" : "";
      bench(`${BATCH} chains of 3, pop and push (${name}${order})`, () => {
        ring.publish(BATCH);
        while (ring.queue.pop()) ring.queue.push(ring.queue.chain.head, 1);
        ring.queue.flush();
      });
    }
    const ring = ringOf(packed, indirect, REQUEST, BATCH);
    bench(`${BATCH} block requests without a disk (${name})`, () => {
      ring.publish(BATCH);
      serve(ring.queue);
    });
  }
}
