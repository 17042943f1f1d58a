import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { DataDevice } from "../device/device.ts";
import type { Virtqueue } from "../virtqueue/virtqueue.ts";
import { DriverMemory } from "./driver_memory.ts";
import { FakeDriver, type FakeDriverOptions } from "./fake_driver.ts";
import type { RequestLayout } from "./request_layout.ts";
import { RequestRing, type RingPort } from "./request_ring.ts";
import { openRing } from "./open_ring.ts";
import type { UsedChain } from "./ring_driver.ts";
import { RING_KINDS, type RingKind } from "./ring_kinds.ts";
import { StalledError } from "./ring_request.ts";
import { SplitDriver } from "./split_driver.ts";

function each(name: string, fn: (kind: RingKind) => Promise<void> | void) {
  for (const kind of RING_KINDS) {
    Deno.test(`${name} (${kind.name})`, () => fn(kind));
  }
}

/** Answers each request by what `answer` makes of its chain. */
function answering(
  answer: (queue: Virtqueue) => number,
  options: FakeDriverOptions = {},
): FakeDriver {
  return FakeDriver.over(() => ({
    drain(queue) {
      while (queue.pop()) queue.push(queue.chain.head, answer(queue));
    },
  }), options);
}

/** Keeps what it gets until it is told to give it back. */
class Keeper implements DataDevice {
  heads: number[] = [];
  #queue: Virtqueue | null = null;

  start(queue: Virtqueue): void {
    this.#queue = queue;
  }

  drain(queue: Virtqueue): void {
    while (queue.pop()) this.heads.push(queue.chain.head);
  }

  /** Gives the oldest back. */
  giveBack(written = 0): void {
    this.#queue!.push(this.heads.shift()!, written);
    this.#queue!.flush();
  }
}

each("parts become descriptors as the layout says", async (kind) => {
  const seen: number[][] = [];
  using fake = answering(({ chain }) => {
    const sizes = [...chain.sizes.subarray(0, chain.segmentCount)];
    seen.push([chain.readableCount, ...sizes]);
    const bytes = new Uint8Array(chain.reader.size);
    chain.reader.readBytes(bytes);
    return chain.writer.writeBytes(bytes);
  }, { kind });
  const parts = [
    { bytes: Uint8Array.of(1, 2, 3) },
    { bytes: Uint8Array.of(4, 5) },
    { room: 4 },
    { room: 1 },
  ];
  const layouts: RequestLayout[] = [
    {},
    { indirect: true },
    { readable: [1, 3], writable: [5] },
    { writable: [2, 2], indirect: 0 },
    { readable: [9] },
  ];
  const wanted = [
    [2, 3, 2, 4, 1],
    [2, 3, 2, 4, 1],
    [3, 1, 3, 1, 5],
    [2, 3, 2, 2, 2, 1],
    [1, 5, 4, 1],
  ];
  if (kind.name === "split") {
    // Descriptors of a packed ring are all in a table, or none (§2.8.7).
    layouts.push({ indirect: 2 });
    wanted.push([2, 3, 2, 4, 1]);
  }
  for (const layout of layouts) {
    const answer = await fake.request(parts, layout);
    assertEquals([...answer.bytes()], [1, 2, 3, 4, 5]);
    assertEquals(answer.rooms().map((room) => [...room]), [[1, 2, 3, 4], [5]]);
  }
  assertEquals(seen, wanted);
});

each("indirect is a table, or what follows is in one", (kind) => {
  using fake = answering(() => 0, { kind });
  const { ring, requests } = fake.rings[0]!;
  const parts = [1, 2, 3, 4].map((room) => ({ room }));
  const taken = [false, true, 0, 1, 3].map((indirect) => {
    const before = ring.freeCount;
    requests.stage(parts, { indirect });
    return before - ring.freeCount;
  });
  assertEquals(taken, [4, 1, 1, 2, 4]);
});

