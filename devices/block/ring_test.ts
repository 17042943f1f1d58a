import { assertEquals } from "@std/assert";
import {
  EAGAIN,
  EFAULT,
  EINTR,
  EIO,
  ENOSPC,
  EOPNOTSUPP,
} from "../../src/ffi/abi.ts";
import type { IovecList } from "../../src/io/iovec.ts";
import {
  blockHeader,
  FakeDriver,
  type FakeRing,
  rangeBytes,
  type RequestPart,
  RING_KINDS,
  type RingKind,
} from "../../src/testing/mod.ts";
import { type Engine, PENDING } from "./engine.ts";
import { Losses } from "./losses.ts";
import type { DiskLimits, Requests } from "./request.ts";
import { BlockRing } from "./ring.ts";

const SECTOR = 512;
const [IN, OUT, FLUSH, DISCARD, WRITE_ZEROES] = [0, 1, 4, 11, 13];

const DISK: DiskLimits = {
  sectors: 1 << 20,
  readOnly: false,
  alignment: 1,
  memoryAlignment: 1,
  id: new Uint8Array(20),
};

/** Writes down what it is asked, and answers what the test says, or later. */
class ScriptedEngine implements Engine {
  share = 0x10000;
  readonly asked: string[] = [];
  /** What is answered next; once used up everything succeeds. */
  answers: number[] = [];

  read(
    requests: Requests,
    slot: number,
    list: IovecList,
    first: number,
    count: number,
  ): number {
    const what = `${slot} ${sizesOf(list, first, count)}`;
    const at = requests.offset[slot]!;
    return this.#answer(`read ${what} at ${at}`, requests.chunk[slot]!);
  }

  write(
    requests: Requests,
    slot: number,
    list: IovecList,
    first: number,
    count: number,
    durable: boolean,
  ): number {
    const how = durable ? "write durably" : "write";
    const what = `${slot} ${sizesOf(list, first, count)}`;
    const at = requests.offset[slot]!;
    return this.#answer(`${how} ${what} at ${at}`, requests.chunk[slot]!);
  }

  flush(slot: number): number {
    return this.#answer(`flush ${slot}`, 0);
  }

  discard(slot: number, offset: number, size: number): number {
    return this.#answer(`discard ${slot} ${size} at ${offset}`, 0);
  }

  zero(slot: number, offset: number, size: number, mayUnmap: boolean): number {
    const how = mayUnmap ? "unmap" : "zero";
    return this.#answer(`${how} ${slot} ${size} at ${offset}`, 0);
  }

  #answer(what: string, all: number): number {
    this.asked.push(what);
    return this.answers.shift() ?? all;
  }
}

function sizesOf(list: IovecList, first: number, count: number): string {
  const sizes = Array.from({ length: count }, (_, i) => list.size(first + i));
  return sizes.join("+");
}

/** A ring on a scripted engine. */
class Bench implements Disposable {
  readonly engine = new ScriptedEngine();
  readonly ring: BlockRing;
  readonly #fake: FakeDriver;
  readonly #port: FakeRing;

  constructor(
    kind: RingKind,
    disk: Partial<DiskLimits> = {},
    queueSize = 64,
    losses: Losses | null = null,
  ) {
    const limits = { ...DISK, ...disk };
    let ring: BlockRing | null = null;
    this.#fake = FakeDriver.over((services) => ({
      start: (queue) =>
        ring = new BlockRing(
          queue,
          limits,
          services,
          () => this.engine,
          losses,
        ),
      drain: () => ring!.drain(),
      [Symbol.dispose]: () => ring![Symbol.dispose](),
    }), { kind, queueSize });
    this.#port = this.#fake.rings[0]!;
    this.ring = ring!;
  }

  /** The device's end of the ring. */
  get queue(): FakeRing["queue"] {
    return this.#port.queue;
  }

  /** Publishes a request with data in buffers of `sizes`, and takes it; its slot. */
  post(type: number, sector: number, sizes: number[], shift = 0): number {
    const head = this.publish(type, sector, sizes, shift);
    this.ring.drain();
    return head;
  }

  /** Publishes a request likewise; its slot. */
  publish(type: number, sector: number, sizes: number[], shift = 0): number {
    const data = sizes.map((size) => {
      const address = this.#fake.memory.allocate(size + shift, SECTOR) + shift;
      return { address, size, writable: type === IN };
    });
    return this.#publish({ bytes: blockHeader(type, sector) }, ...data);
  }

  /** Publishes a DISCARD or WRITE_ZEROES of `[sector, sectors, flags]`. */
  postRanges(type: number, ranges: [number, number, number][]): number {
    const bytes = rangeBytes(
      ranges.map(([sector, sectors, flags]) => ({ sector, sectors, flags })),
    );
    const head = this.#publish({ bytes: blockHeader(type, 0) }, { bytes });
    this.ring.drain();
    return head;
  }

  /** The heads given back since last time, each with its status. */
  done(): [head: number, status: number][] {
    this.#port.flush();
    const done: [number, number][] = [];
    for (let one; (one = this.#port.requests.take()) !== null;) {
      done.push([one.head, one.rooms().at(-1)![0]!]);
    }
    return done;
  }

  [Symbol.dispose](): void {
    this.#fake[Symbol.dispose]();
  }

  #publish(...parts: RequestPart[]): number {
    const { requests } = this.#port;
    const { head } = requests.stage([...parts, { room: 1 }]);
    requests.publish();
    return head;
  }
}

