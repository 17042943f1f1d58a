import { assertEquals, assertThrows } from "@std/assert";
import { borrow } from "./mapping.ts";
import { addressFrom, addressOf, cString, pointerTo } from "./pointer.ts";

Deno.test("the address of a view is where its bytes are", () => {
  const buffer = new ArrayBuffer(4096);
  const view = new Uint8Array(buffer, 100, 50);
  assertEquals(addressOf(view), addressOf(buffer) + 100);
  view[3] = 42;
  assertEquals(new Uint8Array(borrow(addressOf(view), 50))[3], 42);
});

Deno.test("the address of a small typed array stays when others come and go", () => {
  const small = Uint8Array.of(1, 2, 3);
  const address = addressOf(small);
  // Enough garbage for the young generation to be moved several times.
  let garbage: Uint8Array[] = [];
  for (let i = 0; i < 500_000; i++) {
    garbage.push(Uint8Array.of(i & 255));
    if (garbage.length > 1000) garbage = [];
  }
  assertEquals(addressOf(small), address);
  assertEquals([...new Uint8Array(borrow(address, 3))], [1, 2, 3]);
});

Deno.test("shared buffers have addresses, empty views have none", () => {
  const shared = new Int32Array(new SharedArrayBuffer(64));
  shared[1] = 77;
  assertEquals(new Int32Array(borrow(addressOf(shared), 64))[1], 77);
  assertEquals(addressOf(new Uint8Array(0)), 0);
});

Deno.test("an address and its pointer are the same, but for 0", () => {
  assertEquals(addressFrom(pointerTo(0x7fff_1234_5678)), 0x7fff_1234_5678);
  assertEquals(addressFrom(null), 0);
  assertThrows(() => pointerTo(0), RangeError, "no pointer");
});

Deno.test("a C string ends with a NUL and has none within", () => {
  assertEquals([...cString("aß")], [97, 0xc3, 0x9f, 0]);
  assertThrows(() => cString("a\0b"), TypeError, "ends a C string");
});
