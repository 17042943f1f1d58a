import { assert, assertEquals, assertThrows } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { Mapping } from "../ffi/mapping.ts";
import { GuestMemory } from "./guest_memory.ts";

/** Regions at these addresses, of these sizes, each byte with its own value. */
function memoryOf(...regions: [guestAddress: number, size: number][]) {
  const buffers = regions.map(([, size]) => new ArrayBuffer(size));
  const layouts = regions.map(([guestAddress, size], i) => ({
    guestAddress,
    size,
    userAddress: 0x7000_0000_0000 + guestAddress,
    hostAddress: 0x1000 * (i + 1),
  }));
  return new GuestMemory({ generation: 7, regions: layouts }, buffers);
}

function found(memory: GuestMemory): [number, number] {
  return [memory.foundRegion, memory.foundOffset];
}

describe("GuestMemory", () => {
  it("keeps its regions by guest address", () => {
    const memory = memoryOf([0x5000, 16], [0x1000, 32]);
    const addresses = memory.regions.map((region) => region.guestAddress);
    assertEquals(addresses, [0x1000, 0x5000]);
    assertEquals(memory.generation, 7);
    assertEquals([...memory.hostAddresses], [0x2000, 0x1000]);
    assertEquals(memory.regions[0]!.bytes.length, 32);
    assertEquals(memory.regions[1]!.view.byteLength, 16);
  });

  it("locates ranges in one region, ends exclusive", () => {
    const memory = memoryOf([0x1000, 0x100], [0x2000, 0x200]);
    const all: [number, number, [number, number]][] = [
      [0x1000, 0x100, [0, 0]],
      [0x1000, 1, [0, 0]],
      [0x10ff, 1, [0, 0xff]],
      [0x2000, 0x200, [1, 0]],
      [0x21ff, 1, [1, 0x1ff]],
      [0x1080, 0x80, [0, 0x80]],
    ];
    for (const [address, size, expected] of all) {
      assert(memory.locate(address, size), `0x${address.toString(16)}`);
      assertEquals(found(memory), expected);
    }
  });

  it("does not locate what is not all in one region", () => {
    const memory = memoryOf([0x1000, 0x100], [0x1100, 0x100], [0x2000, 0x100]);
    memory.locate(0x2010, 1);
    const none: [number, number][] = [
      [0xfff, 1],
      [0xfff, 2],
      [0x10ff, 2],
      [0x1200, 1],
      [0x1fff, 2],
      [0x2100, 1],
      [0x2000, 0x101],
      [0, 1],
      [-1, 1],
      [2 ** 53, 1],
      [2 ** 64 - 1, 2],
      [2 ** 64, 1],
      [0x2000, 2 ** 64],
      [0x2000, Infinity],
      [0x2000, NaN],
      [NaN, 1],
      [Infinity, 1],
    ];
    for (const [address, size] of none) {
      assert(!memory.locate(address, size), `${address}, ${size}`);
      assertEquals(found(memory), [2, 0x10], "what was found stays");
    }
  });

  it("locates no bytes only where one could be", () => {
    const memory = memoryOf([0x1000, 0x100]);
    assert(memory.locate(0x1000, 0));
    assert(memory.locate(0x10ff, 0));
    assert(!memory.locate(0x1100, 0));
    assert(!memory.locate(0xfff, 0));
  });

  it("finds nothing where there are no regions", () => {
    const memory = memoryOf();
    assert(!memory.locate(0, 0));
    assert(!memory.locate(0, 1));
    assertEquals(memory.regionAt(0), -1);
    assert(memory.read(0, new Uint8Array(0), 0));
  });

  it("finds each of many regions", () => {
    const all = Array.from({ length: 509 }, (_, i) => {
      return [0x1000 * (2 * i + 1), 0x1000] as [number, number];
    });
    const memory = memoryOf(...all);
    for (const [i, [address]] of all.entries()) {
      assertEquals(memory.regionAt(address - 1), -1);
      assertEquals(memory.regionAt(address), i);
      assertEquals(memory.regionAt(address + 0xfff), i);
      assertEquals(memory.regionAt(address + 0x1000), -1);
    }
  });

  it("works right below 2^53", () => {
    const start = 2 ** 53 - 0x1000;
    const memory = memoryOf([start, 0xfff]);
    assert(memory.locate(start + 0xffe, 1));
    assertEquals(memory.foundOffset, 0xffe);
    assert(!memory.locate(start + 0xffe, 2));
    assert(!memory.locate(2 ** 53, 1));
  });

  it("reads over adjacent regions, not over holes", () => {
    const memory = memoryOf([0x1004, 2], [0x1000, 4], [0x1006, 4], [0x2000, 1]);
    let value = 0;
    for (const region of memory.regions) {
      for (let i = 0; i < region.size; i++) region.bytes[i] = value++;
    }
    const target = new Uint8Array(12);
    assert(memory.read(0x1002, target, 8));
    assertEquals([...target], [2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0]);
    assert(!memory.read(0x1002, target, 9));
    assert(!memory.read(0xfff, target, 1));
  });

  it("refuses regions that overlap, as a defect", () => {
    assertThrows(
      () => memoryOf([0x1000, 0x100], [0x10ff, 1]),
      Error,
      "overlap",
    );
  });
});

Deno.test("GuestMemory.forget empties every view of borrowed memory, and leaves memory that was given alone", () => {
  using mapping = Mapping.anonymous(4096);
  const layout = {
    generation: 1,
    regions: [{
      guestAddress: 0,
      size: 4096,
      userAddress: 0,
      hostAddress: mapping.address,
    }],
  };
  const borrowed = new GuestMemory(layout);
  const words = new Uint16Array(borrowed.regions[0]!.bytes.buffer, 0, 8);
  borrowed.forget();
  assertEquals(words.length, 0);
  const given = new GuestMemory(layout, [mapping.buffer]);
  given.forget();
  assertEquals(given.regions[0]!.bytes.length, 4096);
});
