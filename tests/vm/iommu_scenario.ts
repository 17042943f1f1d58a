/**
 * A guest with an IOMMU of its own, whose disks and cards reach only what its
 * kernel maps for them: by the request, since it unmaps each buffer again.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { Guest } from "./guest.ts";
import { prepareBoot } from "./initramfs.ts";
import { bringUp } from "./net_guest.ts";
import { Lab } from "./net_lab.ts";
import {
  describeKind,
  type NetSetup,
  prefixed,
  type ServedKind,
} from "./net_setup.ts";
import { ping, sendFile } from "./net_traffic.ts";
import { showRings } from "./ring_kind.ts";
import { diskName, type Step } from "./scenario.ts";
import type { DeviceEntry } from "./serving.ts";

const MEBIBYTE = 1 << 20;
const DISK_MEBIBYTES = 32;
const FILE_MEBIBYTES = 4;
const FIO_SECONDS = 3;
/** VIRTIO_F_ACCESS_PLATFORM, which is a character of the file. */
const ACCESS_PLATFORM = 33;
const FEATURES = "cat /sys/bus/virtio/devices/virtio*/features";

/** A disk and a card of one kind. */
interface Pair {
  kind: ServedKind;
  disk: string;
  card: string;
  mac: string;
  hostAddress: string;
  guestAddress: string;
}

function pairOf(kind: ServedKind, index: number): Pair {
  return {
    kind,
    disk: diskName(index),
    card: `card${index}`,
    mac: `52:54:00:77:0${index}:30`,
    hostAddress: `10.77.${90 + index}.1`,
    guestAddress: `10.77.${90 + index}.2`,
  };
}

async function showMappings(step: Step, guest: Guest, count: number) {
  await step("disks and cards are behind the guest's IOMMU", async () => {
    const lines = (await guest.output(FEATURES)).split("\n");
    const behind = lines.filter((bits) => bits[ACCESS_PLATFORM] === "1");
    assertEquals(behind.length, count, lines.join());
    const types = await guest.output(
      "cat /sys/kernel/iommu_groups/*/type | sort -u",
    );
    assert(/DMA/.test(types), types);
    return `${lines.length} devices of virtio, domains of type ${types}`;
  });
}

async function showDisk(step: Step, guest: Guest, disk: string) {
  await step("the disk is read and written, and checked", async () => {
    await guest.output(
      `
      set -e
      dd if=/dev/urandom of=/tmp/data bs=1M count=${FILE_MEBIBYTES}
      dd if=/tmp/data of=/dev/${disk} bs=1M oflag=direct conv=notrunc,fsync
      dd if=/dev/${disk} of=/tmp/back bs=256k iflag=direct \\
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
      `fio --output-format=json --filename=/dev/${disk} --direct=1 --rw=randrw \\
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

async function showCard(step: Step, guest: Guest, lab: Lab, pair: Pair) {
  const host = lab.end(pair.hostAddress);
  const there = {
    shell: guest,
    address: pair.guestAddress,
    directory: "/tmp",
  };
  await step("the card: ping both ways, a file each way", async () => {
    await bringUp(guest, pair.mac, pair.card, there.address);
    await ping(there, host);
    await ping(host, there);
    const out = await sendFile(there, host, FILE_MEBIBYTES);
    const back = await sendFile(host, there, FILE_MEBIBYTES);
    return `${FILE_MEBIBYTES} MiB, ${out} and ${back}`;
  });
}

async function showReturn(step: Step, guest: Guest, disk: string) {
  await step("the disk's driver goes and comes again", async () => {
    await guest.output(
      `
      set -e
      device=$(basename "$(readlink -f /sys/block/${disk}/device)")
      cd /sys/bus/virtio/drivers/virtio_blk
      dd if=/dev/${disk} bs=1M count=1 iflag=direct | sha256sum >/tmp/before
      echo $device >unbind
      [ ! -e /dev/${disk} ]
      echo $device >bind
      for turn in $(seq 200); do [ -b /dev/${disk} ] && break; sleep 0.05; done
      dd if=/dev/${disk} bs=1M count=1 iflag=direct | sha256sum >/tmp/after
      cmp /tmp/before /tmp/after
    `,
      { timeoutMs: 120_000 },
    );
    return "with new rings, at new addresses";
  });
}

async function showEnd(step: Step, guest: Guest, lab: Lab) {
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

/** Makes the disk's file and the card's interface; their devices. */
async function prepare(
  lab: Lab,
  { kind, disk, card, mac, hostAddress }: Pair,
): Promise<DeviceEntry[]> {
  await lab.addInterface(card, { address: hostAddress });
  const image = `${lab.directory}/${disk}.img`;
  const bytes = new Uint8Array(DISK_MEBIBYTES * MEBIBYTE);
  for (let at = 0; at < bytes.length; at += 65536) {
    crypto.getRandomValues(bytes.subarray(at, at + 65536));
  }
  await Deno.writeFile(image, bytes);
  const common = { "data-plane": kind.plane, iommu: true };
  return [
    { device: "block", name: disk, "blk-file": image, ...common },
    { device: "net", name: card, ifname: card, mac, ...common },
  ];
}

/** Shows disks and cards behind an IOMMU that the guest drives. */
export async function iommuScenario(
  step: Step,
  { boot, kinds }: NetSetup,
): Promise<void> {
  const files = await prepareBoot("both");
  await using lab = await Lab.set();
  const pairs = kinds.map(pairOf);
  const devices: DeviceEntry[] = [];
  for (const pair of pairs) devices.push(...await prepare(lab, pair));
  await lab.serve(devices);
  await using guest = await Guest.boot({
    boot: { ...boot, ...files },
    disks: pairs.map(({ kind: { packed }, disk }) => ({
      socketPath: lab.socketPath(disk),
      packed,
      // Rings of several pages, which needn't be adjacent.
      queueSize: 1024,
    })),
    cards: pairs.map(({ kind: { packed }, card, mac }) => ({
      socketPath: lab.socketPath(card),
      mac,
      packed,
    })),
    iommu: true,
  });
  await showMappings(step, guest, devices.length);
  for (const pair of pairs) {
    const { disk, card, kind } = pair;
    const own = prefixed(step, describeKind(kind));
    await showRings(own, guest, `/sys/block/${disk}/device`, kind.packed);
    await showDisk(own, guest, disk);
    await showCard(own, guest, lab, pair);
    await showRings(own, guest, `/sys/class/net/${card}/device`, kind.packed);
    await showReturn(own, guest, disk);
  }
  await showEnd(step, guest, lab);
}
