/**
 * A guest with an IOMMU of its own, whose disk and card reach only what its
 * kernel maps for them: by the request, since it unmaps each buffer again.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { Guest } from "./guest.ts";
import { prepareBoot } from "./initramfs.ts";
import { bringUp } from "./net_guest.ts";
import { Lab } from "./net_lab.ts";
import type { NetSetup } from "./net_scenario.ts";
import { ping, sendFile } from "./net_traffic.ts";
import type { Step } from "./scenario.ts";

const MEBIBYTE = 1 << 20;
const DISK_MEBIBYTES = 32;
const FILE_MEBIBYTES = 4;
const FIO_SECONDS = 8;
const MAC = "52:54:00:77:00:30";
/** VIRTIO_F_ACCESS_PLATFORM, which is a character of the file. */
const ACCESS_PLATFORM = 33;
const FEATURES = "cat /sys/bus/virtio/devices/virtio*/features";

async function showMappings(step: Step, guest: Guest) {
  await step("disk and card are behind the guest's IOMMU", async () => {
    const lines = (await guest.output(FEATURES)).split("\n");
    const behind = lines.filter((bits) => bits[ACCESS_PLATFORM] === "1");
    assertEquals(behind.length, 2, lines.join());
    const types = await guest.output(
      "cat /sys/kernel/iommu_groups/*/type | sort -u",
    );
    assert(/DMA/.test(types), types);
    return `${lines.length} devices of virtio, domains of type ${types}`;
  });
}

async function showDisk(step: Step, guest: Guest) {
  await step("the disk is read and written, and checked", async () => {
    await guest.output(
      `
      set -e
      dd if=/dev/urandom of=/tmp/data bs=1M count=${FILE_MEBIBYTES}
      dd if=/tmp/data of=/dev/vda bs=1M oflag=direct conv=notrunc,fsync
      dd if=/dev/vda of=/tmp/back bs=256k iflag=direct \\
        count=${4 * FILE_MEBIBYTES}
      cmp /tmp/data /tmp/back
      rm /tmp/data /tmp/back
    `,
      { timeoutMs: 120_000 },
    );
    return `${FILE_MEBIBYTES} MiB`;
  });
  await step(`fio randrw verify=crc32c, ${FIO_SECONDS} s`, async () => {
    const text = await guest.output(
      `fio --output-format=json --filename=/dev/vda --direct=1 --rw=randrw \\
        --verify=crc32c --verify_fatal=1 --verify_backlog=32 \\
        --ioengine=libaio --iodepth=16 --time_based \\
        --runtime=${FIO_SECONDS} --size=${DISK_MEBIBYTES / 2}M \\
        --name=small --bs=4k --offset=0 --cpus_allowed=0 \\
        --name=large --bs=64k --offset=${DISK_MEBIBYTES / 2}M \\
        --cpus_allowed=1 2>/dev/null`,
      { timeoutMs: 180_000 },
    );
    const { jobs } = JSON.parse(text.slice(text.indexOf("{")));
    const seen: string[] = [];
    for (const { jobname, error, read, write } of jobs) {
      assertEquals(error, 0, text);
      assert(write.total_ios > 0 && read.total_ios > 0, text);
      seen.push(
        `${jobname}: ${read.total_ios} reads, ${write.total_ios} writes`,
      );
    }
    return seen.join("; ");
  });
}

async function showCard(step: Step, guest: Guest, lab: Lab) {
  const host = lab.end("10.77.9.1");
  const there = { shell: guest, address: "10.77.9.2", directory: "/tmp" };
  await step("the card: ping both ways, a file each way", async () => {
    await bringUp(guest, MAC, "card", there.address);
    await ping(there, host);
    await ping(host, there);
    const out = await sendFile(there, host, FILE_MEBIBYTES);
    const back = await sendFile(host, there, FILE_MEBIBYTES);
    return `${FILE_MEBIBYTES} MiB, ${out} and ${back}`;
  });
}

async function showEnd(step: Step, guest: Guest, lab: Lab) {
  await step("the disk's driver goes and comes again", async () => {
    await guest.output(
      `
      set -e
      cd /sys/bus/virtio/drivers/virtio_blk
      device=$(ls -d virtio*)
      dd if=/dev/vda bs=1M count=1 iflag=direct | sha256sum >/tmp/before
      echo $device >unbind
      [ ! -e /dev/vda ]
      echo $device >bind
      for turn in $(seq 200); do [ -b /dev/vda ] && break; sleep 0.05; done
      dd if=/dev/vda bs=1M count=1 iflag=direct | sha256sum >/tmp/after
      cmp /tmp/before /tmp/after
    `,
      { timeoutMs: 120_000 },
    );
    return "with new rings, at new addresses";
  });
  await step("no access went where it may not", async () => {
    // Before that QEMU itself looks at rings that its firmware left behind.
    const log = (await guest.console()).split("agent: ready")[1]!;
    const fault = /DMAR:.*[Ff]ault.*|I\/O error.*|is not a head.*/.exec(log);
    assertEquals(fault, null, fault?.[0]);
    const complaint = /is broken.*|can't start.*|refused.*/.exec(
      lab.backEnd.log,
    );
    assertEquals(complaint, null, lab.backEnd.log);
    return "neither the guest nor the back-end complains";
  });
}

/** Shows a disk and a card behind an IOMMU that the guest drives. */
export async function iommuScenario(
  step: Step,
  { boot, plane }: NetSetup,
): Promise<void> {
  const files = await prepareBoot("both");
  await using lab = await Lab.set();
  await lab.addInterface("card", { address: "10.77.9.1" });
  const image = `${lab.directory}/disk.img`;
  const bytes = new Uint8Array(DISK_MEBIBYTES * MEBIBYTE);
  for (let at = 0; at < bytes.length; at += 65536) {
    crypto.getRandomValues(bytes.subarray(at, at + 65536));
  }
  await Deno.writeFile(image, bytes);
  const common = { "data-plane": plane, iommu: true };
  await lab.serve([
    { device: "block", name: "disk", "blk-file": image, ...common },
    { device: "net", name: "card", ifname: "card", mac: MAC, ...common },
  ]);
  await using guest = await Guest.boot({
    boot: { ...boot, ...files },
    disks: [{ socketPath: lab.socketPath("disk") }],
    cards: [{ socketPath: lab.socketPath("card"), mac: MAC }],
    iommu: true,
  });
  await showMappings(step, guest);
  await showDisk(step, guest);
  await showCard(step, guest, lab);
  await showEnd(step, guest, lab);
}
