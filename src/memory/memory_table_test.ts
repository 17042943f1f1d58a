import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { ProtocolError } from "../errors.ts";
import {
  F_GET_SEALS,
  F_SEAL_GROW,
  F_SEAL_SHRINK,
  F_SEAL_WRITE,
  O_CLOEXEC,
  O_RDONLY,
  O_RDWR,
} from "../ffi/abi.ts";
import { libc } from "../ffi/libc.ts";
import { cString } from "../ffi/pointer.ts";
import { EventFd } from "../io/event_fd.ts";
import { Fd } from "../io/fd.ts";
import { createMemfd } from "../io/memfd.ts";
import { GuestMemory } from "./guest_memory.ts";
import {
  MEMORY_SLOTS_MAX,
  MemoryTable,
  type RegionSpec,
} from "./memory_table.ts";

const SIZE = 0x4000;
const NAME = "ringside-memory-table-test";

function spec(index: number, change: Partial<RegionSpec> = {}): RegionSpec {
  return {
    guestAddress: 0x10000 * (index + 1),
    size: SIZE,
    userAddress: 0x7f00_0000_0000 + 0x10000 * index,
    mmapOffset: 0,
    ...change,
  };
}

function memfd(size = SIZE): Fd {
  return createMemfd(NAME, size);
}

function open(path: string, flags: number): Fd {
  return new Fd(libc.open(cString(path), flags | O_CLOEXEC, 0));
}

/** Mappings and descriptors of this test in the process. */
function leftovers(): number {
  const maps = Deno.readTextFileSync("/proc/self/maps").split(NAME).length - 1;
  let fds = 0;
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      if (Deno.readLinkSync(`/proc/self/fd/${name}`).includes(NAME)) fds++;
    } catch {
      // The descriptor that lists the directory is gone by now.
    }
  }
  return maps + fds;
}

/** The refusal of SET_MEM_TABLE with these; nothing may be left of it. */
function refusal(specs: RegionSpec[], fds: Fd[]): string {
  using table = new MemoryTable();
  const error = assertThrows(() => table.replace(specs, fds), ProtocolError);
  assertEquals(table.layout(), { generation: 0, regions: [] });
  assert(fds.every((fd) => fd.number === -1), "descriptors are closed");
  assertEquals(leftovers(), 0);
  // The table is none the worse for it.
  table.replace([spec(0)], [memfd()]).commit();
  assertEquals(table.layout().regions.length, 1);
  return error.message;
}

