/**
 * Random numbers for a guest: what a Linux driver makes of them.
 *
 * @module
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { describeHoldings } from "./back_end.ts";
import { Guest } from "./guest.ts";
import type { BootFiles } from "./initramfs.ts";
import { describeKind, prefixed, type ServedKind } from "./net_setup.ts";
import { showRings } from "./ring_kind.ts";
import type { Step } from "./scenario.ts";
import { type DeviceEntry, socketPathOf, startServing } from "./serving.ts";

/** What rngtest looks at, after 32 bits to begin with. */
const BLOCK_BITS = 20_000;
/**
 * One block in some 1250 fails FIPS 140-2 by chance: of 8 MiB 2.7 are to be
 * expected. More than this fail once in a million runs, or less often.
 */
function failuresMax(mebibytes: number): number {
  return 5 + mebibytes;
}
/** The rate of the second device, in bytes a second. */
const RATE = 20_000;
const PERIOD_MS = 100;
const WINDOW_S = 2;

const CURRENT = "/sys/class/misc/hw_random/rng_current";

async function select(guest: Guest, name: string): Promise<void> {
  await guest.output(`echo ${name} >${CURRENT}`);
  assertEquals(await guest.output(`cat ${CURRENT}`), name);
}

async function showNumbers(
  step: Step,
  guest: Guest,
  { free, mebibytes }: Pair,
) {
  await step("rng_current is virtio_rng", async () => {
    const current = await guest.output(`cat ${CURRENT}`);
    assert(/^virtio_rng\.\d$/.test(current), current);
    const all = await guest.output(
      `cat ${CURRENT.replace("current", "available")}`,
    );
    return `${current} of ${all}`;
  });
  await step(`${mebibytes} MiB of /dev/hwrng pass rngtest`, async () => {
    await select(guest, free);
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
    assert(failed <= failuresMax(mebibytes), stderr);
    return `${failed} of ${blocks} blocks failed`;
  });
}

async function showRate(step: Step, guest: Guest, { free, limited }: Pair) {
  await step(`${RATE} bytes a second are what a guest gets`, async () => {
    await select(guest, limited);
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
    await select(guest, free);
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
  await step(
    "the driver lets go of the devices and takes them back",
    async () => {
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
    },
  );
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
  /** Each guest has two devices of all of these. */
  kinds: readonly ServedKind[];
  /** Whether to show of each kind what the first shows for all. */
  thorough: boolean;
}

/** Two devices of one kind, as the guest calls them. */
interface Pair {
  kind: ServedKind;
  free: string;
  limited: string;
  /** How many MiB are tested: some 3 s each, for the driver takes 64 bytes a request. */
  mebibytes: number;
}

function pairsOf({ kinds, thorough }: RngSetup): Pair[] {
  return kinds.map((kind, index) => ({
    kind,
    free: `virtio_rng.${2 * index}`,
    limited: `virtio_rng.${2 * index + 1}`,
    mebibytes: thorough ? 8 : 1,
  }));
}

/** The devices of one kind, in the order of the guest's names. */
function devicesOf({ kind: { plane } }: Pair, index: number): DeviceEntry[] {
  return [
    { device: "rng", name: `free${index}`, "data-plane": plane },
    {
      device: "rng",
      name: `limited${index}`,
      "data-plane": plane,
      "max-bytes": (RATE * PERIOD_MS) / 1000,
      "period": PERIOD_MS,
    },
  ];
}

async function showFirst(
  step: Step,
  guest: Guest,
  pairs: readonly Pair[],
): Promise<string> {
  const names = await guest.output(
    "cd /sys/bus/virtio/drivers/virtio_rng && ls -d virtio* | sort -V",
  );
  const paths = names.split("\n").map((name) =>
    `/sys/bus/virtio/devices/${name}`
  );
  assertEquals(paths.length, 2 * pairs.length, names);
  for (const [index, path] of paths.entries()) {
    const { kind } = pairs[index >> 1]!;
    await showRings(step, guest, path, kind.packed);
  }
  for (const pair of pairs) {
    const own = prefixed(step, describeKind(pair.kind));
    await showNumbers(own, guest, pair);
    await showRate(own, guest, pair);
  }
  await showRebinding(step, guest);
  return await hashSome(guest);
}

/** Shows what two guests, one after the other, see of entropy devices. */
export async function rngScenario(step: Step, setup: RngSetup): Promise<void> {
  await using all = new AsyncDisposableStack();
  const directory = await Deno.makeTempDir({ prefix: "ringside-rng-" });
  all.defer(() => Deno.remove(directory, { recursive: true }));
  const pairs = pairsOf(setup);
  const devices = pairs.flatMap(devicesOf);
  const backEnd = all.use(await startServing(directory, devices));
  const entropy = devices.map(({ name }, index) => ({
    socketPath: socketPathOf(directory, name),
    packed: pairs[index >> 1]!.kind.packed,
  }));
  const boot = () => Guest.boot({ boot: setup.boot, entropy });
  const before = backEnd.holdings();
  let hash = "";
  {
    await using guest = await boot();
    hash = await showFirst(step, guest, pairs);
    await step("a guest that powers off leaves nothing behind", async () => {
      await guest.powerOff();
      await backEnd.settle(before);
      return describeHoldings(before);
    });
  }
  await step("the next guest gets other numbers", async () => {
    await using guest = await boot();
    const other = await hashSome(guest);
    assertNotEquals(other, hash);
    await guest.powerOff();
    return `${hash}, then ${other}`;
  });
}