/** Registers a test for each kind of ring, with what opens a bench on it. */
function eachKind(
  name: string,
  fn: (open: (disk?: Partial<DiskLimits>, queueSize?: number) => Bench) => void,
): void {
  for (const kind of RING_KINDS) {
    Deno.test(
      `${name} (${kind.name})`,
      () => fn((disk, queueSize) => new Bench(kind, disk, queueSize)),
    );
  }
}

eachKind("a short transfer goes on where it ended", (open) => {
  using bench = open();
  bench.engine.answers = [512, 1000, 1];
  const slot = bench.post(IN, 8, [1024, 512, 2048]);
  assertEquals(bench.engine.asked, [
    `read ${slot} 1024+512+2048 at 4096`,
    `read ${slot} 512+512+2048 at 4608`,
    `read ${slot} 24+2048 at 5608`,
    `read ${slot} 23+2048 at 5609`,
  ]);
  assertEquals(bench.done(), [[slot, 0]]);
});

eachKind("a short transfer that completes later goes on likewise", (open) => {
  using bench = open();
  bench.engine.answers = [PENDING, PENDING];
  const slot = bench.post(OUT, 0, [512, 512]);
  bench.ring.complete(slot, 700, 0);
  assertEquals(bench.done(), []);
  bench.ring.complete(slot, 324, 0);
  assertEquals(bench.done(), [[slot, 0]]);
  assertEquals(bench.engine.asked, [
    `write ${slot} 512+512 at 0`,
    `write ${slot} 324 at 700`,
  ]);
});

eachKind("requests complete in any order", (open) => {
  using bench = open();
  bench.engine.answers = [PENDING, PENDING, PENDING];
  const slots = [0, 1, 2].map((i) => bench.post(IN, i, [SECTOR]));
  bench.ring.complete(slots[2]!, SECTOR, 0);
  bench.ring.complete(slots[0]!, -EIO, 0);
  assertEquals(bench.done(), [[slots[2]!, 0], [slots[0]!, 1]]);
  bench.ring.complete(slots[1]!, SECTOR, 0);
  assertEquals(bench.done(), [[slots[1]!, 0]]);
});

eachKind("errors of the medium are IOERR", (open) => {
  for (const errno of [EIO, ENOSPC, EFAULT]) {
    using bench = open();
    for (const type of [IN, OUT]) {
      bench.engine.answers = [-errno];
      const slot = bench.post(type, 0, [SECTOR]);
      assertEquals(bench.done(), [[slot, 1]]);
    }
    bench.engine.answers = [-errno];
    const slot = bench.post(FLUSH, 0, []);
    assertEquals(bench.done(), [[slot, 1]]);
  }
});

