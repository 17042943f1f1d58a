/** The memory table. */
import { assertEquals } from "@std/assert";
import {
  F_SEAL_SHRINK,
  F_SEAL_WRITE,
  O_CLOEXEC,
  O_RDONLY,
  O_RDWR,
} from "../../src/ffi/abi.ts";
import { check } from "../../src/ffi/errno.ts";
import { libc } from "../../src/ffi/libc.ts";
import { cString } from "../../src/ffi/pointer.ts";
import { Fd } from "../../src/io/fd.ts";
import { createMemfd } from "../../src/io/memfd.ts";
import type { SharedRegion } from "../../src/vhost_user/frontend.ts";
import {
  encodeMemoryTable,
  memoryRegion,
  singleMemoryRegion,
} from "../../src/vhost_user/message.ts";
import { VHOST_USER } from "../../src/vhost_user/protocol.ts";
import {
  GUEST_ADDRESS,
  MEMORY_SIZE,
  openFds,
  type Stage,
  stageTest,
  USER_ADDRESS,
} from "./harness.ts";

stageTest(
  "[C50] a memory table is mapped, and its descriptors closed",
  async (stage) => {
    await stage.frontend.negotiate();
    const regions = [stage.region(), stage.region(MEMORY_SIZE)];
    const before = openFds();
    await stage.frontend.setMemTable(regions);
    assertEquals(openFds(), before);
    assertEquals(stage.mappings(), 2);
    const { layout } = stage.backend;
    assertEquals(
      layout.regions.map(({ guestAddress, size, userAddress }) => ({
        guestAddress,
        size,
        userAddress,
      })),
      [0, MEMORY_SIZE].map((shift) => ({
        guestAddress: GUEST_ADDRESS + shift,
        size: MEMORY_SIZE,
        userAddress: USER_ADDRESS + shift,
      })),
    );
    await stage.frontend.setMemTable([stage.region()]);
    assertEquals(stage.mappings(), 1);
  },
);

type Bad = (stage: Stage) => SharedRegion[];

const BAD_TABLES: [what: string, regions: Bad][] = [
  ["regions that overlap in guest addresses", (stage) => [
    stage.region(),
    { ...stage.region(MEMORY_SIZE), guestAddress: GUEST_ADDRESS + 4096 },
  ]],
  ["regions that overlap in user addresses", (stage) => [
    stage.region(),
    { ...stage.region(MEMORY_SIZE), userAddress: USER_ADDRESS + 4096 },
  ]],
  ["a region of size 0", (stage) => [{ ...stage.region(), size: 0 }]],
  ["a guest address that wraps", (stage) => [
    { ...stage.region(), guestAddress: 2 ** 64 - 4096 },
  ]],
  ["a user address that wraps", (stage) => [
    { ...stage.region(), userAddress: 2 ** 64 - 4096 },
  ]],
  ["a size beyond 2^53", (stage) => [{ ...stage.region(), size: 2 ** 63 }]],
  ["a region beyond its file", (stage) => [
    { ...stage.region(), mmapOffset: 4096 },
  ]],
  ["an unaligned offset", (stage) => [
    { ...stage.region(), mmapOffset: 12, size: 4096 },
  ]],
];

for (const [what, regions] of BAD_TABLES) {
  stageTest(`[C50] [H09] ${what}: refused`, async (stage) => {
    await stage.ready();
    const before = openFds().length;
    const bad = regions(stage);
    const added = openFds().length - before;
    await stage.refused(stage.frontend.setMemTable(bad));
    assertEquals(openFds().length, before + added);
    // The table before is still the table.
    assertEquals(stage.backend.layout.regions.length, 1);
    assertEquals(stage.mappings(), 1);
    await stage.startRing(0);
  });
}

stageTest(
  "[C50] a memory table may have room for more regions, as of User Mode Linux",
  async (stage) => {
    const { frontend } = stage;
    await frontend.negotiate();
    const payload = new Uint8Array(8 + 2 * memoryRegion.size);
    payload.set(encodeMemoryTable([stage.region()]));
    const request = VHOST_USER.SET_MEM_TABLE;
    await frontend.command(request, payload, [stage.memfd()]);
    assertEquals(stage.mappings(), 1);
  },
);

