import { assertEquals, assertLess } from "@std/assert";
import { borrow } from "../ffi/mapping.ts";
import { addressOf } from "../ffi/pointer.ts";
import { IovecList } from "./iovec.ts";

function contents(list: IovecList, first: number, end: number): number[][] {
  const all: number[][] = [];
  for (let i = first; i < end; i++) all.push([list.base(i), list.size(i)]);
  return all;
}

Deno.test("elements are struct iovec at their address", () => {
  using list = new IovecList(3);
  list.set(1, 0x7fff_8000_1234, 0xffff_fff0);
  assertEquals(contents(list, 0, 3), [[0, 0], [
    0x7fff_8000_1234,
    0xffff_fff0,
  ], [0, 0]]);
  assertEquals(list.addressOf(1), list.address + 16);
  const raw = new BigUint64Array(borrow(list.addressOf(1), 16));
  assertEquals([...raw], [0x7fff_8000_1234n, 0xffff_fff0n]);
});

Deno.test("the bytes from an element on are where it is", () => {
  using list = new IovecList(4);
  assertEquals(addressOf(list.bytes(0)), list.address);
  assertEquals(addressOf(list.bytes(3)), list.addressOf(3));
  assertEquals(list.bytes(3).length, 16);
  assertEquals(list.bytes(2) === list.bytes(2), true);
});

Deno.test("advance consumes whole and partial elements", () => {
  using list = new IovecList(4);
  const fill = () => {
    list.set(0, 1000, 10);
    list.set(1, 2000, 0);
    list.set(2, 3000, 20);
    list.set(3, 4000, 5);
  };
  const cases: [number, number, number, number, number[]][] = [
    // first, count, bytes, new first, its element
    [0, 4, 0, 0, [1000, 10]],
    [0, 4, 3, 0, [1003, 7]],
    [0, 4, 10, 2, [3000, 20]],
    [0, 4, 11, 2, [3001, 19]],
    [0, 4, 30, 3, [4000, 5]],
    [2, 1, 19, 2, [3019, 1]],
    [2, 1, 20, 3, [4000, 5]],
  ];
  for (const [first, count, bytes, next, [base, size]] of cases) {
    fill();
    const label = `advance(${first}, ${count}, ${bytes})`;
    assertEquals(list.advance(first, count, bytes), next, label);
    assertEquals([list.base(next), list.size(next)], [base, size], label);
  }
  fill();
  assertEquals(list.advance(0, 4, 35), 4);
});

Deno.test("a long list costs what is used of it", () => {
  const before = Deno.memoryUsage().heapUsed;
  using list = new IovecList(1 << 22);
  assertEquals(list.bytes((1 << 22) - 1).length, 16);
  const grown = Deno.memoryUsage().heapUsed - before;
  assertLess(grown, 16 << 20);
});
