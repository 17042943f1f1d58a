/**
 * A machine that is stopped, resumed, grown and rebooted while its disks are
 * busy: each makes QEMU stop and start rings or change the memory table.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type BackEnd, describeHoldings, type Holdings } from "./back_end.ts";
import { eventually } from "./deadline.ts";
import { Guest } from "./guest.ts";
import {
  diskName,
  type Setup,
  Stage,
  type Step,
  type Variant,
} from "./scenario.ts";

/** What each disk completes before the machine changes again. */
const LIFE_REQUESTS = 250;

/**
 * Leaves fio checking what it writes on the first `count` disks until
 * {@linkcode finish}.
 */
export async function startChecking(guest: Guest, count = 1): Promise<void> {
  const jobs = Array.from({ length: count }, (_, index) => {
    const disk = diskName(index);
    return `--name=first-${disk} --filename=/dev/${disk} --offset=0 \\
      --cpus_allowed=0 \\
      --name=second-${disk} --filename=/dev/${disk} --offset=32M \\
      --cpus_allowed=1`;
  });
  await guest.output(`
    fio --output=/tmp/fio.txt --direct=1 --rw=randrw \\
      --verify=crc32c --verify_fatal=1 --verify_backlog=128 --bs=4k \\
      --ioengine=libaio --iodepth=32 --time_based --runtime=300 --size=32M \\
      ${jobs.join(" ")} >/tmp/fio.err 2>&1 &
    echo $! >/tmp/fio.pid
  `);
  await moreIsDone(guest, count);
}

/** Resolves once the guest has completed further requests on each disk. */
export async function moreIsDone(guest: Guest, count = 1): Promise<void> {
  const done = async () =>
    (await guest.output("awk '{ print $1 + $5 }' /sys/block/vd?/stat"))
      .split("\n").slice(0, count).map(Number);
  const before = await done();
  let now = before;
  await eventually(
    async () => {
      now = await done();
      return now.every((each, index) => each > before[index]! + LIFE_REQUESTS);
    },
    30_000,
    async () =>
      `A disk stands still, of ${before} requests to ${now}: ` +
      await guest.output("cat /tmp/fio.err /tmp/fio.txt"),
  );
}

/** Ends fio and rejects if it found a difference. */
export async function finish(guest: Guest): Promise<void> {
  await guest.output(`
    kill -INT $(cat /tmp/fio.pid)
    while kill -0 $(cat /tmp/fio.pid) 2>/dev/null; do usleep 50000; done
  `);
  const text = await guest.output("cat /tmp/fio.err /tmp/fio.txt");
  assert(/err= 0/.test(text), text);
  assert(!/verify:|err=[1-9]/.test(text), text);
}

/** A disk of the guest, and what its process held before. */
interface Served {
  disk: string;
  backEnd: BackEnd;
  before: Holdings;
}

async function showStops(step: Step, guest: Guest, count: number) {
  await step("stopped and resumed ten times under load", async () => {
    for (let round = 0; round < 10; round++) {
      // Every ring is stopped, drained, and later started where it was.
      await guest.command("stop");
      await guest.command("cont");
      await moreIsDone(guest, count);
    }
    return "the disks go on";
  });
}

async function showGrowth(step: Step, guest: Guest, all: readonly Served[]) {
  for (const [slot, mebibytes] of [[0, 128], [1, 256]] as const) {
    await step(`${mebibytes} MiB of memory plugged in under load`, async () => {
      const mappings = () =>
        all.map(({ backEnd }) => backEnd.holdings().guestMappings);
      const before = mappings();
      await guest.command("object-add", {
        "qom-type": "memory-backend-memfd",
        id: `more${slot}`,
        size: mebibytes << 20,
        share: true,
      });
      await guest.command("device_add", {
        driver: "pc-dimm",
        id: `dimm${slot}`,
        memdev: `more${slot}`,
      });
      assertEquals(mappings(), before.map((count) => count + 1));
      await moreIsDone(guest, all.length);
      return describeHoldings(all[0]!.backEnd.holdings());
    });
  }
}