describe("MemoryTable", () => {
  it("maps what is shared, and closes the descriptors", () => {
    using source = memfd(3 * SIZE);
    using table = new MemoryTable();
    const fds = [source.duplicate(), source.duplicate()];
    const specs = [spec(0, { mmapOffset: SIZE }), spec(1, { size: 5 })];
    const change = table.replace(specs, fds);
    assert(fds.every((fd) => fd.number === -1));
    assertEquals(change.layout.generation, 1);
    change.commit();
    assertEquals(table.layout(), change.layout);
    const memory = new GuestMemory(table.layout());
    memory.regions[0]!.bytes[3] = 77;
    using file = Deno.openSync(`/proc/self/fd/${source.number}`);
    file.seekSync(SIZE + 3, Deno.SeekMode.Start);
    const byte = new Uint8Array(1);
    file.readSync(byte);
    assertEquals(byte[0], 77);
    assertEquals(memory.regions[1]!.bytes.length, 5);
  });

  it("unmaps the old memory only on commit", () => {
    using table = new MemoryTable();
    table.replace([spec(0), spec(1)], [memfd(), memfd()]).commit();
    assertEquals(leftovers(), 2);
    const old = new GuestMemory(table.layout());
    const change = table.replace([spec(2)], [memfd()]);
    assertEquals(leftovers(), 3);
    old.regions[1]!.bytes[0] = 1;
    assertEquals(table.userToGuest(spec(1).userAddress, 1), 0x20000);
    change.commit();
    assertEquals(leftovers(), 1);
    assertEquals(table.userToGuest(spec(1).userAddress, 1), -1);
    assertEquals(table.layout().generation, 2);
  });

  it("unmaps the new memory on abort", () => {
    using table = new MemoryTable();
    table.replace([spec(0)], [memfd()]).commit();
    const before = table.layout();
    table.add(spec(1), memfd()).abort();
    assertEquals([table.layout(), leftovers()], [before, 1]);
    table.remove(spec(0)).abort();
    assertEquals([table.layout(), leftovers()], [before, 1]);
  });

  it("has one change at a time, settled once", () => {
    using table = new MemoryTable();
    const change = table.replace([spec(0)], [memfd()]);
    assertThrows(() => table.remove(spec(0)), ProtocolError);
    assertThrows(() => table.replace([], []), Error, "one change");
    change.commit();
    assertThrows(() => change.commit(), Error, "settled once");
    assertThrows(() => change.abort(), Error, "settled once");
  });

  it("unmaps everything when disposed, what is pending too", () => {
    const table = new MemoryTable();
    table.replace([spec(0)], [memfd()]).commit();
    table.add(spec(1), memfd());
    assertEquals(leftovers(), 2);
    table[Symbol.dispose]();
    assertEquals(leftovers(), 0);
  });

  it("adds and removes regions, the others stay where they are", () => {
    using table = new MemoryTable();
    table.replace([spec(0)], [memfd()]).commit();
    const [first] = table.layout().regions;
    table.add(spec(1), memfd()).commit();
    assertEquals(table.layout().regions[0], first);
    assertEquals(table.layout().regions.length, 2);
    // QEMU sends 0 as the offset, so it is not compared.
    table.remove(spec(0, { mmapOffset: 0x123 })).commit();
    assertEquals(table.layout().regions.map((r) => r.guestAddress), [0x20000]);
    assertEquals([table.layout().generation, leftovers()], [3, 1]);
  });

  it("[C59] refuses to remove what is not there", () => {
    using table = new MemoryTable();
    table.replace([spec(0)], [memfd()]).commit();
    const wrong = [
      spec(1),
      spec(0, { size: SIZE - 1 }),
      spec(0, { userAddress: 1 }),
      spec(0, { guestAddress: 1 }),
    ];
    for (const one of wrong) {
      assertThrows(() => table.remove(one), ProtocolError, "to remove");
    }
    table.remove(spec(0)).commit();
    assertThrows(() => table.remove(spec(0)), ProtocolError, "to remove");
  });

  it("[C59] has room for 509 regions", () => {
    using table = new MemoryTable();
    using source = memfd();
    const specs = Array.from({ length: MEMORY_SLOTS_MAX }, (_, i) => spec(i));
    const fds = specs.map(() => source.duplicate());
    table.replace(specs, fds).commit();
    const more = spec(MEMORY_SLOTS_MAX);
    assertThrows(
      () => table.add(more, source.duplicate()),
      ProtocolError,
      "at most 509",
    );
    table.remove(specs[5]!).commit();
    table.add(more, source.duplicate()).commit();
  });

  it("translates front-end addresses", () => {
    using table = new MemoryTable();
    table.replace([spec(0), spec(1)], [memfd(), memfd()]).commit();
    const { userAddress } = spec(1);
    assertEquals(table.userToGuest(userAddress, SIZE), 0x20000);
    assertEquals(
      table.userToGuest(userAddress + SIZE - 1, 1),
      0x20000 + 0x3fff,
    );
    const unmapped: [number, number][] = [
      [userAddress, SIZE + 1],
      [userAddress + SIZE, 0],
      [userAddress + SIZE, 1],
      [userAddress - 1, 1],
      [0, 1],
      [2 ** 64, 1],
      [userAddress, Infinity],
      [NaN, 1],
    ];
    for (const [address, size] of unmapped) {
      assertEquals(table.userToGuest(address, size), -1);
    }
  });

  it("[H10] memory that can be sealed can't become shorter any more", () => {
    using table = new MemoryTable();
    using fd = createMemfd(NAME, SIZE, { seals: 0 });
    table.replace([spec(0)], [fd.duplicate()]).commit();
    assertEquals(libc.fcntl(fd.number, F_GET_SEALS, 0), F_SEAL_SHRINK);
    assertEquals(libc.ftruncate(fd.number, 0n), -1);
    assertEquals(libc.ftruncate(fd.number, BigInt(2 * SIZE)), 0);
  });

  it("maps huge pages at an offset that is none", () => {
    const fd = createMemfd(NAME, 4 << 20, { hugePages: true, lazily: true });
    using table = new MemoryTable();
    // Mapped with MAP_NORESERVE and never touched: no huge page is needed.
    const region = spec(0, { mmapOffset: 0x3000, size: 0x200000 });
    table.replace([region], [fd]).commit();
    assertEquals(table.layout().regions[0]!.size, 0x200000);
  });
});

