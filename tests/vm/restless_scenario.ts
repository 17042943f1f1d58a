/**
 * A machine that is stopped, resumed, grown and rebooted while its disk is
 * busy: each makes QEMU stop and start rings or change the memory table.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type BackEnd, describeHoldings, type Holdings } from "./back_end.ts";
import { eventually } from "./deadline.ts";
import { Guest } from "./guest.ts";
import { type Setup, Stage, type Step, type Variant } from "./scenario.ts";

/** Leaves fio checking what it writes until {@linkcode finish}. */
export async function startChecking(guest: Guest): Promise<void> {
  await guest.output(`
    fio --output=/tmp/fio.txt --filename=/dev/vda --direct=1 --rw=randrw \\
      --verify=crc32c --verify_fatal=1 --verify_backlog=128 --bs=4k \\
      --ioengine=libaio --iodepth=32 --time_based --runtime=300 --size=32M \\
      --name=first --offset=0 --cpus_allowed=0 \\
      --name=second --offset=32M --cpus_allowed=1 >/tmp/fio.err 2>&1 &
    echo $! >/tmp/fio.pid
  `);
  await moreIsDone(guest);
}

/** Resolves once the guest has completed further requests. */
export async function moreIsDone(guest: Guest): Promise<number> {
  const done = async () =>
    Number(await guest.output("awk '{ print $1 + $5 }' /sys/block/vda/stat"));
  const before = await done();
  let now = before;
  await eventually(
    async () => (now = await done()) > before + 500,
    30_000,
    async () =>
      `The disk stands still at ${before} requests: ` +
      await guest.output("cat /tmp/fio.err /tmp/fio.txt"),
  );
  return now - before;
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

async function showStops(step: Step, guest: Guest) {
  await step("stopped and resumed ten times under load", async () => {
    for (let round = 0; round < 10; round++) {
      // Every ring is stopped, drained, and later started where it was.
      await guest.command("stop");
      await guest.command("cont");
      await moreIsDone(guest);
    }
    return "the disk goes on";
  });
}

async function showGrowth(step: Step, guest: Guest, backEnd: BackEnd) {
  for (const [slot, mebibytes] of [[0, 128], [1, 256]] as const) {
    await step(`${mebibytes} MiB of memory plugged in under load`, async () => {
      const before = backEnd.holdings().guestMappings;
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
      assertEquals(backEnd.holdings().guestMappings, before + 1);
      await moreIsDone(guest);
      return describeHoldings(backEnd.holdings());
    });
  }
}

async function showNewMemory(step: Step, guest: Guest) {
  await step("the disk reads and writes the memory plugged in", async () => {
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
    // The kernel takes its highest zone first, which is the new memory, and
    // the copies are more than the machine had before.
    await guest.output(
      `
      set -e
      mount -t tmpfs -o size=100% tmpfs /mnt
      dd if=/dev/vda of=/mnt/copy bs=1M skip=64 count=64 iflag=direct
      for number in 1 2 3 4 5; do cp /mnt/copy /mnt/$number; done
      dd if=/mnt/5 of=/dev/vda bs=1M seek=64 oflag=direct conv=notrunc,fsync
      dd if=/dev/vda bs=1M skip=64 count=64 iflag=direct | cmp - /mnt/copy
      rm /mnt/*
      umount /mnt
    `,
      { timeoutMs: 120_000 },
    );
    return `${before} KiB, then ${after} KiB`;
  });
}

async function showUnplugging(
  step: Step,
  guest: Guest,
  backEnd: BackEnd,
  before: Holdings,
) {
  await step("the disk unplugged, and plugged in again", async () => {
    await guest.command("device_del", { id: "disk0" });
    await eventually(
      async () => (await guest.run("[ ! -e /dev/vda ]")).status === 0,
      30_000,
      () => "The guest keeps its disk",
    );
    // The machine lets go of the device some time after the guest.
    let refusal = "";
    await eventually(
      () =>
        guest.command("chardev-remove", { id: "disk0" }).then(
          () => true,
          (error) => (refusal = String(error), false),
        ),
      30_000,
      () => refusal,
    );
    await backEnd.settle(before);
    await guest.command("chardev-add", {
      id: "disk1",
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
      id: "disk1",
      chardev: "disk1",
      "num-queues": 4,
    });
    await eventually(
      async () => (await guest.run("[ -b /dev/vda ]")).status === 0,
      30_000,
      () => "The guest doesn't see its disk",
    );
    await guest.output("dd if=/dev/vda of=/dev/null bs=1M iflag=direct");
    return "read to its end";
  });
}

/** Shows what holds when the machine under the disk changes. */
export async function restlessScenario(
  step: Step,
  setup: Setup,
  variant: Variant,
): Promise<void> {
  await using stage = await Stage.set();
  const image = await stage.image("disk");
  const backEnd = await stage.serve(setup.kind, "disk", {
    file: image,
    ...variant,
  });
  const before = backEnd.holdings();
  await using guest = await Guest.boot({
    boot: setup.boot,
    disks: [{ socketPath: backEnd.socketPath }],
    memoryMebibytes: 384,
  });
  await startChecking(guest);
  await showStops(step, guest);
  await showGrowth(step, guest, backEnd);
  await step("fio read back what it wrote all along", async () => {
    await finish(guest);
    return "no difference";
  });
  await showNewMemory(step, guest);
  await showUnplugging(step, guest, backEnd, before);
}
