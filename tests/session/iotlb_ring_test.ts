/**
 * Rings behind an IOMMU whose parts are in pages from all over the guest.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { setLogLevel } from "../../src/log.ts";
import {
  PAGE,
  READ,
  VirtualDisk,
  type VirtualDiskOptions,
  WRITE,
} from "../support/virtual_disk.ts";
import { eventually, withDeadline } from "../vm/deadline.ts";

setLogLevel("error");

const SECTOR = 512;
const DEADLINE_MS = 20_000;
const EVERYTHING = 0;

/** A pattern of `size` bytes. */
function pattern(size: number, salt = 0): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => i * 7 + (i >> 9) + salt);
}

/** Opens a disk with rings of 1024 entries in pages that are not adjacent. */
function openScattered(options: VirtualDiskOptions): Promise<VirtualDisk> {
  return VirtualDisk.open({ ...options, queueSize: 1024, scattered: true });
}

/** Reads and writes through ring `index`, and looks at what came of it. */
async function use(disk: VirtualDisk, index: number, salt: number) {
  const { driver } = disk.rings[index]!;
  const bytes = pattern(8 * SECTOR, salt);
  await driver.write(16 * index, bytes);
  assertEquals(await driver.read(16 * index, bytes.length), bytes);
  assertEquals(disk.bytes(16 * index * SECTOR, bytes.length), bytes);
}

/**
 * Sends so many requests through ring `index` that it goes round, and does
 * `meanwhile` while some of them are on their way.
 */
async function goRound(
  disk: VirtualDisk,
  index: number,
  meanwhile: (round: number) => Promise<void> = () => Promise.resolve(),
) {
  const { driver } = disk.rings[index]!;
  for (let i = 0; i < 20; i++) {
    const reads = Array.from({ length: 64 }, () => driver.read(0, SECTOR));
    await meanwhile(i);
    await withDeadline(Promise.all(reads), DEADLINE_MS);
  }
}

/** Waits until the device says that ring `index` is in trouble. */
async function troubled(disk: VirtualDisk, index: number) {
  const { errFd } = disk.rings[index]!;
  await eventually(
    () => errFd.clear(),
    DEADLINE_MS,
    () => `Nothing was said of ring ${index}`,
  );
}

for (const packed of [false, true]) {
  const kind = packed ? "packed" : "split";

  for (const dataPlane of ["inline", "worker"] as const) {
    Deno.test(`a ring of 1024 entries in scattered pages goes round and round (${kind}, ${dataPlane})`, async () => {
      await using disk = await openScattered({ packed, dataPlane });
      for (const { index } of disk.rings) {
        await use(disk, index, index);
        await goRound(disk, index);
        await use(disk, index, index + 5);
      }
    });
  }

  Deno.test(`scattered parts of a ring are unmapped and mapped under its requests (${kind})`, async () => {
    await using disk = await openScattered({ packed, queueThreads: 2 });
    const { ring } = disk.rings[0]!;
    const first = ring.descriptorArea - ring.descriptorArea % PAGE;
    const unmap = (i: number) =>
      disk.frontend.iotlb.invalidate(first + (i % 7) * PAGE, PAGE);
    await goRound(disk, 0, unmap);
    await goRound(disk, 1, unmap);
    await use(disk, 0, 3);
  });

  Deno.test(`a scattered ring follows its memory to another table (${kind})`, async () => {
    await using disk = await openScattered({ packed });
    for (let round = 0; round < 5; round++) {
      await disk.share();
      for (const { index } of disk.rings) await use(disk, index, round);
    }
  });

  Deno.test(`a page in the middle of a ring that does not come back stops that ring alone (${kind})`, async () => {
    await using disk = await openScattered({ packed });
    await use(disk, 0, 1);
    const { ring } = disk.rings[0]!;
    const page = ring.descriptorArea - ring.descriptorArea % PAGE + 2 * PAGE;
    disk.allowed.set(page / PAGE, 0);
    await disk.frontend.iotlb.invalidate(EVERYTHING, EVERYTHING);
    const lost = disk.rings[0]!.driver.read(0, SECTOR).catch(() => "lost");
    await troubled(disk, 0);
    await use(disk, 1, 2);
    // What the driver may read it may not write: no better.
    disk.allowed.set(page / PAGE, packed ? READ : WRITE);
    const base = await disk.frontend.getVringBase(0);
    await disk.start(0, base);
    await troubled(disk, 0);
    await use(disk, 1, 3);
    // The front-end changes its mind, and the request is there still.
    disk.allowed.delete(page / PAGE);
    await disk.start(0, await disk.frontend.getVringBase(0));
    assert(await withDeadline(lost, DEADLINE_MS) !== "lost");
    await use(disk, 0, 4);
  });

  Deno.test(`another page in the place of one of a ring is the ring's from then on (${kind})`, async () => {
    await using disk = await openScattered({ packed });
    await use(disk, 0, 1);
    const { ring } = disk.rings[0]!;
    // The same bytes elsewhere; the driver goes on in the page that was.
    const used = packed ? ring.descriptorArea : ring.deviceArea;
    const page = used - used % PAGE;
    const copy = disk.memory.allocate(PAGE, PAGE, 1);
    const carry = (from: number, to: number) =>
      disk.memory.write(to, disk.memory.read(from, PAGE));
    carry(page, copy);
    await disk.frontend.iotlb.update({
      iova: page,
      size: PAGE,
      userAddress: disk.userAddress(copy),
      permissions: READ | WRITE,
    });
    const late = disk.rings[0]!.driver.read(0, SECTOR);
    // What the driver publishes is in this page too: to where the device looks.
    carry(page, copy);
    // From where the device writes on: what comes before is the driver's.
    const usedPart = (at: number) =>
      disk.memory.read(at, PAGE).subarray(used - page);
    const asked = usedPart(page);
    disk.rings[0]!.kick();
    const isUsed = (at: number) =>
      usedPart(at).some((byte, i) => byte !== asked[i]);
    await eventually(() => isUsed(copy), DEADLINE_MS, () => "Nothing is used");
    assertEquals(isUsed(page), false);
    carry(copy, page);
    disk.rings[0]!.callFd.signal();
    assertEquals((await late).length, SECTOR);
  });
}

/** Mappings of the guest's memory in this process: ours, and the device's. */
function mappings(): number {
  return Deno.readTextFileSync("/proc/self/maps").split("\n")
    .filter((line) => line.includes("memfd:ringside-guest")).length;
}

Deno.test("a scattered ring that is broken keeps nothing of what is unmapped", async () => {
  await using disk = await openScattered({});
  for (const { index } of disk.rings) await use(disk, index, index);
  const running = mappings();
  const { ring } = disk.rings[0]!;
  // An available index that jumps.
  disk.memory.write(ring.driverArea + 2, Uint8Array.of(0xff, 0x7f));
  disk.rings[0]!.kick();
  await troubled(disk, 0);
  await disk.frontend.iotlb.invalidate(EVERYTHING, EVERYTHING);
  const unmapped = mappings();
  for (const { index } of disk.rings) await disk.frontend.getVringBase(index);
  assertEquals([unmapped, unmapped < running], [mappings(), true]);
});
