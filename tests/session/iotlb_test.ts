/**
 * Rings behind an IOMMU: nothing is reached but what the front-end mapped.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { setLogLevel } from "../../src/log.ts";
import { BLOCK_REQUEST, blockHeader } from "../../src/testing/block_driver.ts";
import { NackError } from "../../src/vhost_user/frontend.ts";
import {
  IOVA,
  PAGE,
  READ,
  REGION_SIZE,
  VirtualDisk,
  WRITE,
} from "../support/virtual_disk.ts";
import { withDeadline } from "../vm/deadline.ts";

setLogLevel("error");

const SECTOR = 512;

/** A pattern of `size` bytes. */
function pattern(size: number, salt = 0): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => i * 7 + (i >> 9) + salt);
}

for (const dataPlane of ["inline", "worker"] as const) {
  for (const packed of [false, true]) {
    const kind = `${packed ? "packed" : "split"}, ${dataPlane}`;

    Deno.test(`a disk behind an IOMMU is written and read (${kind})`, async () => {
      await using disk = await VirtualDisk.open({
        dataPlane,
        packed,
        queueThreads: dataPlane === "worker" ? 2 : 1,
      });
      for (const { index, driver } of disk.rings) {
        const bytes = pattern(8 * SECTOR, index);
        await driver.write(16 * index, bytes);
        assertEquals(await driver.read(16 * index, bytes.length), bytes);
        assertEquals(disk.bytes(16 * index * SECTOR, bytes.length), bytes);
      }
      assert(disk.misses.length > 0, "the device asked");
      const before = disk.misses.length;
      // Buffers are used again, and so are their mappings.
      for (const { driver } of disk.rings) await driver.read(0, 8 * SECTOR);
      assertEquals(disk.misses.length, before);
    });
  }
}

const EVERYTHING = 0;
const DEADLINE_MS = 20_000;

/** The page that `address` is in. */
function pageOf(address: number): number {
  return Math.floor(address / PAGE);
}

/** A buffer of `pages` pages of the driver's own, on a border of pages. */
function pagesOf(disk: VirtualDisk, pages: number, region = 0): number {
  return disk.memory.allocate(pages * PAGE, PAGE, region);
}

/** A read of `size` bytes of the disk into memory at `address`, as a request. */
function readInto(disk: VirtualDisk, index: number, address: number) {
  const header = blockHeader(BLOCK_REQUEST.IN, 0);
  const parts = [{ bytes: header }, { room: SECTOR, address }, { room: 1 }];
  const done = disk.rings[index]!.driver.request(parts);
  return withDeadline(done, DEADLINE_MS);
}

Deno.test("a chain over pages of several regions is cut where they are, also in an indirect table", async () => {
  await using disk = await VirtualDisk.open({ indirect: true });
  // Half of it is at the end of the first region, half at the start of the
  // second, which touch for the driver and for nobody else.
  const end = IOVA + REGION_SIZE;
  const address = end - 2 * PAGE - 100;
  const bytes = pattern(4 * PAGE + 200);
  disk.memory.write(address, bytes);
  const header = blockHeader(BLOCK_REQUEST.OUT, 0);
  const whole = Math.floor(bytes.length / SECTOR) * SECTOR;
  const parts = [
    { bytes: header },
    { bytes: bytes.subarray(0, whole), address },
    { room: 1 },
  ];
  const { status } = await disk.rings[0]!.driver.request(parts);
  assertEquals(status, 0);
  assertEquals(disk.bytes(0, whole), bytes.subarray(0, whole));
});

