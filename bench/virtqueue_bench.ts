/**
 * The parts of a ring: the five shapes that rust-vmm's virtio-queue measures
 * with criterion (queue size 256), and what a block request costs. bench/ring
 * has most of them beside their peer, at more length.
 *
 * A figure is for the whole shape: 1 chain of 128 descriptors, 128 chains of 1,
 * 128 used entries; a request is one of a batch of 64. Both kinds of rings, side
 * by side.
 *
 * @module
 */
import { LONG, REQUEST, ringOf, serve, walk, WRITE } from "./ring/shapes.ts";

const COUNT = 128;
const BATCH = 64;

for (const packed of [false, true]) {
  const group = packed ? "packed" : "split";
  const bench = (name: string, fn: (b: Deno.BenchContext) => void) => {
    Deno.bench(`${group}: ${name}`, { group: name, baseline: !packed }, fn);
  };

  for (const indirect of [false, true]) {
    const single = ringOf(packed, indirect, LONG, 2);
    bench(`single chain (indirect=${indirect})`, () => {
      single.publish(1);
      if (walk(single.queue) !== 512 * COUNT) throw new Error("Lost");
    });

    const multiple = ringOf(packed, indirect, LONG.slice(0, 1), COUNT);
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
