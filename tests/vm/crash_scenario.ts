/**
 * A back-end that is killed again and again while the guest writes: each time
 * QEMU connects to the next one (`reconnect=1`) and hands over what was in
 * flight. The guest sees a slow disk and nothing else.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { BackEnd, type DiskOptions } from "./back_end.ts";
import { eventually } from "./deadline.ts";
import { Guest } from "./guest.ts";
import { type Setup, Stage, type Step, type Variant } from "./scenario.ts";

/** How long a back-end lives, at least, while the guest works. */
const LIFE_MS = 1500;
/** Requests that the guest completes in each life. */
const LIFE_REQUESTS = 200;

/** The processes that serve one disk, one after the other. */
class Lives implements AsyncDisposable {
  readonly #setup: Setup;
  readonly #options: DiskOptions;
  #backEnd: BackEnd | null = null;
  /** How often it was killed. */
  kills = 0;

  constructor(setup: Setup, options: DiskOptions) {
    this.#setup = setup;
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#backEnd = await BackEnd.start(this.#setup.kind, this.#options);
  }

  async killAndStart(): Promise<void> {
    await this.#backEnd!.stop("SIGKILL");
    this.kills++;
    await this.start();
  }

  get log(): string {
    return this.#backEnd?.log ?? "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#backEnd?.[Symbol.asyncDispose]();
  }
}

/** Requests that the guest's disk has completed. */
async function completed(guest: Guest): Promise<number> {
  const script = "awk '{ print $1 + $5 }' /sys/block/vda/stat";
  return Number(await guest.output(script));
}

/** Leaves fio writing and checking in files and on the rest of the disk. */
async function startChecking(guest: Guest, seconds: number): Promise<void> {
  await guest.output(`
    set -e
    mount -t ext4 /dev/vda /mnt
    fio --output=/tmp/fio.json --output-format=json --directory=/mnt \\
      --direct=1 --verify=crc32c --verify_fatal=1 --verify_backlog=128 \\
      --time_based --runtime=${seconds} --fsync=64 \\
      --name=small --rw=randrw --ioengine=libaio --iodepth=32 --bs=4k \\
      --size=24M --cpus_allowed=0 \\
      --name=large --rw=randwrite --ioengine=libaio --iodepth=8 --bs=64k \\
      --size=32M --cpus_allowed=1 >/tmp/fio.err 2>&1 &
    echo $! >/tmp/fio.pid
  `);
}

/** Kills one back-end after the other for as long as fio runs. */
async function killWhileItRuns(guest: Guest, lives: Lives): Promise<void> {
  const isRunning = async () =>
    (await guest.run("kill -0 $(cat /tmp/fio.pid) 2>/dev/null")).status === 0;
  while (await isRunning()) {
    const since = performance.now();
    const before = await completed(guest);
    await eventually(
      async () =>
        !await isRunning() ||
        (performance.now() - since > LIFE_MS &&
          await completed(guest) > before + LIFE_REQUESTS),
      60_000,
      async () =>
        `The disk stands still after ${lives.kills} kills: ${lives.log}\n` +
        (await guest.console()).slice(-2000),
    );
    if (await isRunning()) await lives.killAndStart();
  }
}

/** Shows that SIGKILL in mid-I/O costs a guest some time and nothing else. */
export async function crashScenario(
  step: Step,
  setup: Setup,
  variant: Variant,
  seconds: number,
): Promise<void> {
  await using stage = await Stage.set();
  const image = await stage.image("disk");
  const mkfs = new Deno.Command("mkfs.ext4", { args: ["-q", "-F", image] });
  assert((await mkfs.output()).success, "mkfs.ext4 failed");
  const socketPath = `${stage.directory}/disk.sock`;
  await using lives = new Lives(setup, { socketPath, file: image, ...variant });
  await lives.start();
  await using guest = await Guest.boot({
    boot: setup.boot,
    disks: [{ socketPath, reconnectSeconds: 1 }],
  });
  await step(`fio checks what it writes, ${seconds} s of kills`, async () => {
    await startChecking(guest, seconds);
    await killWhileItRuns(guest, lives);
    const text = await guest.output("cat /tmp/fio.err /tmp/fio.json");
    const { jobs } = JSON.parse(text.slice(text.indexOf("{")));
    for (const { jobname, error, read, write } of jobs) {
      assertEquals(error, 0, text);
      const checked =
        `${jobname} wrote ${write.total_ios}, read ${read.total_ios}`;
      assert(write.total_ios > 0 && read.total_ios > 0, checked);
    }
    assert(lives.kills >= 3, `only ${lives.kills} kills`);
    return `${lives.kills} kills`;
  });
  await step("the guest's kernel saw no error", async () => {
    const log = await guest.console();
    const complaint = /I\/O error|EXT4-fs error|blk_update|is not a head/.exec(
      log,
    );
    assertEquals(complaint, null, log);
    return "none";
  });
  await step("the file system is whole", async () => {
    await guest.output("umount /mnt");
    await guest.powerOff();
    const check = new Deno.Command("e2fsck", { args: ["-f", "-n", image] });
    const { success, stdout } = await check.output();
    const text = new TextDecoder().decode(stdout);
    assert(success, text);
    return text.trim().split("\n").at(-1)!;
  });
}