for (const dataPlane of ["inline", "worker"] as const) {
  Deno.test(`what is not mapped, or not for that, is not touched, and the ring goes on (${dataPlane})`, async () => {
    await using disk = await VirtualDisk.open({ dataPlane });
    const [forbidden, readable] = [pagesOf(disk, 1), pagesOf(disk, 1)];
    disk.allowed.set(pageOf(forbidden), 0);
    disk.allowed.set(pageOf(readable), READ);
    for (const address of [forbidden, readable]) {
      const before = pattern(SECTOR, 3);
      disk.memory.write(address, before);
      const { written } = await readInto(disk, 0, address);
      assertEquals(written, 0, "given back unread");
      assertEquals(disk.memory.read(address, SECTOR), before);
      const asked = disk.misses.find(({ iova }) => iova === address);
      assertEquals(asked?.permissions, WRITE);
    }
    // The front-end may think otherwise later.
    disk.allowed.set(pageOf(forbidden), READ | WRITE);
    const { status } = await readInto(disk, 0, forbidden);
    assertEquals(status, 0);
    assertEquals(disk.memory.read(forbidden, SECTOR), new Uint8Array(SECTOR));
  });

  Deno.test(`a mapping that does not come stops one ring, which can be stopped (${dataPlane})`, async () => {
    await using disk = await VirtualDisk.open({ dataPlane });
    for (const { driver } of disk.rings) await driver.read(0, SECTOR);
    disk.answers = false;
    const address = pagesOf(disk, 1);
    const late = readInto(disk, 0, address);
    await disk.missed(({ iova }) => iova === address);
    // The other ring goes on, as does the session.
    for (let i = 0; i < 100; i++) {
      await disk.rings[1]!.driver.read(i, SECTOR);
    }
    const base = await disk.frontend.getVringBase(0);
    assertEquals(base, 1, "it was not taken");
    disk.misses.length = 0;
    await disk.start(0, base);
    await disk.missed(({ iova }) => iova === address);
    await disk.map(address);
    assertEquals((await late).status, 0);
  });

  Deno.test(`after an invalidation what was mapped is asked for again (${dataPlane})`, async () => {
    await using disk = await VirtualDisk.open({ dataPlane });
    const address = pagesOf(disk, 2);
    const ranges: [number, number][] = [
      [address, PAGE],
      [address + 100, 1],
      [address - 1, 2],
      [0, EVERYTHING],
      [0, 2 ** 53],
    ];
    await readInto(disk, 0, address);
    for (const [iova, size] of ranges) {
      disk.misses.length = 0;
      await disk.frontend.iotlb.invalidate(iova, size);
      await readInto(disk, 0, address);
      const again = disk.misses.some((miss) =>
        pageOf(miss.iova) === pageOf(address)
      );
      assert(again, `invalidated ${size} bytes at ${iova.toString(16)}`);
    }
    disk.misses.length = 0;
    await disk.frontend.iotlb.invalidate(address + PAGE, PAGE);
    await readInto(disk, 0, address);
    assertEquals(disk.misses, [], "what lies beside it is still mapped");
  });

  Deno.test(`a ring whose areas are unmapped waits for them, and goes on where it was (${dataPlane})`, async () => {
    await using disk = await VirtualDisk.open({ dataPlane });
    const [first, second] = disk.rings;
    for (let i = 0; i < 5; i++) await first!.driver.read(0, SECTOR);
    const area = first!.ring.deviceArea;
    for (let round = 0; round < 3; round++) {
      disk.answers = false;
      disk.misses.length = 0;
      await disk.frontend.iotlb.invalidate(area - area % PAGE, PAGE);
      const late = readInto(disk, 0, IOVA);
      await disk.missed(({ iova }) => pageOf(iova) === pageOf(area));
      disk.answers = true;
      await disk.map(area);
      assertEquals((await late).status, 0);
      await first!.driver.read(0, SECTOR);
    }
    await second!.driver.read(0, SECTOR);
    assertEquals(await disk.frontend.getVringBase(0), 11);
  });
}

Deno.test("a ring that has nothing to do asks for nothing when its areas are unmapped", async () => {
  await using disk = await VirtualDisk.open();
  for (const { driver } of disk.rings) await driver.read(0, SECTOR);
  disk.misses.length = 0;
  await disk.frontend.iotlb.invalidate(0, EVERYTHING);
  const base = await disk.frontend.getVringBase(1);
  assertEquals([base, disk.misses.length], [1, 0]);
  await disk.rings[0]!.driver.read(0, SECTOR);
  assert(disk.misses.length > 0);
});

Deno.test("rings that are stopped leave no mapping behind", async () => {
  await using disk = await VirtualDisk.open();
  const address = pagesOf(disk, 1);
  await readInto(disk, 0, address);
  const bases = [
    await disk.frontend.getVringBase(0),
    await disk.frontend.getVringBase(1),
  ];
  // Meanwhile nobody tells the device that this is gone.
  disk.allowed.set(pageOf(address), 0);
  disk.misses.length = 0;
  for (const [index, base] of bases.entries()) await disk.start(index, base);
  const { written } = await readInto(disk, 0, address);
  assertEquals(written, 0);
  assert(disk.misses.some(({ iova }) => iova === address));
});

