import { assertEquals, assertThrows } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { openDescriptors } from "../../tests/support/descriptors.ts";
import { libc } from "../ffi/libc.ts";
import { fileStatus } from "../ffi/status.ts";
import { GuestMemory } from "../memory/guest_memory.ts";
import { DriverMemory } from "./driver_memory.ts";

const REGIONS = [
  { guestAddress: 0x10000, size: 0x1000 },
  { guestAddress: 0x11000, size: 0x1000, userAddress: 0x7000_0000 },
  { guestAddress: 0x40000, size: 0x2000, mmapOffset: 0x3000 },
];

for (const kind of ["plain", "shared"] as const) {
  describe(`DriverMemory.${kind}`, () => {
    it("is what a device sees", () => {
      using memory = DriverMemory[kind](REGIONS);
      const [view, offset] = memory.view(0x40010);
      view.setUint32(offset, 0xaabbccdd, true);
      for (const guest of [memory.guestMemory(), borrowed(memory)]) {
        guest.locate(0x40010, 4);
        assertEquals([guest.foundRegion, guest.foundOffset], [2, 0x10]);
        assertEquals(guest.views[2]!.getUint32(0x10, true), 0xaabbccdd);
        guest.views[2]!.setUint8(0x14, 7);
        assertEquals(memory.read(0x40014, 1), Uint8Array.of(7));
      }
    });

    it("is written and read over adjacent regions, not over holes", () => {
      using memory = DriverMemory[kind](REGIONS);
      const bytes = Uint8Array.from({ length: 32 }, (_, i) => i);
      memory.write(0x10ff0, bytes);
      assertEquals(memory.read(0x10ff0, 32), bytes);
      assertThrows(() => memory.write(0x11ff0, bytes), RangeError, "no region");
      assertThrows(() => memory.read(0x11ff0, 32), RangeError, "no region");
      assertThrows(() => memory.view(0x30000), RangeError, "no region");
    });

    it("is allocated from, until there is none left", () => {
      using memory = DriverMemory[kind](REGIONS);
      assertEquals(memory.allocate(5), 0x10000);
      assertEquals(memory.allocate(1), 0x10010);
      assertEquals(memory.allocate(1, 1), 0x10011);
      assertEquals(memory.allocate(0x1000, 4096), 0x11000);
      assertEquals(memory.allocate(8, 8, 2), 0x40000);
      assertThrows(() => memory.allocate(0x2000), RangeError, "bytes left");
    });

    it("tells where it is", () => {
      using memory = DriverMemory[kind](REGIONS);
      const { generation, regions } = memory.layout(5);
      assertEquals(generation, 5);
      assertEquals(
        regions.map(({ guestAddress, size }) => ({ guestAddress, size })),
        REGIONS.map(({ guestAddress, size }) => ({ guestAddress, size })),
      );
      assertEquals(regions[0]!.userAddress, regions[0]!.hostAddress);
      assertEquals(regions[1]!.userAddress, 0x7000_0000);
      assertEquals(memory.regions[2]!.mmapOffset, 0x3000);
      assertEquals(memory.regions[0]!.fd === null, kind === "plain");
    });

    it("is one region where only a size is given", () => {
      using memory = DriverMemory[kind](0x5000);
      assertEquals(memory.regions.length, 1);
      assertEquals(memory.read(0x10000, 0x5000), new Uint8Array(0x5000));
    });
  });
}

describe("sizes and addresses that are none", () => {
  it("make no memory", () => {
    for (const kind of ["plain", "shared"] as const) {
      for (const size of [0, -1, 1.5, NaN, 2 ** 60]) {
        assertThrows(
          () => DriverMemory[kind](size),
          RangeError,
          `${size} byte`,
        );
      }
      const spec = { guestAddress: -4096, size: 4096 };
      assertThrows(() => DriverMemory[kind]([spec]), RangeError, "-4096");
    }
  });

  it("are not allocated, and harm no allocation after", () => {
    using memory = DriverMemory.plain(0x1000);
    for (const size of [-1, 0.5, NaN, Infinity]) {
      assertThrows(() => memory.allocate(size), RangeError, "set apart");
    }
    assertEquals(memory.allocate(0x1000), 0x10000);
  });
});

describe("DriverMemory.shared", () => {
  it("puts regions into one memfd, around a hole in the guest", () => {
    using memory = DriverMemory.shared([
      { guestAddress: 0, size: 0x2000 },
      { guestAddress: 0x10000, size: 0x1000, fileOf: 0, mmapOffset: 0x2000 },
      { guestAddress: 0x20000, size: 0x1000, fileOf: 0, mmapOffset: 0x1000 },
    ]);
    const [first, second, third] = memory.regions;
    assertEquals([first!.fd, first!.fd], [second!.fd, third!.fd]);
    memory.write(0x1000, Uint8Array.of(1, 2, 3));
    assertEquals(memory.read(0x20000, 3), Uint8Array.of(1, 2, 3));
    assertEquals(memory.read(0x10000, 3), new Uint8Array(3));
  });

  it("can't be made shorter by those it is shared with, unless it is said", () => {
    const region = { guestAddress: 0, size: 0x2000 };
    const shorten = (memory: DriverMemory) =>
      libc.ftruncate(memory.regions[0]!.fd!.number, 0x1000n);
    using sealed = DriverMemory.shared([region]);
    assertEquals(shorten(sealed), -1);
    assertEquals(sealed.read(0x1000, 1), new Uint8Array(1));
    using open = DriverMemory.shared([{ ...region, shrinkable: true }]);
    assertEquals(shorten(open), 0);
  });

  it("takes huge pages where there are any, if it is not to insist", () => {
    const size = 4 << 20;
    using memory = DriverMemory.shared([
      { guestAddress: 0, size, hugePages: "preferred" },
    ]);
    const [region] = memory.regions;
    const { blockSize } = fileStatus(region!.fd!.number);
    assertEquals(region!.hugePages, blockSize === 2 << 20);
    memory.write(size - 1, Uint8Array.of(9));
    assertEquals(memory.read(size - 1, 1), Uint8Array.of(9));
  });

  it("leaves nothing behind when it can't be made", () => {
    const before = openDescriptors();
    const good = { guestAddress: 0, size: 0x1000 };
    const bad = [
      { guestAddress: 0x1000, size: 2 ** 46, hugePages: true },
      { guestAddress: 0x1000, size: 2 ** 50 },
      { guestAddress: 0x1000, size: 0x1000, fileOf: 5 },
    ];
    for (const each of bad) {
      assertThrows(() => DriverMemory.shared([good, each]));
    }
    assertEquals(openDescriptors(), before);
  });
});

/** The memory as another thread would see it: by address. */
function borrowed(memory: DriverMemory): GuestMemory {
  return new GuestMemory(memory.layout());
}