for (const kind of RING_KINDS) {
  Deno.test(`after a flush that failed none succeeds, on no ring of the disk (${kind.name})`, () => {
    const losses = new Losses();
    using one = new Bench(kind, {}, 64, losses);
    using other = new Bench(kind, {}, 64, new Losses(losses.memory));
    const statusOf = (bench: Bench, type: number, answer: number) => {
      bench.engine.answers = [answer];
      const slot = bench.post(type, 0, type === FLUSH ? [] : [SECTOR]);
      const done = bench.done();
      assertEquals(done.map(([head]) => head), [slot]);
      return done[0]![1];
    };
    // Neither says that anything was lost.
    assertEquals(statusOf(one, OUT, -EIO), 1);
    assertEquals(statusOf(one, IN, -EIO), 1);
    assertEquals(statusOf(one, FLUSH, 0), 0);
    assertEquals(statusOf(one, FLUSH, -EIO), 1);
    for (const bench of [one, other]) {
      assertEquals(statusOf(bench, FLUSH, 0), 1);
      assertEquals(statusOf(bench, OUT, SECTOR), 0);
      assertEquals(statusOf(bench, IN, SECTOR), 0);
      bench.ring.writethrough = true;
      assertEquals(statusOf(bench, OUT, SECTOR), 1);
    }
  });

  Deno.test(`a durable write to a cache is one that is flushed (${kind.name})`, () => {
    using bench = new Bench(kind, {}, 64, new Losses());
    bench.ring.writethrough = true;
    const slot = bench.post(OUT, 8, [SECTOR]);
    assertEquals(bench.engine.asked, [
      `write ${slot} 512 at 4096`,
      `flush ${slot}`,
    ]);
    assertEquals(bench.done(), [[slot, 0]]);
  });
}

eachKind("without a cache a flush that failed can be tried again", (open) => {
  using bench = open();
  bench.engine.answers = [-EIO, 0];
  const slots = [bench.post(FLUSH, 0, []), bench.post(FLUSH, 0, [])];
  assertEquals(bench.done(), [[slots[0]!, 1], [slots[1]!, 0]]);
});

eachKind("an error after a part was moved is IOERR", (open) => {
  using bench = open();
  bench.engine.answers = [100, -EIO];
  const slot = bench.post(OUT, 0, [SECTOR]);
  assertEquals(bench.done(), [[slot, 1]]);
});

eachKind("what is to be tried again is tried again", (open) => {
  using bench = open();
  bench.engine.answers = [-EAGAIN, -EINTR, 512, -EAGAIN];
  const slot = bench.post(IN, 0, [1024]);
  assertEquals(bench.engine.asked.length, 5);
  assertEquals(bench.done(), [[slot, 0]]);
});

eachKind("but not for ever", (open) => {
  using bench = open();
  bench.engine.answers = new Array(10000).fill(-EAGAIN);
  const slot = bench.post(IN, 0, [SECTOR]);
  assertEquals(bench.done(), [[slot, 1]]);
  bench.engine.answers = [-EAGAIN];
  const next = bench.post(IN, 0, [SECTOR]);
  assertEquals(bench.done(), [[next, 0]], "each request has its own tries");
});

eachKind("in writethrough every write is durable", (open) => {
  using bench = open();
  bench.ring.writethrough = true;
  const one = bench.post(OUT, 0, [SECTOR]);
  const two = bench.postRanges(WRITE_ZEROES, [[1, 1, 0], [2, 1, 0]]);
  const three = bench.postRanges(DISCARD, [[3, 1, 0]]);
  assertEquals(bench.engine.asked, [
    `write durably ${one} 512 at 0`,
    `zero ${two} 512 at 512`,
    `zero ${two} 512 at 1024`,
    `flush ${two}`,
    `discard ${three} 512 at 1536`,
    `flush ${three}`,
  ]);
  assertEquals(bench.done(), [[one, 0], [two, 0], [three, 0]]);
});

eachKind(
  "a write under way when the cache goes off is flushed first",
  (open) => {
    using bench = open();
    bench.engine.answers = [PENDING, PENDING, PENDING];
    const slot = bench.post(OUT, 0, [1024]);
    bench.ring.complete(slot, 512, 0); // the rest is submitted
    bench.ring.writethrough = true;
    bench.ring.complete(slot, 512, 0);
    assertEquals(bench.done(), []);
    assertEquals(bench.engine.asked.at(-1), `flush ${slot}`);
    bench.ring.complete(slot, 0, 0);
    assertEquals(bench.done(), [[slot, 0]]);
  },
);

