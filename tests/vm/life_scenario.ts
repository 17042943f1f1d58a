/**
 * One back-end process, guest after guest: how they come and go.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type BackEnd, describeHoldings } from "./back_end.ts";
import { eventually } from "./deadline.ts";
import { Guest } from "./guest.ts";
import {
  hashFile,
  type Setup,
  Stage,
  type Step,
  type Variant,
} from "./scenario.ts";

const MEBIBYTE = 1 << 20;

/** Writes a block of random bytes at `offset` of the disk; its hash. */
async function writeMark(guest: Guest, offset: number): Promise<string> {
  const line = await guest.output(`
    set -e
    dd if=/dev/urandom of=/tmp/mark bs=64k count=1
    dd if=/tmp/mark of=/dev/vda bs=64k seek=${offset / 65536} oflag=direct \\
      conv=fsync
    sha256sum </tmp/mark
  `);
  return line.split(" ")[0]!;
}

/** The hash of the block at `offset`, as the guest reads it. */
async function readMark(guest: Guest, offset: number): Promise<string> {
  const line = await guest.output(
    `dd if=/dev/vda bs=64k count=1 skip=${offset / 65536} iflag=direct | ` +
      "sha256sum",
  );
  return line.split(" ")[0]!;
}

/** Leaves fio writing and reading in the guest; resolves while it does. */
async function keepBusy(guest: Guest): Promise<void> {
  const written = async () =>
    Number(await guest.output("awk '{ print $7 }' /sys/block/vda/stat"));
  const before = await written();
  await guest.output(`
    fio --name=busy --filename=/dev/vda --direct=1 --rw=randrw --bs=16k \\
      --ioengine=libaio --iodepth=64 --numjobs=2 --offset=64M --size=32M \\
      --time_based --runtime=300 >/tmp/busy 2>&1 &
  `);
  const inFlight = async () =>
    /[1-9]/.test(await guest.output("cat /sys/block/vda/inflight"));
  await eventually(
    async () => await written() > before + 20_000 && await inFlight(),
    60_000,
    async () => `fio isn't at work: ${await guest.output("cat /tmp/busy")}`,
  );
}

async function showRebinding(step: Step, guest: Guest, mark: string) {
  await step("the driver lets go of the disk and takes it back", async () => {
    // Resets the device and starts its rings anew, as a reboot does.
    await guest.output(`
      set -e
      device=$(basename "$(readlink -f /sys/block/vda/device)")
      cd /sys/bus/virtio/drivers/virtio_blk
      for round in 1 2 3; do
        dd if=/dev/vda of=/dev/null bs=1M count=4 iflag=direct
        echo "$device" >unbind
        [ ! -e /dev/vda ]
        echo "$device" >bind
        [ -b /dev/vda ]
      done
    `);
    assertEquals(await readMark(guest, MEBIBYTE), mark);
    return "three times";
  });
}

/** Shows what holds when guests come, go, and die on one process. */
export async function lifeScenario(
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
  const boot = () =>
    Guest.boot({
      boot: setup.boot,
      disks: [{ socketPath: backEnd.socketPath }],
    });
  let mark = "";
  const before = backEnd.holdings();
  await step("a guest writes, and powers off", async () => {
    await using guest = await boot();
    mark = await writeMark(guest, MEBIBYTE);
    const during = describeHoldings(backEnd.holdings());
    assert(backEnd.holdings().guestMappings > 0, during);
    await guest.powerOff();
    assertEquals(await hashFile(image, MEBIBYTE, 65536), mark);
    return `meanwhile ${during}`;
  });
  await step("no descriptor and no mapping is left of it", async () => {
    await backEnd.settle(before);
    return describeHoldings(before);
  });
  {
    await using guest = await boot();
    await step("the next guest on the same process reads it", async () => {
      assertEquals(await readMark(guest, MEBIBYTE), mark);
      return mark;
    });
    await showRebinding(step, guest, mark);
    await step("it powers off, and nothing is left of it", async () => {
      await guest.powerOff();
      await backEnd.settle(before);
      return describeHoldings(before);
    });
  }
  await step("QEMU killed in mid-I/O leaves nothing behind", async () => {
    await using guest = await boot();
    await keepBusy(guest);
    await guest.kill();
    await backEnd.settle(before);
    return describeHoldings(before);
  });
  await using guest = await boot();
  await step("the guest after that is served", async () => {
    assertEquals(await readMark(guest, MEBIBYTE), mark);
    const other = await writeMark(guest, 2 * MEBIBYTE);
    assertEquals(await hashFile(image, 2 * MEBIBYTE, 65536), other);
    return other;
  });
  await showTermination(step, backEnd, guest);
}

async function showTermination(step: Step, backEnd: BackEnd, guest: Guest) {
  await step("SIGTERM in mid-I/O: exit code 0, no socket left", async () => {
    await keepBusy(guest);
    const { code } = await backEnd.stop();
    assertEquals(code, 0, backEnd.log);
    await Deno.lstat(backEnd.socketPath).then(
      () => {
        throw new Error("The socket is still there");
      },
      (error) => assert(error instanceof Deno.errors.NotFound, error),
    );
    return "so it is";
  });
}
