/**
 * Rings behind an IOMMU: nothing is reached but what the front-end mapped.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { setLogLevel } from "../../src/log.ts";
import { NackError } from "../../src/vhost_user/frontend.ts";
import { PAGE, VirtualDisk } from "../support/virtual_disk.ts";

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

Deno.test("IOTLB_MSG is refused where the IOMMU was not negotiated", async () => {
  await using disk = await VirtualDisk.open({ start: false });
  await disk.frontend.resetDevice();
  const offered = await disk.frontend.getFeatures();
  await disk.frontend.setFeatures(offered & ~(1n << 33n));
  await assertRejects(() => disk.map(0x4000_0000), NackError);
  assertEquals(PAGE, 4096);
});
