/**
 * Random numbers for a guest: what a Linux driver makes of them.
 *
 * @module
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { describeHoldings } from "./back_end.ts";
import { Guest } from "./guest.ts";
import { showRingKind } from "./ring_kind.ts";
import type { BootFiles } from "./initramfs.ts";
import type { Step } from "./scenario.ts";
import { socketPathOf, startServing } from "./serving.ts";

/** What rngtest looks at, after 32 bits to begin with. */
const BLOCK_BITS = 20_000;
/**
 * One block in some 1250 fails FIPS 140-2 by chance: of 8 MiB 2.7 are to be
 * expected, and more than 13 fail once in a million runs.
 */
const FAILURES_MAX = 13;
/** The rate of the second device, in bytes a second. */
const RATE = 20_000;
const PERIOD_MS = 100;
const WINDOW_S = 4;

const CURRENT = "/sys/class/misc/hw_random/rng_current";

async function select(guest: Guest, name: string): Promise<void> {
  await guest.output(`echo ${name} >${CURRENT}`);
  assertEquals(await guest.output(`cat ${CURRENT}`), name);
}

async function showNumbers(step: Step, guest: Guest, mebibytes: number) {
  await step("rng_current is virtio_rng", async () => {
    const current = await guest.output(`cat ${CURRENT}`);
    assert(/^virtio_rng\.\d$/.test(current), current);
    const all = await guest.output(
      `cat ${CURRENT.replace("current", "available")}`,
    );
    return `${current} of ${all}`;
  });
  await step(`${mebibytes} MiB of /dev/hwrng pass rngtest`, async () => {
    await select(guest, "virtio_rng.0");
    const blocks = Math.floor((mebibytes * 2 ** 23 - 32) / BLOCK_BITS);
    // Its status is 1 where a block failed, which some do.
    const { stderr } = await guest.run(
      `dd if=/dev/hwrng bs=64k count=${16 * mebibytes} iflag=fullblock | \\
        rngtest -c ${blocks}`,
      { timeoutMs: 30_000 * (1 + mebibytes) },
    );
    const count = (what: string) =>
      Number(stderr.match(`FIPS 140-2 ${what}: (\\d+)`)?.[1]);
    const passed = count("successes");
    const failed = count("failures");
    assertEquals(passed + failed, blocks, stderr);
    assert(failed <= FAILURES_MAX, stderr);
    return `${failed} of ${blocks} blocks failed`;
  });
}

async function showRate(step: Step, guest: Guest) {
  await step(`${RATE} bytes a second are what a guest gets`, async () => {
    await select(guest, "virtio_rng.1");
    const size = RATE * WINDOW_S;
    // What was due before it asked comes at once: read some first.
    const text = await guest.output(`
      dd if=/dev/hwrng of=/dev/null bs=64 count=${
      Math.ceil(RATE / 64)
    } iflag=fullblock
      cut -d ' ' -f 1 /proc/uptime
      dd if=/dev/hwrng of=/dev/null bs=64 count=${size / 64} iflag=fullblock
      cut -d ' ' -f 1 /proc/uptime
    `);
    const [start, end] = text.split("\n").map(Number);
    const rate = size / (end! - start!);
    // Never more; how much less is for a busy host to say, not for a test.
    assert(rate <= 1.1 * RATE, `${rate} bytes a second`);
    assert(rate >= 0.2 * RATE, `${rate} bytes a second`);
    return `${Math.round(rate)} bytes a second for ${WINDOW_S} s`;
  });
  await step("the other device is faster", async () => {
    await select(guest, "virtio_rng.0");
    const text = await guest.output(`
      cut -d ' ' -f 1 /proc/uptime
      dd if=/dev/hwrng of=/dev/null bs=64 count=4096 iflag=fullblock
      cut -d ' ' -f 1 /proc/uptime
    `);
    const [start, end] = text.split("\n").map(Number);
    const rate = (4096 * 64) / Math.max(end! - start!, 0.01);
    assert(rate > 2 * RATE, `${rate} bytes a second`);
    return `${Math.round(rate / 1000)} kB/s`;
  });
}

async function showRebinding(step: Step, guest: Guest) {
  await step("the driver lets go of the device and takes it back", async () => {
    await guest.output(`
      set -e
      cd /sys/bus/virtio/drivers/virtio_rng
      devices=$(ls -d virtio*)
      for round in 1 2 3; do
        # A reader meanwhile: a request is in the ring when the device goes.
        dd if=/dev/hwrng of=/dev/null bs=64 count=1000000 2>/dev/null &
        usleep 100000
        for device in $devices; do echo $device >unbind; done
        wait $! || true
        [ "$(cat ${CURRENT})" = none ]
        for device in $devices; do echo $device >bind; done
        dd if=/dev/hwrng of=/dev/null bs=64 count=64 iflag=fullblock
      done
    `);
    return "three times, with a reader";
  });
}

/** The hash of random bytes that were read now. */
async function hashSome(guest: Guest): Promise<string> {
  const line = await guest.output(
    "dd if=/dev/hwrng bs=64 count=64 iflag=fullblock | sha256sum",
  );
  return line.split(" ")[0]!;
}

/** What the scenario runs on. */
export interface RngSetup {
  /** What the guests boot from. */
  boot: BootFiles;
  /** `inline` or `worker`. */
  plane: string;
  /** How many MiB are tested: some 6 s each, for the driver takes 64 bytes a request. */
  mebibytes: number;
}

/** Shows what two guests, one after the other, see of two entropy devices. */
export async function rngScenario(
  step: Step,
  { boot, plane, mebibytes }: RngSetup,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "ringside-rng-" });
  try {
    await using backEnd = await startServing(directory, [
      { device: "rng", name: "free", "data-plane": plane },
      {
        device: "rng",
        name: "limited",
        "data-plane": plane,
        "max-bytes": (RATE * PERIOD_MS) / 1000,
        "period": PERIOD_MS,
      },
    ]);
    const entropyPaths = ["free", "limited"].map((name) =>
      socketPathOf(directory, name)
    );
    const before = backEnd.holdings();
    let hash = "";
    {
      await using guest = await Guest.boot({ boot, entropyPaths });
      await showRingKind(step, guest, boot, 4);
      await showNumbers(step, guest, mebibytes);
      await showRate(step, guest);
      await showRebinding(step, guest);
      hash = await hashSome(guest);
      await step("a guest that powers off leaves nothing behind", async () => {
        await guest.powerOff();
        await backEnd.settle(before);
        return describeHoldings(before);
      });
    }
    await step("the next guest gets other numbers", async () => {
      await using guest = await Guest.boot({ boot, entropyPaths });
      const other = await hashSome(guest);
      assertNotEquals(other, hash);
      await guest.powerOff();
      return `${hash}, then ${other}`;
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
