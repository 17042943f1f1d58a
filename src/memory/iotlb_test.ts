import { assert, assertEquals } from "@std/assert";
import { GuestMemory } from "./guest_memory.ts";
import { Iotlb, IOTLB_ENTRIES_MAX, IOTLB_READ, IOTLB_WRITE } from "./iotlb.ts";
import { IovaMemory, QUESTIONS_MAX } from "./iova_memory.ts";

const BOTH = IOTLB_READ | IOTLB_WRITE;
const PAGE = 4096;
const USER = 0x7000_0000_0000;
const USER_STEP = 0x1_0000_0000;

/** Regions of so many pages each, far from each other. */
function memoryOf(...pages: number[]): GuestMemory {
  const buffers = pages.map((count) => new ArrayBuffer(count * PAGE));
  const regions = pages.map((count, i) => ({
    guestAddress: i * 0x100_0000,
    size: count * PAGE,
    userAddress: USER + i * USER_STEP,
    hostAddress: 0x10_0000 * (i + 1),
  }));
  return new GuestMemory({ generation: 1, regions }, buffers);
}

/** `[region, offset]` of each byte of a range, or null where it is unmapped. */
function placesOf(table: Iotlb, iova: number, size: number) {
  return Array.from({ length: size }, (_, i) => {
    const index = table.find(iova + i);
    if (index < 0) return null;
    assert(table.rest(index, iova + i) >= 1);
    return [table.regionOf(index), table.offsetOf(index, iova + i)];
  });
}

Deno.test("a mapping is found to its last byte, and nothing beside it", () => {
  const table = new Iotlb(memoryOf(1, 4));
  assert(table.update(0x5000, 0x2000, USER + USER_STEP + PAGE, IOTLB_READ));
  assertEquals(placesOf(table, 0x4fff, 2), [null, [1, PAGE]]);
  assertEquals(placesOf(table, 0x6fff, 2), [[1, 3 * PAGE - 1], null]);
  const index = table.find(0x5800);
  assertEquals(table.rest(index, 0x5800), 0x1800);
  assert(table.allows(index, IOTLB_READ));
  assert(!table.allows(index, IOTLB_WRITE) && !table.allows(index, BOTH));
});

Deno.test("a mapping that is not whole in one region of the memory is refused", () => {
  const table = new Iotlb(memoryOf(2, 2));
  const outside: [number, number][] = [
    [USER - 1, 2],
    [USER + PAGE, PAGE + 1],
    [USER + 2 * PAGE, 1],
    [USER + 2 * USER_STEP, PAGE],
    [0, PAGE],
  ];
  for (const [userAddress, size] of outside) {
    assert(!table.update(0x1000, size, userAddress, BOTH));
  }
  assertEquals(table.count, 0);
});

Deno.test("updates and invalidations of any ranges leave what a table by the byte has", () => {
  const memory = memoryOf(1, 1);
  const table = new Iotlb(memory);
  const size = 96;
  const model = new Array<number[] | null>(size).fill(null);
  let seed = 0x2545f491;
  const below = (limit: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor(seed / 2 ** 32 * limit);
  };
  for (let round = 0; round < 20_000; round++) {
    const iova = below(size);
    const count = 1 + below(Math.min(24, size - iova));
    if (below(3) === 0) {
      assertEquals(
        table.overlaps(iova, count),
        model.slice(iova, iova + count).some((place) => place !== null),
      );
      table.invalidate(iova, count);
      model.fill(null, iova, iova + count);
    } else {
      const region = below(2);
      const offset = below(PAGE - count);
      const userAddress = USER + region * USER_STEP + offset;
      assert(table.update(iova, count, userAddress, BOTH));
      for (let i = 0; i < count; i++) model[iova + i] = [region, offset + i];
    }
    if (round % 50 === 0) assertEquals(placesOf(table, 0, size), model);
  }
  assertEquals(placesOf(table, 0, size), model);
  table.invalidate(0, Number.MAX_SAFE_INTEGER);
  assertEquals(table.count, 0);
});

Deno.test("a table grows to its limit, and then begins anew", () => {
  const table = new Iotlb(memoryOf(1));
  for (let i = 0; i < IOTLB_ENTRIES_MAX; i++) {
    assert(table.update(i * 2 * PAGE, PAGE, USER, BOTH));
  }
  assertEquals(table.count, IOTLB_ENTRIES_MAX);
  assertEquals([table.find(0), table.evicted], [0, false]);
  assert(table.update(PAGE, PAGE, USER, BOTH));
  assertEquals([table.count, table.find(PAGE), table.find(0)], [1, 0, -1]);
  assert(table.evicted);
});