stageTest(
  "[C50] [H09] 0 and more than 8 regions are refused",
  async (stage) => {
    await stage.frontend.negotiate();
    const { SET_MEM_TABLE } = VHOST_USER;
    await stage.refused(stage.frontend.setMemTable([]));
    const fd = stage.memfd();
    const nine = Array.from(
      { length: 9 },
      (_, i) => stage.region(i * MEMORY_SIZE, fd),
    );
    await stage.refused(stage.frontend.setMemTable(nine));
    const payload = encodeMemoryTable(nine.slice(0, 1));
    for (const count of [0, 2, 9, 2 ** 32 - 1]) {
      new DataView(payload.buffer).setUint32(0, count, true);
      await stage.refused(
        stage.frontend.command(SET_MEM_TABLE, payload, [fd]),
      );
    }
  },
);

stageTest(
  "[C50] [H09] as many descriptors as regions are wanted",
  async (stage) => {
    await stage.frontend.negotiate();
    const fd = stage.memfd();
    const payload = encodeMemoryTable([stage.region(0, fd)]);
    const before = openFds();
    for (const fds of [[], [fd, fd], Array(8).fill(fd)]) {
      await stage.refused(
        stage.frontend.command(VHOST_USER.SET_MEM_TABLE, payload, fds),
      );
      assertEquals(openFds(), before);
    }
  },
);

const BAD_FILES: [what: string, open: (stage: Stage) => Fd][] = [
  ["/dev/null", (stage) => openFile(stage, "/dev/null")],
  ["a directory", (stage) => openFile(stage, "/tmp", false)],
  ["a file open for reading only", (stage) => readOnlyFile(stage)],
  ["an eventfd", (stage) => stage.eventFd()],
  ["a memfd sealed against writing", (stage) =>
    stage.own(
      createMemfd("sealed", MEMORY_SIZE, { seals: F_SEAL_WRITE }),
    )],
  ["an empty memfd", (stage) => stage.memfd(0)],
];

for (const [what, open] of BAD_FILES) {
  stageTest(`[H10] memory that is ${what} is refused`, async (stage) => {
    await stage.frontend.negotiate();
    const fd = open(stage);
    const before = openFds();
    const region = { ...stage.region(0, fd) };
    await stage.refused(stage.frontend.setMemTable([region]));
    await stage.refused(stage.frontend.addMemReg(region));
    assertEquals(openFds(), before);
  });
}

stageTest(
  "[H10] a memfd sealed against shrinking is welcome",
  async (stage) => {
    await stage.frontend.negotiate();
    const options = { seals: F_SEAL_SHRINK };
    const fd = stage.own(createMemfd("sealed", MEMORY_SIZE, options));
    await stage.frontend.setMemTable([stage.region(0, fd)]);
  },
);

stageTest(
  "[C59] [H16] memory is unmapped once the data plane let go of it, not before",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(0);
    const seen: number[] = [];
    backend.onMemory = () => seen.push(stage.mappings());
    await frontend.addMemReg(stage.region(MEMORY_SIZE));
    await frontend.removeMemReg(stage.region(MEMORY_SIZE));
    assertEquals(stage.mappings(), 1);
    await frontend.setMemTable([stage.region()]);
    assertEquals(stage.mappings(), 1);
    // Added: 2 mapped; being removed: still 2; being replaced: old and new.
    assertEquals(seen, [2, 2, 2]);
    assertEquals(backend.rings.size, 1);
  },
);

stageTest(
  "[C59] what the data plane refuses changes nothing",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    let failures = 1;
    backend.onMemory = () => {
      if (failures-- > 0) throw new Error("No");
    };
    await stage.refused(frontend.addMemReg(stage.region(MEMORY_SIZE)));
    assertEquals(stage.mappings(), 1);
    assertEquals(backend.layout.regions.length, 1);
    await frontend.addMemReg(stage.region(MEMORY_SIZE));
    assertEquals(stage.mappings(), 2);
  },
);