eachKind("a write that is durable in part only is flushed too", (open) => {
  using bench = open();
  bench.engine.answers = [PENDING, PENDING, PENDING];
  const slot = bench.post(OUT, 0, [1024]);
  bench.ring.writethrough = true;
  bench.ring.complete(slot, 512, 0);
  bench.ring.complete(slot, 512, 0);
  assertEquals(bench.engine.asked, [
    `write ${slot} 1024 at 0`,
    `write durably ${slot} 512 at 512`,
    `flush ${slot}`,
  ]);
  bench.ring.complete(slot, 0, 0);
  assertEquals(bench.done(), [[slot, 0]]);
});

eachKind("a flush that fails fails the durable write", (open) => {
  using bench = open();
  bench.ring.writethrough = true;
  bench.engine.answers = [0, -EIO];
  const slot = bench.postRanges(WRITE_ZEROES, [[0, 1, 0]]);
  assertEquals(bench.done(), [[slot, 1]]);
});

eachKind("[C64] a DISCARD that the medium can't do is no failure", (open) => {
  using bench = open();
  bench.engine.answers = [-EOPNOTSUPP];
  const slot = bench.postRanges(DISCARD, [[0, 1, 0], [8, 1, 0]]);
  assertEquals(bench.done(), [[slot, 0]]);
  const next = bench.postRanges(DISCARD, [[0, 1, 0]]);
  assertEquals(bench.done(), [[next, 0]]);
  assertEquals(bench.engine.asked.length, 1, "nor asked for again");
});

eachKind("[C64] zeros are written where the medium can't make them", (open) => {
  using bench = open();
  const MIB = 1 << 20;
  bench.engine.answers = [-EOPNOTSUPP, 1000];
  const sectors = 2 * MIB / SECTOR + 1;
  const slot = bench.postRanges(WRITE_ZEROES, [[8, sectors, 0], [4, 1, 0]]);
  assertEquals(bench.engine.asked, [
    `zero ${slot} ${2 * MIB + SECTOR} at 4096`,
    `write ${slot} ${MIB} at 4096`,
    `write ${slot} ${MIB} at 5096`,
    `write ${slot} ${SECTOR + MIB - 1000} at ${MIB + 5096}`,
    `write ${slot} 512 at 2048`,
  ]);
  assertEquals(bench.done(), [[slot, 0]]);
});

eachKind("[C64] one kind of zeros that is refused leaves the other", (open) => {
  using bench = open();
  bench.engine.answers = [-EOPNOTSUPP];
  const zero = bench.postRanges(WRITE_ZEROES, [[0, 1, 0]]);
  const unmap = bench.postRanges(WRITE_ZEROES, [[0, 1, 1]]);
  const again = bench.postRanges(WRITE_ZEROES, [[0, 1, 0]]);
  assertEquals(bench.engine.asked, [
    `zero ${zero} 512 at 0`,
    `write ${zero} 512 at 0`,
    `unmap ${unmap} 512 at 0`,
    `write ${again} 512 at 0`,
  ]);
});

eachKind("[C64] a request is unmapped only where all of it may be", (open) => {
  using bench = open();
  const slot = bench.postRanges(WRITE_ZEROES, [[0, 1, 1], [8, 1, 0]]);
  assertEquals(bench.engine.asked, [
    `zero ${slot} 512 at 0`,
    `zero ${slot} 512 at 4096`,
  ]);
});

eachKind("[C64] a segment that fails ends the request", (open) => {
  using bench = open();
  bench.engine.answers = [0, -EIO];
  const slot = bench.postRanges(DISCARD, [[0, 1, 0], [1, 1, 0], [2, 1, 0]]);
  assertEquals(bench.done(), [[slot, 1]]);
  assertEquals(bench.engine.asked.length, 2);
});

eachKind("[C63] a read-only disk is not even asked to change", (open) => {
  using bench = open({ readOnly: true });
  const slots = [
    bench.post(OUT, 0, [SECTOR]),
    bench.postRanges(DISCARD, [[0, 1, 0]]),
    bench.postRanges(WRITE_ZEROES, [[0, 1, 0]]),
  ];
  assertEquals(bench.done(), slots.map((slot) => [slot, 1]));
  assertEquals(bench.engine.asked, []);
});