/** Brings the memory plugged in into use; `disks` in turn read and write it. */
async function showNewMemory(
  step: Step,
  guest: Guest,
  disks: readonly string[],
) {
  await step("memory plugged in is brought into use", async () => {
    const total = "awk '/^MemTotal/ { print $2 }' /proc/meminfo";
    const before = Number(await guest.output(total));
    await guest.output(`
      for state in /sys/devices/system/memory/memory*/state; do
        grep -q offline $state || continue
        echo online >$state || exit 1
      done
    `);
    const after = Number(await guest.output(total));
    assert(after - before >= 300 << 10, `${before} KiB, then ${after} KiB`);
    return `${before} KiB, then ${after} KiB`;
  });
  await step("disks read and write the memory plugged in", async () => {
    // The kernel takes its highest zone first, which is the new memory, and
    // the copies are more than the machine had before.
    await guest.output(
      `
      set -e
      mount -t tmpfs -o size=100% tmpfs /mnt
      dd if=/dev/${disks[0]} of=/mnt/copy bs=1M skip=64 count=64 iflag=direct
      for number in 1 2 3 4 5; do cp /mnt/copy /mnt/$number; done
      for disk in ${disks.join(" ")}; do
        dd if=/mnt/5 of=/dev/$disk bs=1M seek=64 oflag=direct \\
          conv=notrunc,fsync
        dd if=/dev/$disk bs=1M skip=64 count=64 iflag=direct | cmp - /mnt/copy
      done
      rm /mnt/*
      umount /mnt
    `,
      { timeoutMs: 120_000 },
    );
    return "64 MiB each";
  });
}

async function showUnplugging(
  step: Step,
  guest: Guest,
  { disk, backEnd, before }: Served,
  index: number,
) {
  await step(`${disk} unplugged, and plugged in again`, async () => {
    const id = `disk${index}`;
    await guest.command("device_del", { id });
    await eventually(
      async () => (await guest.run(`[ ! -e /dev/${disk} ]`)).status === 0,
      30_000,
      () => "The guest keeps its disk",
    );
    // The machine lets go of the device some time after the guest.
    let refusal = "";
    await eventually(
      () =>
        guest.command("chardev-remove", { id }).then(
          () => true,
          (error) => (refusal = String(error), false),
        ),
      30_000,
      () => refusal,
    );
    await backEnd.settle(before);
    await guest.command("chardev-add", {
      id: `${id}-again`,
      backend: {
        type: "socket",
        data: {
          addr: { type: "unix", data: { path: backEnd.socketPath } },
          server: false,
        },
      },
    });
    await guest.command("device_add", {
      driver: "vhost-user-blk-pci",
      id: `${id}-again`,
      chardev: `${id}-again`,
      "num-queues": 4,
    });
    await eventually(
      async () => (await guest.run(`[ -b /dev/${disk} ]`)).status === 0,
      30_000,
      () => "The guest doesn't see its disk",
    );
    await guest.output(`dd if=/dev/${disk} of=/dev/null bs=1M iflag=direct`);
    return "read to its end";
  });
}

/**
 * Shows what holds when the machine under its disks changes, of which it has
 * one of each variant.
 */
export async function restlessScenario(
  step: Step,
  setup: Setup,
  variants: readonly Variant[],
): Promise<void> {
  await using stage = await Stage.set();
  const disks: { name: string; file: string }[] = [];
  for (const [index, variant] of variants.entries()) {
    const name = diskName(index);
    disks.push({ name, file: await stage.image(name), ...variant });
  }
  const backEnds = await stage.serveAll(setup.kind, disks);
  const all = backEnds.map((backEnd, index): Served => ({
    disk: disks[index]!.name,
    backEnd,
    before: backEnd.holdings(),
  }));
  await using guest = await Guest.boot({
    boot: setup.boot,
    disks: all.map(({ backEnd: { socketPath } }) => ({ socketPath })),
    memoryMebibytes: 384,
  });
  await startChecking(guest, all.length);
  await showStops(step, guest, all.length);
  await showGrowth(step, guest, all);
  await step("fio read back what it wrote all along", async () => {
    await finish(guest);
    return "no difference";
  });
  await showNewMemory(step, guest, all.map(({ disk }) => disk));
  for (const [index, served] of all.entries()) {
    await showUnplugging(step, guest, served, index);
  }
}