stageTest(
  "[C59] memory that the data plane can't leave stays mapped",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    backend.failing.add("setMemory");
    await stage.refused(frontend.addMemReg(stage.region(MEMORY_SIZE)));
    assertEquals(stage.mappings(), 2);
    backend.failing.clear();
  },
);

stageTest(
  "[C59] a region that is added for each queue pair is removed for each",
  async (stage) => {
    const { frontend, backend } = stage;
    await stage.ready();
    await stage.startRing(0);
    const region = stage.region(MEMORY_SIZE);
    for (let pair = 0; pair < 2; pair++) await frontend.addMemReg(region);
    assertEquals(stage.mappings(), 2);
    assertEquals(backend.layout.regions.length, 2);
    await frontend.removeMemReg(region);
    assertEquals(stage.mappings(), 2);
    await frontend.removeMemReg(region);
    assertEquals(stage.mappings(), 1);
    await stage.refused(frontend.removeMemReg(region));
    assertEquals(backend.rings.size, 1);
  },
);

stageTest("[C59] an unknown region can't be removed", async (stage) => {
  const { frontend } = stage;
  await stage.ready();
  const region = stage.region();
  for (const key of ["guestAddress", "userAddress", "size"] as const) {
    const other = { ...region, [key]: region[key] + 4096 };
    await stage.refused(frontend.removeMemReg(other));
  }
  // The offset does not count: QEMU sends 0.
  await frontend.removeMemReg({ ...region, mmapOffset: 4096 });
  assertEquals(stage.mappings(), 0);
  await stage.refused(frontend.removeMemReg(region));
});

stageTest(
  "[C59] a descriptor that comes with REM_MEM_REG is closed",
  async (stage) => {
    await stage.ready();
    const region = stage.region();
    const payload = singleMemoryRegion.encode(region);
    const before = openFds();
    await stage.frontend.command(VHOST_USER.REM_MEM_REG, payload, [region.fd]);
    assertEquals(openFds(), before);
    const two = [region.fd, region.fd];
    await stage.refused(
      stage.frontend.command(VHOST_USER.REM_MEM_REG, payload, two),
    );
    assertEquals(openFds(), before);
  },
);

stageTest("[C59] there are 509 slots and not one more", async (stage) => {
  await stage.frontend.negotiate();
  const fd = stage.memfd();
  const slot = (i: number) => ({
    guestAddress: i * 8192,
    size: 4096,
    userAddress: USER_ADDRESS + i * 8192,
    mmapOffset: 0,
    fd,
  });
  for (let i = 0; i < 509; i++) await stage.frontend.addMemReg(slot(i));
  await stage.refused(stage.frontend.addMemReg(slot(509)));
  await stage.frontend.removeMemReg(slot(17));
  await stage.frontend.addMemReg(slot(509));
  assertEquals(stage.backend.layout.regions.length, 509);
});

stageTest("[C59] the same region can't be added twice", async (stage) => {
  await stage.ready();
  await stage.refused(stage.frontend.addMemReg(stage.region()));
  assertEquals(stage.mappings(), 1);
});

stageTest(
  "[C59] a ring that waited for its memory starts when it is added",
  async (stage) => {
    const { frontend, backend } = stage;
    await frontend.negotiate();
    await stage.startRing(0);
    await frontend.addMemReg(stage.region(-MEMORY_SIZE));
    assertEquals(backend.rings.size, 0);
    await frontend.addMemReg(stage.region());
    assertEquals([...backend.rings.keys()], [0]);
  },
);

function openFile(stage: Stage, path: string, write = true): Fd {
  const flags = O_CLOEXEC | (write ? O_RDWR : O_RDONLY);
  const number = libc.open(cString(path), flags, 0);
  return stage.own(new Fd(check(number, "open")));
}

function readOnlyFile(stage: Stage): Fd {
  const path = Deno.makeTempFileSync();
  try {
    Deno.truncateSync(path, MEMORY_SIZE);
    return openFile(stage, path, false);
  } finally {
    Deno.removeSync(path);
  }
}