each("buffers are in the region, or at the address, that is said", (kind) => {
  const regions = [0x1_0000, 0x1000_0000].map((guestAddress) => ({
    guestAddress,
    size: 1 << 20,
  }));
  using fake = answering(() => 0, { kind, memory: regions, ringRegion: 0 });
  const { requests } = fake.rings[0]!;
  const address = 0x1000_8001;
  const request = requests.stage([
    { bytes: new Uint8Array(5) },
    { bytes: Uint8Array.of(7, 8), address },
    { room: 6 },
    { address: 1n << 63n, size: 9, writable: true },
  ], { region: 1 });
  const [first, second, third, fourth] = request.segments;
  assert(Number(first!.address) >= 0x1000_0000);
  assertEquals(second, { address, size: 2, writable: false });
  assertEquals([...fake.memory.read(address, 2)], [7, 8]);
  assert(Number(third!.address) >= 0x1000_0000);
  assertEquals(fourth, { address: 1n << 63n, size: 9, writable: true });
  const error = assertThrows(
    () => requests.stage([{ room: 4, address }], { writable: [1] }),
    RangeError,
  );
  assertStringIncludes(error.message, "leave the address away");
});

each("a full ring makes requests wait, and nobody overtakes", async (kind) => {
  const order: number[] = [];
  using fake = answering(({ chain }) => {
    order.push(chain.reader.readU8());
    return 0;
  }, { kind, queueSize: 4 });
  const { requests } = fake.rings[0]!;
  const parts = (number: number, count: number) => [
    { bytes: Uint8Array.of(number) },
    ...Array.from({ length: count - 1 }, () => ({ room: 8 })),
  ];
  const all = Array.from(
    { length: 60 },
    (_, i) => requests.request(parts(i, 1 + i * 7 % 4)),
  );
  assert(requests.outCount < 60, "not all at once");
  const answers = await Promise.all(all);
  assertEquals(order, Array.from({ length: 60 }, (_, i) => i));
  assertEquals(answers.every(({ written }) => written === 0), true);
  assertEquals(requests.outCount, 0);
  await assertRejects(
    () => requests.request(parts(0, 5)),
    RangeError,
    "wanted at most the 4 entries of the ring",
  );
});

each("who is given back is told, in any order", async (kind) => {
  const keeper = new Keeper();
  using fake = FakeDriver.over(() => keeper, { kind });
  const { requests } = fake.rings[0]!;
  const made = [1, 2, 3].map((room) => requests.stage([{ room }]));
  requests.publish();
  fake.turn();
  keeper.heads.reverse();
  keeper.giveBack(3);
  keeper.giveBack(2);
  assertEquals(await requests.answer(made[2]!), made[2]!);
  assertEquals(requests.out, [made[0]!]);
  assertEquals(made.map(({ written }) => written), [-1, 2, 3]);
  keeper.giveBack();
  assertEquals([requests.take(), requests.take()], [made[0]!, null]);
});

each(
  "a device that keeps a request is an error that names it",
  async (kind) => {
    const keeper = new Keeper();
    using fake = FakeDriver.over(() => keeper, { kind, queueSize: 4 });
    const { requests } = fake.rings[0]!;
    const names = ["a read", "a write"];
    const parts = [{ room: 8 }, { room: 8 }];
    const asked = names.map((what) => requests.request(parts, {}, what));
    // Without room for it.
    asked.push(requests.request(parts));
    for (const request of asked) {
      const error = await assertRejects(() => request, StalledError);
      assertEquals(error.requests.map(({ what }) => what), names);
      assertStringIncludes(error.message, "2 requests are out, wanted back");
      assertStringIncludes(error.message, "a read (head ");
    }
    // What comes late makes room all the same.
    keeper.giveBack();
    keeper.giveBack();
    assertEquals(requests.collect(), 2);
    assertEquals(requests.outCount, 0);
  },
);

/** A port that never calls. */
const SILENT: RingPort = {
  kick: () => {},
  called: () => Promise.withResolvers<void>().promise,
};

