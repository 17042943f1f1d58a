/**
 * One guest, several disks: those that are not plain.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { Guest } from "./guest.ts";
import { hashFile, type Setup, Stage, type Step } from "./scenario.ts";

/** Small, because the guest hashes them. */
const SIZE = 32 << 20;

async function showReadOnly(step: Step, guest: Guest, image: string) {
  await step("a read-only disk says so", async () => {
    assertEquals(await guest.output("blockdev --getro /dev/vda"), "1");
    return "ro = 1";
  });
  await step("a read-only disk is read", async () => {
    const line = await guest.output("sha256sum </dev/vda");
    const hash = line.split(" ")[0]!;
    assertEquals(hash, await hashFile(image));
    return hash;
  });
  await step("a read-only disk refuses writes", async () => {
    const before = await hashFile(image);
    const write = await guest.run(
      "dd if=/dev/urandom of=/dev/vda bs=4k count=1 oflag=direct",
    );
    assert(write.status !== 0, "dd wrote to it");
    const discard = await guest.run("blkdiscard -f /dev/vda");
    assert(discard.status !== 0, "blkdiscard wrote to it");
    assertEquals(await hashFile(image), before);
    return write.stderr.trim().split("\n")[0]!;
  });
}

async function showBlockSize(step: Step, guest: Guest, image: string) {
  await step("a disk of 4096-byte blocks says so", async () => {
    assertEquals(await guest.output("blockdev --getss /dev/vdb"), "4096");
    return "4096 bytes";
  });
  await step("a disk of 4096-byte blocks takes whole ones only", async () => {
    const half = await guest.run(
      "dd if=/dev/zero of=/dev/vdb bs=512 count=1 oflag=direct",
    );
    assert(half.status !== 0, "It took 512 bytes");
    const hash = await guest.output(`
      set -e
      dd if=/dev/urandom of=/tmp/data bs=4096 count=16
      dd if=/tmp/data of=/dev/vdb bs=4096 seek=3 oflag=direct conv=fsync
      dd if=/dev/vdb bs=4096 skip=3 count=16 iflag=direct | cmp - /tmp/data
      sha256sum </tmp/data
    `);
    assertEquals(await hashFile(image, 3 * 4096, 65536), hash.split(" ")[0]);
    return "16 blocks, the same on the host";
  });
}

async function showRings(step: Step, guest: Guest, image: string) {
  for (
    const [disk, queues] of [["vdc", 1], ["vdd", 2]] as const
  ) {
    await step(`${queues} queues of another size`, async () => {
      const count = await guest.output(`ls /sys/block/${disk}/mq | wc -l`);
      assertEquals(Number(count), queues);
      const entries = await guest.output(`cat /sys/block/${disk}/mq/0/nr_tags`);
      const line = await guest.output(`sha256sum </dev/${disk}`);
      assertEquals(line.split(" ")[0], await hashFile(image));
      return `${count} of ${entries} entries`;
    });
  }
}

/** Shows a read-only disk, one of large blocks, and rings of other sizes. */
export async function kindsScenario(step: Step, setup: Setup): Promise<void> {
  await using stage = await Stage.set();
  const image = await stage.image("disk", SIZE);
  const large = await stage.image("large", SIZE);
  const common = { file: image, readOnly: true };
  const [readOnly, blocks, single, deep] = await stage.serveAll(setup.kind, [
    { name: "read-only", ...common },
    { name: "blocks", file: large, blockSize: 4096 },
    { name: "single", ...common, queueCount: 1 },
    { name: "deep", ...common, queueCount: 2 },
  ]);
  await using guest = await Guest.boot({
    boot: setup.boot,
    disks: [
      { socketPath: readOnly!.socketPath },
      { socketPath: blocks!.socketPath },
      { socketPath: single!.socketPath, queueCount: 1, queueSize: 8 },
      { socketPath: deep!.socketPath, queueCount: 2, queueSize: 1024 },
    ],
  });
  await showReadOnly(step, guest, image);
  await showBlockSize(step, guest, large);
  await showRings(step, guest, image);
}