eachKind("[C64] a segment longer than we say is IOERR", (open) => {
  using bench = open({ sectors: 2 ** 33 });
  for (const type of [DISCARD, WRITE_ZEROES]) {
    const most = bench.postRanges(type, [[2 ** 32, 1 << 22, 0]]);
    const more = bench.postRanges(type, [[2 ** 32, (1 << 22) + 1, 0]]);
    assertEquals(bench.done(), [[most, 0], [more, 1]]);
  }
  assertEquals(bench.engine.asked.length, 2);
});

eachKind("the end of the file is IOERR", (open) => {
  using bench = open();
  bench.engine.answers = [512, 0];
  const slot = bench.post(IN, 0, [1024]);
  assertEquals(bench.done(), [[slot, 1]]);
});

eachKind("unaligned memory goes through buffers, in rounds", (open) => {
  using bench = open({ alignment: 512, memoryAlignment: 512 });
  const size = (128 << 10) + SECTOR;
  const slot = bench.post(OUT, 0, [size], 1);
  assertEquals(bench.engine.asked, [
    `write ${slot} ${128 << 10} at 0`,
    `write ${slot} ${SECTOR} at ${128 << 10}`,
  ]);
  assertEquals(bench.done(), [[slot, 0]]);
});

eachKind("who finds no buffer gets the next one that is given back", (open) => {
  using bench = open({ alignment: 512, memoryAlignment: 512 });
  bench.engine.answers = new Array(20).fill(PENDING);
  const slots = Array.from(
    { length: 20 },
    (_, i) => bench.post(IN, i, [SECTOR], 1),
  );
  assertEquals(bench.engine.asked.length, 16);
  bench.ring.complete(slots[3]!, SECTOR, 0);
  assertEquals(bench.engine.asked.length, 17);
  assertEquals(bench.engine.asked.at(-1), `read ${slots[16]} 512 at 8192`);
  bench.ring.complete(slots[5]!, -EIO, 0);
  assertEquals(bench.engine.asked.at(-1), `read ${slots[17]} 512 at 8704`);
  assertEquals(bench.done(), [[slots[3]!, 0], [slots[5]!, 1]]);
  const rest = slots.filter((_, i) => i !== 3 && i !== 5);
  for (const slot of rest) bench.ring.complete(slot, SECTOR, 0);
  assertEquals(bench.done().length, 18);
  assertEquals(bench.queue.inFlight, 0);
});

eachKind("long requests wait where they would take too much memory", (open) => {
  using bench = open({}, 32768);
  bench.engine.answers = new Array(65).fill(PENDING);
  const sizes = new Array(200).fill(SECTOR);
  const slots = Array.from({ length: 65 }, () => bench.post(OUT, 0, sizes));
  assertEquals(bench.engine.asked.length, 64);
  assertEquals(bench.queue.inFlight, 64);
  bench.ring.drain();
  assertEquals(bench.engine.asked.length, 64);
  bench.ring.complete(slots[7]!, 200 * SECTOR, 0);
  bench.ring.drain();
  assertEquals(bench.engine.asked.length, 65);
  for (const slot of slots) {
    if (slot !== slots[7]) bench.ring.complete(slot, 200 * SECTOR, 0);
  }
  assertEquals(bench.done().length, 65);
});

eachKind(
  "a drain ends after the share of the engine",
  (open) => {
    using bench = open({}, 128);
    const slots = Array.from(
      { length: 40 },
      (_, i) => bench.publish(IN, i, [SECTOR]),
    );
    bench.engine.share = 12;
    const shares: number[] = [];
    const done: [number, number][] = [];
    while (bench.queue.hasAvailable()) {
      bench.ring.drain();
      const share = bench.done();
      shares.push(share.length);
      done.push(...share);
    }
    assertEquals(shares, [12, 12, 12, 4]);
    assertEquals(done, slots.map((slot) => [slot, 0]));
  },
);

eachKind("a drain takes all where requests are answered later", (open) => {
  using bench = open({}, 128);
  const slots = Array.from(
    { length: 40 },
    (_, i) => bench.publish(IN, i, [SECTOR]),
  );
  bench.engine.answers = Array(40).fill(PENDING);
  bench.ring.drain();
  assertEquals(bench.queue.inFlight, 40);
  for (const slot of slots) bench.ring.complete(slot, SECTOR, 0);
  assertEquals(bench.done(), slots.map((slot) => [slot, 0]));
});