Deno.test("other memory: mappings stay where their user addresses are, others go", () => {
  const table = new Iotlb(memoryOf(2, 2));
  table.update(0x1000, PAGE, USER + PAGE, BOTH);
  table.update(0x2000, PAGE, USER + USER_STEP, BOTH);
  table.setMemory(memoryOf(1, 2));
  assertEquals(placesOf(table, 0x1000, 1), [null]);
  assertEquals(placesOf(table, 0x2000, 1), [[1, 0]]);
});

Deno.test("an update that says the same is told from one that says otherwise", () => {
  const table = new Iotlb(memoryOf(4));
  table.update(0x1000, 2 * PAGE, USER, IOTLB_READ);
  assert(table.agrees(0x1000, PAGE, USER, IOTLB_READ));
  assert(table.agrees(0x2000, 2 * PAGE, USER + PAGE, BOTH));
  assert(!table.agrees(0x2000, PAGE, USER, BOTH), "another address");
  assert(!table.agrees(0x1000, PAGE, USER, IOTLB_WRITE), "fewer permissions");
  assert(table.agrees(0x9000, PAGE, USER, IOTLB_WRITE), "nothing there");
});

Deno.test("what is not mapped is asked for once, by the page, until it is answered", () => {
  const base = memoryOf(4);
  const memory = new IovaMemory(base, new Iotlb(base));
  assert(!memory.demand(0x1800, 0x2000, IOTLB_READ));
  const asked = [...memory.questionAddresses.subarray(0, memory.questionCount)];
  assertEquals(asked, [0x1800, 0x2000, 0x3000]);
  assert(memory.ask(0x1900, IOTLB_READ));
  assertEquals(memory.questionCount, 3, "the same page");
  assert(memory.ask(0x1900, IOTLB_WRITE));
  assertEquals(memory.questionCount, 4, "another access");
  memory.sentCount = 3;
  memory.answer(0x1000, 0x2000, IOTLB_READ);
  assertEquals([memory.questionCount, memory.sentCount], [1, 1]);
  assertEquals(memory.questionAddresses[0], 0x3000);
  memory.answer(0x3000, PAGE, BOTH);
  assert(!memory.missed);
});

Deno.test("what was refused fails when it is asked for again, and only then", () => {
  const base = memoryOf(4);
  const memory = new IovaMemory(base, new Iotlb(base));
  assert(memory.ask(0x1000, IOTLB_READ));
  assert(memory.ask(0x5000, IOTLB_READ));
  memory.refuse(0x1000, IOTLB_READ);
  assertEquals(memory.questionCount, 1);
  assert(!memory.ask(0x1000, IOTLB_READ), "refused");
  assert(!memory.missed, "nothing else is waited for");
  assert(memory.ask(0x1000, IOTLB_READ), "the next chain asks again");
  assert(memory.ask(0x7000, IOTLB_WRITE));
  // A mapping that does not allow what was asked for is a refusal.
  memory.answer(0x7000, PAGE, IOTLB_READ);
  assert(!memory.ask(0x7000, IOTLB_WRITE));
});

Deno.test("addresses that are none are not asked for, and questions have a limit", () => {
  const base = memoryOf(4);
  const memory = new IovaMemory(base, new Iotlb(base));
  for (const address of [-1, 2 ** 53, 2 ** 64, NaN, Infinity]) {
    assert(!memory.ask(address, IOTLB_READ), String(address));
  }
  assert(!memory.missed);
  assert(!memory.demand(0, 2 * QUESTIONS_MAX * PAGE, IOTLB_READ));
  assertEquals(memory.questionCount, QUESTIONS_MAX);
});

Deno.test("bytes are read over mappings, and located only where they are one piece", () => {
  const base = memoryOf(2, 2);
  const table = new Iotlb(base);
  const memory = new IovaMemory(base, table);
  const [first, second] = memory.regions;
  first!.bytes.fill(1);
  second!.bytes.fill(2);
  table.update(0x1000, PAGE, USER + PAGE, BOTH);
  table.update(0x2000, PAGE, USER + USER_STEP, BOTH);
  table.update(0x3000, PAGE, USER + USER_STEP + PAGE, BOTH);
  const bytes = new Uint8Array(4);
  assert(memory.read(0x1ffe, bytes, 4));
  assertEquals([...bytes], [1, 1, 2, 2]);
  assert(!memory.locate(0x1ffe, 4), "two pieces");
  assert(memory.locate(0x2ffe, 4), "two mappings, one piece");
  assertEquals([memory.foundRegion, memory.foundOffset], [1, PAGE - 2]);
  assert(!memory.missed);
  assert(!memory.read(0x3ffe, bytes, 4) && memory.missed);
});
