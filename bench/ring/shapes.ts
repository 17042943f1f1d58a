/**
 * What is timed of a ring alone, each shape with its batch. Chains are laid out
 * once and published over and over: that costs two stores a batch, of a packed
 * ring two a chain. bench/peers/virtio_queue/src/main.rs has the same shapes by
 * the same names.
 *
 * @module
 */
import { IovecList } from "../../src/io/iovec.ts";
import { DriverMemory } from "../../src/testing/mod.ts";
import type { Virtqueue } from "../../src/virtqueue/mod.ts";
import {
  type LaidOutBuffer,
  LaidOutRing,
} from "../../tests/conformance/laid_out_ring.ts";

/** A buffer that the device writes. */
export const WRITE = 2;
/** Beyond 4 GiB, where no address is a small integer. */
const BASE = 0x1_c000_0000;
/** A chain of 128 buffers. */
export const LONG = Array<LaidOutBuffer>(128).fill({ flags: 0, size: 512 });
/** As of a block device: a header, data, a status. */
export const REQUEST = [
  { flags: 0, size: 16 },
  { flags: WRITE, size: 4096 },
  { flags: WRITE, size: 1 },
];
const REQUEST_BYTES = 16 + 4096 + 1;

/** One shape. */
export interface Shape {
  readonly name: string;
  /** Chains a round. */
  readonly chains: number;
  readonly run: () => void;
  /** What the driver does of that: publishes, and nothing is taken. */
  readonly publish: () => void;
}

/** A ring of `count` chains alike. */
export function ringOf(
  packed: boolean,
  indirect: boolean,
  chain: readonly LaidOutBuffer[],
  count: number,
  inOrder = false,
): LaidOutRing {
  const memory = DriverMemory.plain([{ guestAddress: BASE, size: 1 << 22 }]);
  return LaidOutRing.of(memory, chain, count, {
    packed,
    indirect,
    inOrder,
    eventIndex: true,
  });
}

/** Takes all chains there are, visits their segments, gives them back. */
export function walk(queue: Virtqueue): number {
  let bytes = 0;
  while (queue.pop()) {
    const { chain } = queue;
    const { segmentCount, sizes } = chain;
    for (let i = 0; i < segmentCount; i++) bytes += sizes[i]!;
    queue.push(chain.head, 0);
  }
  queue.flush();
  return bytes;
}

const iovecs = new IovecList(16);

/** Serves a batch as a block device does, but for the disk. */
export function serve(queue: Virtqueue): void {
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

/** A shape of `count` chains, all of which are walked. */
function walking(
  name: string,
  ring: LaidOutRing,
  count: number,
  bytes: number,
): Shape {
  const run = () => {
    ring.publish(count);
    if (walk(ring.queue) !== bytes) throw new Error("Chains were lost");
  };
  return { name, chains: count, run, publish: () => ring.publish(count) };
}

function shapesOf(packed: boolean, indirect: boolean): Shape[] {
  const kind = indirect ? "indirect" : "direct";
  const ring = (chain: readonly LaidOutBuffer[], count: number) =>
    ringOf(packed, indirect, chain, count);
  const block = ring(REQUEST, 64);
  return [
    walking(`chain of 128, ${kind}`, ring(LONG, 2), 1, 128 * 512),
    walking(
      `128 chains of 1, ${kind}`,
      ring(LONG.slice(0, 1), 128),
      128,
      128 * 512,
    ),
    walking(
      `64 chains of 3, ${kind}`,
      ring(REQUEST, 64),
      64,
      64 * REQUEST_BYTES,
    ),
    {
      name: `64 block requests, ${kind}`,
      chains: 64,
      run: () => {
        block.publish(64);
        serve(block.queue);
      },
      publish: () => block.publish(64),
    },
  ];
}

/** The shapes of a ring of one kind. */
export function shapes(packed: boolean): Shape[] {
  return [...shapesOf(packed, false), ...shapesOf(packed, true)];
}
