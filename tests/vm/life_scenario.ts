/**
 * One back-end process a disk, guest after guest: how they come and go.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type BackEnd, describeHoldings, type Holdings } from "./back_end.ts";
import { eventually } from "./deadline.ts";
import { Guest } from "./guest.ts";
import {
  diskName,
  hashFile,
  type Setup,
  Stage,
  type Step,
  type Variant,
} from "./scenario.ts";

const MEBIBYTE = 1 << 20;
/** Sectors written on each disk before fio is taken to be at work. */
const BUSY_SECTORS = 8000;

/** A disk of all the guests, and what serves it. */
interface Served {
  /** What the guests call it. */
  disk: string;
  image: string;
  backEnd: BackEnd;
  /** What the process held before it had a guest. */
  before: Holdings;
  /** The hash of what the first guest left on it. */
  mark: string;
}

/** Writes a block of random bytes at `offset` of the disk; its hash. */
async function writeMark(
  guest: Guest,
  disk: string,
  offset: number,
): Promise<string> {
  const line = await guest.output(`
    set -e
    dd if=/dev/urandom of=/tmp/mark bs=64k count=1
    dd if=/tmp/mark of=/dev/${disk} bs=64k seek=${offset / 65536} \\
      oflag=direct conv=fsync
    sha256sum </tmp/mark
  `);
  return line.split(" ")[0]!;
}

/** The hash of the block at `offset`, as the guest reads it. */
async function readMark(
  guest: Guest,
  disk: string,
  offset: number,
): Promise<string> {
  const line = await guest.output(
    `dd if=/dev/${disk} bs=64k count=1 skip=${offset / 65536} iflag=direct | ` +
      "sha256sum",
  );
  return line.split(" ")[0]!;
}

/** Leaves fio writing and reading on `disks`; resolves while it does on all. */
async function keepBusy(guest: Guest, disks: string[]): Promise<void> {
  const files = disks.map((disk) => `/dev/${disk}`).join(":");
  // Those of the kernel: sectors written, and reads and writes under way.
  const stats = async () =>
    (await guest.output(
      `cd /sys/block && for disk in ${disks.join(" ")}; do
        echo $(awk '{ print $7 }' $disk/stat) $(cat $disk/inflight)
      done`,
    )).split("\n").map((line) => line.split(" ").map(Number));
  const before = await stats();
  await guest.output(`
    fio --name=busy --filename=${files} --direct=1 --rw=randrw --bs=16k \\
      --ioengine=libaio --iodepth=${64 * disks.length} --numjobs=2 \\
      --offset=64M --size=32M --file_service_type=roundrobin:1 \\
      --time_based --runtime=300 >/tmp/busy 2>&1 &
  `);
  await eventually(
    async () =>
      (await stats()).every(([written, reads, writes], index) =>
        written! > before[index]![0]! + BUSY_SECTORS && reads! + writes! > 0
      ),
    60_000,
    async () => `fio isn't at work: ${await guest.output("cat /tmp/busy")}`,
  );
}

async function showRebinding(step: Step, guest: Guest, all: Served[]) {
  await step("the driver lets go of the disk and takes it back", async () => {
    for (const { disk, mark } of all) {
      // Resets the device and starts its rings anew, as a reboot does.
      await guest.output(`
        set -e
        device=$(basename "$(readlink -f /sys/block/${disk}/device)")
        cd /sys/bus/virtio/drivers/virtio_blk
        for round in 1 2 3; do
          dd if=/dev/${disk} of=/dev/null bs=1M count=4 iflag=direct
          echo "$device" >unbind
          [ ! -e /dev/${disk} ]
          echo "$device" >bind
          [ -b /dev/${disk} ]
        done
      `);
      assertEquals(await readMark(guest, disk, MEBIBYTE), mark);
    }
    return "three times";
  });
}

/** Waits until the processes hold what they did without a guest. */
async function settle(all: Served[]): Promise<string> {
  for (const { backEnd, before } of all) await backEnd.settle(before);
  return describeHoldings(all[0]!.before);
}

async function serve(
  stage: Stage,
  setup: Setup,
  variants: readonly Variant[],
): Promise<Served[]> {
  const disks: { name: string; file: string }[] = [];
  for (const [index, variant] of variants.entries()) {
    const name = diskName(index);
    disks.push({ name, file: await stage.image(name), ...variant });
  }
  const backEnds = await stage.serveAll(setup.kind, disks);
  return backEnds.map((backEnd, index): Served => ({
    disk: disks[index]!.name,
    image: disks[index]!.file,
    backEnd,
    before: backEnd.holdings(),
    mark: "",
  }));
}

async function showFirstTwo(
  step: Step,
  boot: () => Promise<Guest>,
  all: Served[],
) {
  await step("a guest writes, and powers off", async () => {
    await using guest = await boot();
    const seen: string[] = [];
    for (const served of all) {
      served.mark = await writeMark(guest, served.disk, MEBIBYTE);
      const holdings = served.backEnd.holdings();
      seen.push(describeHoldings(holdings));
      assert(holdings.guestMappings > 0, seen.at(-1));
    }
    await guest.powerOff();
    for (const { image, mark } of all) {
      assertEquals(await hashFile(image, MEBIBYTE, 65536), mark);
    }
    return `meanwhile ${seen.join("; ")}`;
  });
  await step("no descriptor and no mapping is left of it", () => settle(all));
  await using guest = await boot();
  await step("the next guest on the same process reads it", async () => {
    for (const { disk, mark } of all) {
      assertEquals(await readMark(guest, disk, MEBIBYTE), mark);
    }
    return all.map(({ mark }) => mark).join(", ");
  });
  await showRebinding(step, guest, all);
  await step("it powers off, and nothing is left of it", async () => {
    await guest.powerOff();
    return await settle(all);
  });
}

/**
 * Shows what holds when guests come, go, and die on one process: each of them
 * has a disk of each variant.
 */
export async function lifeScenario(
  step: Step,
  setup: Setup,
  variants: readonly Variant[],
): Promise<void> {
  await using stage = await Stage.set();
  const all = await serve(stage, setup, variants);
  const boot = () =>
    Guest.boot({
      boot: setup.boot,
      disks: all.map(({ backEnd: { socketPath } }) => ({ socketPath })),
    });
  await showFirstTwo(step, boot, all);
  await step("QEMU killed in mid-I/O leaves nothing behind", async () => {
    await using guest = await boot();
    await keepBusy(guest, all.map(({ disk }) => disk));
    await guest.kill();
    return await settle(all);
  });
  await using guest = await boot();
  await step("the guest after that is served", async () => {
    for (const { disk, image, mark } of all) {
      assertEquals(await readMark(guest, disk, MEBIBYTE), mark);
      const other = await writeMark(guest, disk, 2 * MEBIBYTE);
      assertEquals(await hashFile(image, 2 * MEBIBYTE, 65536), other);
    }
    return "what it writes is there";
  });
  for (const served of all) await showTermination(step, served, guest);
}

async function showTermination(
  step: Step,
  { disk, backEnd }: Served,
  guest: Guest,
) {
  await step(
    `SIGTERM in mid-I/O: exit code 0, no socket (${disk})`,
    async () => {
      await keepBusy(guest, [disk]);
      const { code } = await backEnd.stop();
      assertEquals(code, 0, backEnd.log);
      await Deno.lstat(backEnd.socketPath).then(
        () => {
          throw new Error("The socket is still there");
        },
        (error) => assert(error instanceof Deno.errors.NotFound, error),
      );
      return "so it is";
    },
  );
}