Deno.test("new memory in place of the old: mappings are where their user addresses are", async () => {
  await using disk = await VirtualDisk.open();
  const address = pagesOf(disk, 1);
  await readInto(disk, 0, address);
  disk.misses.length = 0;
  for (let round = 0; round < 5; round++) {
    await disk.share();
    assertEquals((await readInto(disk, 0, address)).status, 0);
    assertEquals((await readInto(disk, 1, address)).status, 0);
  }
});

Deno.test("requests go on while pages come and go under them", async () => {
  await using disk = await VirtualDisk.open({ queueThreads: 2 });
  const address = pagesOf(disk, 8);
  let going = true;
  const churn = (async () => {
    for (let i = 0; going; i++) {
      const iova = address + (i % 8) * PAGE;
      await disk.frontend.iotlb.invalidate(iova, PAGE);
    }
  })();
  const work = disk.rings.map(async ({ index }) => {
    for (let i = 0; i < 200; i++) {
      const at = address + (i % 8) * PAGE + index * SECTOR;
      assertEquals((await readInto(disk, index, at)).status, 0);
    }
  });
  await Promise.all(work);
  going = false;
  await churn;
});

Deno.test("IOTLB messages that make no sense are refused, and change nothing", async () => {
  await using disk = await VirtualDisk.open();
  const { iotlb } = disk.frontend;
  const userAddress = disk.userAddress(IOVA);
  const good = {
    iova: IOVA,
    size: PAGE,
    userAddress,
    permissions: READ,
    type: 2,
  };
  const bad = [
    { type: 0 },
    { type: 1 },
    { type: 4 },
    { type: 5 },
    { type: 255 },
    { size: 0 },
    { size: 2 ** 53 },
    { iova: 2 ** 53 },
    { iova: 2 ** 53 - PAGE },
    { permissions: 0 },
    { permissions: 4 },
    { permissions: 255 },
    { userAddress: 0 },
    { userAddress: userAddress - 1 },
    { size: REGION_SIZE + 1 },
    { userAddress: userAddress + REGION_SIZE - 1, size: 2 * REGION_SIZE },
  ];
  for (const change of bad) {
    const message = { ...good, ...change };
    const words = JSON.stringify(change);
    await assertRejects(() => iotlb.send(message), NackError, undefined, words);
  }
  for (const { driver } of disk.rings) await driver.read(0, SECTOR);
});

Deno.test("a front-end that never reads what is asked loses nothing but its rings", async () => {
  await using disk = await VirtualDisk.open({ start: false });
  // The channel of the back-end is closed: nobody hears the questions.
  await disk.frontend.listenToBackend({});
  for (const { index, ring } of disk.rings) {
    await disk.start(index, ring.config().nextAvail);
  }
  for (let round = 0; round < 20; round++) {
    assertEquals(await disk.frontend.getVringBase(0), 0);
    await disk.start(0, 0);
  }
});

Deno.test("mappings that are told before they are needed are not asked for", async () => {
  await using disk = await VirtualDisk.open({ start: false });
  for (const region of disk.memory.regions) {
    await disk.frontend.iotlb.update({
      iova: region.guestAddress,
      size: region.size,
      userAddress: region.userAddress,
      permissions: READ | WRITE,
    });
  }
  for (const { index, ring, driver } of disk.rings) {
    await disk.start(index, ring.config().nextAvail);
    await driver.write(0, pattern(64 * SECTOR));
    assertEquals(await driver.read(0, 64 * SECTOR), pattern(64 * SECTOR));
  }
  assertEquals(disk.misses, []);
});

Deno.test("IOTLB_MSG is refused where the IOMMU was not negotiated", async () => {
  await using disk = await VirtualDisk.open({ start: false });
  await disk.frontend.resetDevice();
  const offered = await disk.frontend.getFeatures();
  await disk.frontend.setFeatures(offered & ~(1n << 33n));
  await assertRejects(() => disk.map(IOVA), NackError);
});