describe("MemoryTable counts a region", () => {
  it("[C59] that is added once more, until it is removed as often", () => {
    const fd = memfd();
    using table = new MemoryTable();
    table.replace([spec(0)], [fd.duplicate()]).commit();
    const { hostAddress } = table.layout().regions[0]!;
    for (let times = 0; times < 3; times++) {
      table.add(spec(0), fd.duplicate()).commit();
      assertEquals(table.layout().regions.length, 1);
    }
    // One that isn't put in force doesn't count.
    table.add(spec(0), fd.duplicate()).abort();
    table.remove(spec(0)).abort();
    fd.close();
    assertEquals(leftovers(), 1);
    for (let times = 0; times < 3; times++) {
      table.remove(spec(0)).commit();
      assertEquals(table.layout().regions[0]!.hostAddress, hostAddress);
      assertEquals(leftovers(), 1);
    }
    table.remove(spec(0)).commit();
    assertEquals(table.layout().regions, []);
    assertEquals(leftovers(), 0);
    assertThrows(() => table.remove(spec(0)), ProtocolError, "There is no");
  });

  it("[C59] and unmaps it once, in the middle of a change", () => {
    const fd = memfd();
    const table = new MemoryTable();
    table.replace([spec(0)], [fd.duplicate()]).commit();
    table.add(spec(0), fd);
    table[Symbol.dispose]();
    assertEquals(leftovers(), 0);
  });

  it("[C50] [H09] not where it comes from another place", () => {
    const fd = memfd(2 * SIZE);
    using table = new MemoryTable();
    table.replace([spec(0)], [fd.duplicate()]).commit();
    const others: [RegionSpec, Fd][] = [
      [spec(0), memfd(2 * SIZE)],
      [spec(0, { mmapOffset: SIZE }), fd.duplicate()],
      [spec(0, { size: SIZE / 2 }), fd.duplicate()],
    ];
    for (const [other, file] of others) {
      assertThrows(() => table.add(other, file), ProtocolError, "overlaps");
    }
    fd.close();
    assertEquals(leftovers(), 1);
  });
});

describe("MemoryTable refuses", () => {
  const says = (specs: RegionSpec[], fds: Fd[], text: string) => {
    assertStringIncludes(refusal(specs, fds), text);
  };

  it("[C50] [H09] regions without descriptors and the other way round", () => {
    says([spec(0)], [], "wanted a descriptor a region");
    says([], [memfd()], "wanted a descriptor a region");
    says([spec(0), spec(1)], [memfd()], "wanted a descriptor a region");
  });

  it("[C50] [H09] regions that overlap in the guest or in the front-end", () => {
    const shifts = [0, 1, SIZE - 1, 1 - SIZE];
    for (const key of ["guestAddress", "userAddress"] as const) {
      for (const shift of shifts) {
        const other = spec(1, { [key]: spec(0)[key] + shift });
        says([spec(0), other], [memfd(), memfd()], "overlaps the region");
      }
    }
    using table = new MemoryTable();
    table.replace([spec(0)], [memfd()]).commit();
    assertThrows(
      () => table.add(spec(0), memfd()),
      ProtocolError,
      "overlaps",
    );
    assertEquals(leftovers(), 1);
  });

  it("[C50] [H09] empty regions", () => {
    says([spec(0, { size: 0 })], [memfd()], "is empty");
  });

  it("[C50] [H09] addresses and sizes that wrap or are beyond 2^53", () => {
    const far = [2 ** 64 - 0x1000, 2 ** 53, 2 ** 53 - 1];
    for (const at of far) {
      for (const key of ["guestAddress", "userAddress", "size"] as const) {
        says([spec(0, { [key]: at })], [memfd()], "beyond 2^53");
      }
      says([spec(0, { mmapOffset: at })], [memfd()], "beyond 2^53");
    }
  });

  it("[C50] [H09] a region beyond the end of its file", () => {
    const text = "wanted a file that holds it";
    says([spec(0)], [memfd(SIZE - 1)], text);
    says([spec(0, { mmapOffset: 0x1000 })], [memfd()], text);
    says([spec(0, { size: 2 ** 46 })], [memfd()], text);
    says([spec(0)], [memfd(0)], text);
    says([spec(0), spec(1)], [memfd(), memfd(1)], text);
  });

  it("[H09] an offset that is not a multiple of the page", () => {
    for (const mmapOffset of [1, 8, 0xfff, 0x1001]) {
      says([spec(0, { mmapOffset })], [memfd(2 * SIZE)], "multiple of 4096");
    }
  });

  it("[H10] what is not a file", () => {
    const pipe = new Int32Array(2);
    assertEquals(libc.pipe2(new Uint8Array(pipe.buffer), O_CLOEXEC), 0);
    using writeEnd = new Fd(pipe[1]!);
    assert(writeEnd.number > 0);
    says([spec(0)], [new Fd(pipe[0]!)], "of kind FIFO");
    says([spec(0)], [open("/dev/null", O_RDWR)], "of kind character device");
    says([spec(0)], [open("/", O_RDONLY)], "of kind directory");
    using event = EventFd.open();
    says([spec(0)], [event.fd.duplicate()], "of kind anonymous file");
  });

  it("[H10] a file that is open for reading only, or sealed", () => {
    using source = createMemfd("ringside-source", SIZE);
    const path = `/proc/self/fd/${source.number}`;
    const text = "wanted a descriptor that is open for reading and writing";
    says([spec(0)], [open(path, O_RDONLY)], text);
    const seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    says([spec(0)], [createMemfd(`${NAME}2`, SIZE, { seals })], text);
  });

  it("[H10] a descriptor that is closed", () => {
    says([spec(0)], [new Fd(-1)], "can't be mapped");
  });
});
