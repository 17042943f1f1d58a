/**
 * Serves so many requests for random bytes, to a driver that allocates
 * nothing, and says when it is warm: for tests that look at what V8 does then.
 *
 *     deno run --allow-all rng_hot_run.ts kernel|file|budget [split|packed]
 *
 * @module
 */
import { rng } from "../../devices/rng/mod.ts";
import type { LoadRing } from "../../src/load/load_ring.ts";
import { FakeDriver, type GivenOptions } from "../../src/testing/mod.ts";
import { hotRing, kindNamed } from "./hot_ring.ts";
import { measureRounds } from "./rounds.ts";

const DEPTH = 64;
const RING_SIZE = 128;
const REQUEST_SIZE = 64;
const WARM_UP = 400_000;
const MEASURED = 1_000_000;

const VARIANTS: Record<string, GivenOptions> = {
  kernel: {},
  file: { source: "/dev/zero" },
  budget: { "max-bytes": 2 ** 40, "period": 1000 },
};

/** The driver: requests of one segment, and every fourth of two. */
class Load {
  readonly #fake: FakeDriver;
  readonly #ring: LoadRing;

  constructor(fake: FakeDriver) {
    this.#fake = fake;
    const requests = Array.from({ length: DEPTH }, (_, i) => {
      const sizes = i % 4 === 0 ? [REQUEST_SIZE - 4, 4] : [REQUEST_SIZE];
      const address = fake.memory.allocate(REQUEST_SIZE);
      return sizes.map((size, n) => ({
        address: address + n * (REQUEST_SIZE - 4),
        size,
        writable: true,
      }));
    });
    this.#ring = hotRing(fake, 0, requests);
    for (let i = 0; i < DEPTH; i++) this.#ring.add(i, 0);
    this.#ring.publish();
  }

  /** Serves `count` requests. */
  run(count: number): void {
    const { data } = this.#fake;
    const { queue } = this.#fake.rings[0]!;
    let done = 0;
    while (done < count) {
      data.drain(queue);
      queue.flush();
      done += this.#turn();
    }
  }

  /** Takes back what is there, and makes it available again. */
  #turn(): number {
    const ring = this.#ring;
    let count = 0;
    if (!ring.look()) return 0;
    for (let i = ring.take(); i >= 0; i = ring.take()) {
      if (ring.written !== REQUEST_SIZE) {
        throw new Error(`Request ${i} is short`);
      }
      ring.add(i, 0);
      count++;
    }
    ring.publish();
    return count;
  }
}

if (import.meta.main) {
  const [variant, kind] = Deno.args as [string, string?];
  await using fake = await FakeDriver.open(rng, VARIANTS[variant]!, {
    queueSize: RING_SIZE,
    kind: kindNamed(kind),
  });
  const load = new Load(fake);
  load.run(WARM_UP);
  measureRounds(variant, MEASURED, () => load.run(MEASURED));
}
