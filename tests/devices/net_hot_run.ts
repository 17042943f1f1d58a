/**
 * Sends so many frames through a card, with a driver that allocates nothing,
 * in rounds: for tests that look at what V8 does then.
 *
 *     deno run --allow-all net_hot_run.ts loopback|tap split|packed [NAME [uring]]
 *
 * @module
 */
import type { LoadRing, LoadSegment } from "../../src/load/load_ring.ts";
import { Card } from "./card.ts";
import { hotRing, kindNamed } from "./hot_ring.ts";
import { measureRounds } from "./rounds.ts";

const SIZE = 256;
const DEPTH = 128;
const WARM_UP = 400_000;
/** In each round. */
const MEASURED = 1_000_000;
/** Bytes of the frames, in turn. */
const SIZES = [60, 64, 590, 1514];
const BUFFER_SIZE = 2048;

/** One ring whose requests are posted again as they come back. */
class Side {
  done = 0;
  readonly #ring: LoadRing;

  constructor(card: Card, index: number, segments: readonly LoadSegment[]) {
    const requests = segments.map((segment) => [segment]);
    this.#ring = hotRing(card.fake, index, requests);
    for (let i = 0; i < requests.length; i++) this.#ring.add(i, 0);
    this.#ring.publish();
  }

  /** Takes back what is there, and posts it again. */
  turn(): void {
    const ring = this.#ring;
    if (!ring.look()) return;
    for (let i = ring.take(); i >= 0; i = ring.take()) {
      ring.add(i, 0);
      this.done++;
    }
    ring.publish();
  }
}

function layOut(card: Card): [receive: Side, transmit: Side] {
  const { memory } = card.fake;
  const buffers = Array.from({ length: SIZE }, () => ({
    address: memory.allocate(BUFFER_SIZE),
    size: BUFFER_SIZE,
    writable: true,
  }));
  const frames = Array.from({ length: DEPTH }, (_, i) => {
    const size = 12 + SIZES[i % SIZES.length]!;
    const address = memory.allocate(size);
    memory.write(address, new Uint8Array(size).fill(2, 12));
    return { address, size, writable: false };
  });
  return [new Side(card, 0, buffers), new Side(card, 1, frames)];
}

function run(card: Card, sides: [Side, Side], count: number): void {
  const [receive, transmit] = sides;
  const { data, rings, uring } = card.fake;
  const [receiveQueue, transmitQueue] = rings.map(({ queue }) => queue);
  const until = transmit.done + count;
  while (transmit.done < until) {
    data.drain(receiveQueue!);
    data.drain(transmitQueue!);
    if (uring !== null && uring.inFlight > 0) {
      uring.submit();
      uring.reap(SIZE);
    }
    receiveQueue!.flush();
    transmitQueue!.flush();
    receive.turn();
    transmit.turn();
  }
}

if (import.meta.main) {
  const [backend, kind, ifname, uring] = Deno.args;
  const given = ifname === undefined ? {} : { ifname };
  await using card = await Card.open({ backend: backend!, ...given }, {
    kind: kindNamed(kind),
    uring: uring !== undefined,
  });
  const sides = layOut(card);
  run(card, sides, WARM_UP);
  measureRounds(backend!, MEASURED, () => run(card, sides, MEASURED));
  if (backend === "loopback" && sides[0].done < MEASURED) {
    throw new Error(`Only ${sides[0].done} frames came back`);
  }
}
