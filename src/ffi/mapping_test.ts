import { assertEquals, assertGreater, assertThrows } from "@std/assert";
import { SystemError } from "../errors.ts";
import { createMemfd } from "../io/memfd.ts";
import { O_RDONLY } from "./abi.ts";
import { libc } from "./libc.ts";
import { borrow, Mapping } from "./mapping.ts";
import { cString } from "./pointer.ts";

const GIB = 2 ** 30;
const PAGE = libc.getpagesize();

function mappingCount(): number {
  return Deno.readTextFileSync("/proc/self/maps").split("\n")
    .filter((line) => line.includes("memfd:mapping-test")).length;
}

Deno.test("anonymous memory is zero and writable", () => {
  using mapping = Mapping.anonymous(10_000);
  assertEquals(mapping.size, 10_000);
  assertEquals(mapping.buffer.byteLength, 10_000);
  assertEquals(mapping.address % PAGE, 0);
  const bytes = new Uint8Array(mapping.buffer);
  assertEquals(bytes.every((byte) => byte === 0), true);
  bytes[9_999] = 5;
  assertEquals(new Uint8Array(borrow(mapping.address + 9_999, 1))[0], 5);
});

Deno.test("two mappings of a memfd are the same memory, the fd may be closed", () => {
  const fd = createMemfd("mapping-test", 3 * PAGE);
  using one = Mapping.shared(fd.number, 3 * PAGE, 0);
  using two = Mapping.shared(fd.number, PAGE, PAGE);
  fd.close();
  new Uint8Array(one.buffer)[PAGE + 7] = 99;
  assertEquals(new Uint8Array(two.buffer)[7], 99);
});

Deno.test("an offset and a size need no alignment", () => {
  using fd = createMemfd("mapping-test", 4 * PAGE);
  using whole = Mapping.shared(fd.number, 4 * PAGE, 0);
  using part = Mapping.shared(fd.number, 50, 2 * PAGE + 123);
  assertEquals(part.buffer.byteLength, 50);
  new Uint8Array(whole.buffer)[2 * PAGE + 123] = 1;
  new Uint8Array(whole.buffer)[2 * PAGE + 172] = 2;
  const bytes = new Uint8Array(part.buffer);
  assertEquals([bytes[0], bytes[49]], [1, 2]);
});

Deno.test("a sparse memfd of 5 GiB is mapped in one buffer", () => {
  using fd = createMemfd("mapping-test", 5 * GIB);
  using mapping = Mapping.shared(fd.number, 5 * GIB, 0);
  assertEquals(mapping.buffer.byteLength, 5 * GIB);
  const view = new DataView(mapping.buffer);
  view.setUint32(5 * GIB - 4, 0xdeadbeef, true);
  view.setUint32(3 * GIB + 8, 0x12345678, true);
  using tail = Mapping.shared(fd.number, PAGE, 5 * GIB - PAGE);
  const there = new DataView(tail.buffer).getUint32(PAGE - 4, true);
  assertEquals(there, 0xdeadbeef);
  using middle = Mapping.shared(fd.number, 100, 3 * GIB);
  assertEquals(new DataView(middle.buffer).getUint32(8, true), 0x12345678);
});

Deno.test("disposing unmaps, twice is harmless, views become empty", () => {
  using fd = createMemfd("mapping-test", 4 * PAGE);
  const before = mappingCount();
  const mapping = Mapping.shared(fd.number, 4 * PAGE, 0);
  assertEquals(mappingCount(), before + 1);
  const bytes = new Uint8Array(mapping.buffer);
  const view = new DataView(mapping.buffer);
  bytes[0] = 1;
  mapping[Symbol.dispose]();
  assertEquals(mappingCount(), before);
  mapping[Symbol.dispose]();
  assertEquals(bytes.length, 0);
  assertEquals(bytes[0], undefined);
  assertThrows(() => view.getUint8(0), TypeError);
});

Deno.test("memory that may only be read is mapped to be read", () => {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeTextFileSync(path, "hello");
    const number = libc.open(cString(path), O_RDONLY, 0);
    assertThrows(() => Mapping.shared(number, 5, 0), SystemError, "EACCES");
    using mapping = Mapping.shared(number, 5, 0, { readOnly: true });
    libc.close(number);
    const text = new TextDecoder().decode(new Uint8Array(mapping.buffer));
    assertEquals(text, "hello");
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test("what can't be mapped is a SystemError", () => {
  assertThrows(() => Mapping.shared(-1, PAGE, 0), SystemError, "EBADF");
  const number = libc.eventfd(0, 0);
  assertThrows(() => Mapping.shared(number, PAGE, 0), SystemError, "ENODEV");
  libc.close(number);
});

// Nothing is touched: the pool of huge pages may be empty, as it mostly is.
Deno.test("huge pages are mapped and unmapped whole", () => {
  const huge = 2 ** 21;
  using fd = createMemfd("mapping-test", 4 * huge, {
    hugePages: true,
    lazily: true,
  });
  const before = mappingCount();
  const one = Mapping.shared(fd.number, huge + 5, huge - 3);
  const two = Mapping.shared(fd.number, 1, 3 * huge + 10);
  assertEquals(one.buffer.byteLength, huge + 5);
  assertEquals(one.address % huge, huge - 3);
  assertEquals(two.address % huge, 10);
  assertGreater(mappingCount(), before);
  one[Symbol.dispose]();
  two[Symbol.dispose]();
  assertEquals(mappingCount(), before);
});

Deno.test("pieces of a mapping are joined in any order, and outlive it", () => {
  using fd = createMemfd("mapping-test", 6 * PAGE);
  const before = mappingCount();
  const whole = Mapping.shared(fd.number, 6 * PAGE, 0);
  const bytes = new Uint8Array(whole.buffer);
  for (let i = 0; i < 6; i++) bytes[i * PAGE] = i + 1;
  const piece = (page: number, count: number) => ({
    address: whole.address + page * PAGE,
    size: count * PAGE,
  });
  const joined = Mapping.joined([piece(4, 2), piece(0, 1), piece(4, 1)]);
  const view = new Uint8Array(joined.buffer);
  const firsts = () => [0, 1, 2, 3].map((page) => view[page * PAGE]);
  assertEquals([joined.size, ...firsts()], [4 * PAGE, 5, 6, 1, 5]);
  view[3 * PAGE] = 99;
  assertEquals([bytes[4 * PAGE], view[0]], [99, 99]);
  whole[Symbol.dispose]();
  assertEquals(firsts(), [99, 6, 1, 99]);
  joined[Symbol.dispose]();
  assertEquals(mappingCount(), before);
});

Deno.test("private memory is not joined, and nothing is left of the attempt", () => {
  using fd = createMemfd("mapping-test", PAGE);
  using shared = Mapping.shared(fd.number, PAGE, 0);
  using mapping = Mapping.anonymous(PAGE);
  const pieces = [shared, mapping].map(({ address }) => ({
    address,
    size: PAGE,
  }));
  const before = mappingCount();
  assertThrows(() => Mapping.joined(pieces), SystemError, "mremap");
  assertEquals(mappingCount(), before);
});