each("a device that is silent is an error after a time", async (kind) => {
  const memory = DriverMemory.plain(1 << 20);
  const ring = openRing(memory, 8, kind.features);
  const requests = new RequestRing(memory, ring, SILENT, { timeoutMs: 20 });
  const error = await assertRejects(
    () => requests.request([{ room: 1 }], {}, "a question"),
    StalledError,
  );
  assertEquals(
    error.message,
    "1 request is out after 0.02 s, wanted back from the device: " +
      `a question (head ${error.requests[0]!.head})`,
  );
  assertEquals(await requests.wait({ timeoutMs: 5 }), false);
  const abort = new AbortController();
  const waiting = requests.wait({ signal: abort.signal });
  abort.abort(new Error("Enough"));
  await assertRejects(() => waiting, Error, "Enough");
  await assertRejects(() => requests.wait({ signal: abort.signal }), Error);
});

Deno.test("the reason why a device can't be waited for reaches all", async () => {
  const memory = DriverMemory.plain(1 << 20);
  const port: RingPort = {
    kick: () => {},
    called: () => Promise.reject(new Error("It hung up")),
  };
  const requests = new RequestRing(memory, openRing(memory, 1, 0n), port);
  const asked = [1, 2].map((room) => requests.request([{ room }]));
  for (const request of asked) {
    await assertRejects(() => request, Error, "It hung up");
  }
});

each("what nobody asked for is kept apart", async (kind) => {
  using fake = answering(() => 0, { kind });
  const { ring, requests } = fake.rings[0]!;
  const address = fake.memory.allocate(16);
  const head = ring.add([{ address, size: 16, writable: true }]);
  assertEquals((await requests.request([{ room: 1 }])).written, 0);
  assertEquals(requests.strays, [{ head, written: 0 }]);
});

Deno.test("a limit that is longer than any timer is none that is over at once", async () => {
  using memory = DriverMemory.plain(1 << 16);
  const called = Promise.withResolvers<void>();
  const requests = new RequestRing(memory, new SplitDriver(memory, 4), {
    kick() {},
    called: () => called.promise,
  });
  setTimeout(called.resolve, 20);
  assertEquals(await requests.wait({ timeoutMs: 2 ** 31 }), true);
});

Deno.test("a device that gives back for ever what it never had is given up", async () => {
  class Endless extends SplitDriver {
    override nextUsed(): UsedChain {
      return { head: 3, written: 0 };
    }
  }
  using memory = DriverMemory.plain(1 << 16);
  const requests = new RequestRing(memory, new Endless(memory, 4), {
    kick() {},
    called: () => Promise.resolve(),
  });
  const asked = requests.request([{ room: 1 }]);
  await assertRejects(() => asked, RangeError, "that it did not have");
  assertThrows(() => requests.collect(), RangeError, "gave head 3 back");
  assertEquals(requests.strays.length, 1024);
});

each(
  "bytes are as many as are told, and none is written behind",
  async (kind) => {
    let [wrote, told] = [3, 3];
    using fake = answering(({ chain }) => {
      chain.writer.writeBytes(new Uint8Array(wrote));
      return told;
    }, { kind });
    const ask = () => fake.request([{ room: 4 }], { writable: [1, 1] });
    assertEquals((await ask()).bytes(), new Uint8Array(3));
    told = 2;
    const beyond = await ask();
    const error = assertThrows(() => beyond.bytes(), Error);
    assertStringIncludes(error.message, "Byte 2 of a request");
    told = 5;
    const more = await ask();
    assertThrows(() => more.bytes(), Error, "has 5 bytes, wanted up to 4");
    [wrote, told] = [4, 0];
    const out = fake.rings[0]!.requests.stage([{ room: 1 }]);
    assertThrows(() => out.bytes(), Error, "is still out");
    assertEquals((await ask()).written, 0);
  },
);

each("buffers are used again, as if they were new", async (kind) => {
  using fake = answering(
    ({ chain }) => chain.writer.writeBytes(new Uint8Array(8)),
    { kind, memory: 1 << 16, queueSize: 16 },
  );
  const { requests } = fake.rings[0]!;
  // 32 times as much as there is memory.
  for (let i = 0; i < 512; i++) {
    const request = await requests.request([{ room: 4096 }]);
    assertEquals(request.bytes().length, 8);
    requests.release(request);
  }
  // One that is released while it is out serves on until it is back.
  for (let i = 0; i < 512; i++) {
    const request = requests.stage([{ room: 4096 }]);
    requests.release(request);
    requests.publish();
    await requests.answer(request);
  }
});
