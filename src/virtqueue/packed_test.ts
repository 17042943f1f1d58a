import { assert, assertEquals } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { Mapping } from "../ffi/mapping.ts";
import { DriverMemory } from "../testing/driver_memory.ts";
import { PackedDriver } from "../testing/packed_driver.ts";
import { Prng } from "../testing/prng.ts";
import { PackedVirtqueue } from "./packed.ts";
import { packedInflightSize } from "./packed_inflight.ts";
import { RING_START } from "./packed_state.ts";

const SIZE = 8;
const DATA = 0x18000;

/** A ring whose device may die at any time: `open` makes the next one. */
class Stage implements Disposable {
  readonly memory = DriverMemory.plain(1 << 16);
  readonly driver: PackedDriver;
  readonly mapping: Mapping;
  readonly view: DataView;

  constructor(readonly size = SIZE, inOrder = false) {
    this.driver = new PackedDriver(this.memory, size, {
      indirect: true,
      inOrder,
    });
    this.mapping = Mapping.anonymous(packedInflightSize(size));
    this.view = new DataView(this.mapping.buffer);
  }

  open(): PackedVirtqueue {
    const { address } = this.mapping;
    const inflight = { address, size: packedInflightSize(this.size) };
    // Of what the front-end says of a back-end that died, nothing is true.
    const config = { ...this.driver.config(), nextAvail: RING_START, inflight };
    return PackedVirtqueue.open(config, this.memory.guestMemory());
  }

  /** Makes a chain of `count` available. */
  add(count: number): number {
    const part = { address: DATA, size: 4, writable: true };
    const head = this.driver.add(Array(count).fill(part));
    this.driver.publish();
    return head;
  }

  [Symbol.dispose](): void {
    this.mapping[Symbol.dispose]();
  }
}

/** All heads there are to pop. */
function popAll(queue: PackedVirtqueue): number[] {
  const heads: number[] = [];
  while (queue.pop()) heads.push(queue.chain.head);
  return heads;
}

function takeAll(driver: PackedDriver): number[] {
  const heads: number[] = [];
  for (let u = driver.nextUsed(); u !== null; u = driver.nextUsed()) {
    heads.push(u.head);
  }
  return heads;
}

describe("PackedVirtqueue, deaths", () => {
  it("[C58] a batch that was not published is run again, all of it", () => {
    using stage = new Stage();
    const heads = [stage.add(1), stage.add(2), stage.add(1)];
    const queue = stage.open();
    popAll(queue);
    // Used descriptors but for the first one are in the ring.
    for (const head of heads) queue.push(head, 4);
    assertEquals(takeAll(stage.driver), []);
    const next = stage.open();
    assertEquals(popAll(next), heads);
    next.push(heads[0]!, 4);
    next.flush();
    assertEquals(takeAll(stage.driver), [heads[0]], "the others are not there");
    next.push(heads[2]!, 4);
    next.push(heads[1]!, 4);
    next.flush();
    assertEquals(takeAll(stage.driver), [heads[2], heads[1]]);
  });

  for (const inOrder of [false, true]) {
    const order = inOrder ? "in order" : "in any order";
    it(`[C58] no chain is lost or given back twice, used ${order}`, () => {
      const prng = Prng.fromEnvironment("deaths");
      using stage = new Stage(13, inOrder);
      const { driver } = stage;
      const out = new Set<number>();
      let queue = stage.open();
      let inFlight: number[] = [];
      for (let turn = 0; turn < 20_000; turn++) {
        const count = 1 + prng.below(3);
        if (count <= driver.freeCount) out.add(stage.add(count));
        while (prng.below(2) === 0 && queue.pop()) {
          inFlight.push(queue.chain.head);
        }
        while (inFlight.length > 0 && prng.below(2) === 0) {
          const [head] = inFlight.splice(prng.below(inFlight.length), 1);
          queue.push(head!, 4);
        }
        if (prng.below(3) > 0) queue.flush();
        for (const head of takeAll(driver)) {
          assert(out.delete(head), `${head} was given back twice`);
        }
        if (prng.below(20) > 0) continue;
        queue = stage.open();
        inFlight = [];
      }
      inFlight.push(...popAll(queue));
      for (const head of inFlight) queue.push(head, 4);
      queue.flush();
      for (const head of takeAll(driver)) assert(out.delete(head));
      assertEquals([...out], []);
    });
  }
});
