/**
 * Back-ends that are killed again and again while the guest writes: each time
 * QEMU connects to the next one (`reconnect=1`) and hands over what was in
 * flight. The guest sees a slow disk and nothing else.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { BackEnd, type DiskOptions } from "./back_end.ts";
import { eventually } from "./deadline.ts";
import { Guest } from "./guest.ts";
import { showRings } from "./ring_kind.ts";
import {
  diskName,
  type Setup,
  Stage,
  type Step,
  type Variant,
} from "./scenario.ts";

/** How long a back-end lives, at least, while the guest works. */
const LIFE_MS = 1500;
/** Requests that the guest completes in each life. */
const LIFE_REQUESTS = 200;
/** How often each disk's back-end is killed, however short the time. */
const KILLS_MIN = 3;

/** The processes that serve one disk, one after the other. */
class Lives implements AsyncDisposable {
  /** What the guest calls the disk. */
  readonly disk: string;
  readonly #setup: Setup;
  readonly #options: DiskOptions;
  #backEnd: BackEnd | null = null;
  /** How often it was killed. */
  kills = 0;

  constructor(disk: string, setup: Setup, options: DiskOptions) {
    this.disk = disk;
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

  /** Where it listens. */
  get socketPath(): string {
    return this.#options.socketPath;
  }

  /** The disk's file. */
  get image(): string {
    return this.#options.file;
  }

  get log(): string {
    return this.#backEnd?.log ?? "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#backEnd?.[Symbol.asyncDispose]();
  }
}

/** Requests that the guest has completed on `disk`. */
async function completed(guest: Guest, disk: string): Promise<number> {
  const script = `awk '{ print $1 + $5 }' /sys/block/${disk}/stat`;
  return Number(await guest.output(script));
}

/** Leaves fio writing and checking in files of each disk. */
async function startChecking(
  guest: Guest,
  all: readonly Lives[],
): Promise<void> {
  const scripts = all.map(({ disk }) => `
    mkdir /mnt/${disk}
    mount -t ext4 /dev/${disk} /mnt/${disk}
    fio --output=/tmp/${disk}.json --output-format=json \\
      --directory=/mnt/${disk} \\
      --direct=1 --verify=crc32c --verify_fatal=1 --verify_backlog=128 \\
      --time_based --runtime=3600 --fsync=64 \\
      --name=small --rw=randrw --ioengine=libaio --iodepth=32 --bs=4k \\
      --size=24M --cpus_allowed=0 \\
      --name=large --rw=randwrite --ioengine=libaio --iodepth=8 --bs=64k \\
      --size=32M --cpus_allowed=1 >/tmp/${disk}.err 2>&1 &
    echo $! >>/tmp/fio.pids
  `);
  await guest.output(
    ["set -e", "mount -t tmpfs tmpfs /mnt", ...scripts].join("\n"),
  );
}

/** Kills one back-end after the other for so long, and each often enough. */
async function killWhileItRuns(
  guest: Guest,
  all: readonly Lives[],
  seconds: number,
): Promise<void> {
  const end = performance.now() + 1000 * seconds;
  const isDone = () =>
    performance.now() > end && all.every(({ kills }) => kills >= KILLS_MIN);
  for (let turn = 0; !isDone(); turn++) {
    const lives = all[turn % all.length]!;
    const since = performance.now();
    const before = await completed(guest, lives.disk);
    await eventually(
      async () =>
        performance.now() - since > LIFE_MS / all.length &&
        await completed(guest, lives.disk) > before + LIFE_REQUESTS,
      60_000,
      async () =>
        `${lives.disk} stands still after ${lives.kills} kills: ` +
        `${lives.log}\n` + await guest.output("cat /tmp/*.err") +
        (await guest.console()).slice(-2000),
    );
    await lives.killAndStart();
  }
}

/** What fio says of `disk`, which has to be that all is well. */
async function checkOutcome(guest: Guest, disk: string): Promise<void> {
  const text = await guest.output(`cat /tmp/${disk}.err /tmp/${disk}.json`);
  const { jobs } = JSON.parse(text.slice(text.indexOf("{")));
  for (const { jobname, error, read, write } of jobs) {
    assertEquals(error, 0, text);
    const checked =
      `${jobname} wrote ${write.total_ios}, read ${read.total_ios}`;
    assert(write.total_ios > 0 && read.total_ios > 0, checked);
  }
}

async function showKills(
  step: Step,
  guest: Guest,
  all: readonly Lives[],
  seconds: number,
) {
  await step(`fio checks what it writes, ${seconds} s of kills`, async () => {
    await startChecking(guest, all);
    await killWhileItRuns(guest, all, seconds);
    await guest.output(`
      for pid in $(cat /tmp/fio.pids); do
        kill -INT $pid
        while kill -0 $pid 2>/dev/null; do usleep 50000; done
      done
    `);
    const seen: string[] = [];
    for (const { disk, kills } of all) {
      await checkOutcome(guest, disk);
      seen.push(`${disk}: ${kills} kills`);
    }
    return seen.join(", ");
  });
  await step("the guest's kernel saw no error", async () => {
    const log = await guest.console();
    const complaint = /I\/O error|EXT4-fs error|blk_update|is not a head/.exec(
      log,
    );
    assertEquals(complaint, null, log);
    return "none";
  });
}

/** How a back-end is killed. */
export interface CrashOptions {
  /** For so long. */
  seconds: number;
  /** The rings of the guest's disks, one each: whether they are packed. */
  kinds: readonly boolean[];
}

/** Shows that SIGKILL in mid-I/O costs a guest some time and nothing else. */
export async function crashScenario(
  step: Step,
  setup: Setup,
  variant: Variant,
  { seconds, kinds }: CrashOptions,
): Promise<void> {
  await using stage = await Stage.set();
  await using all = new AsyncDisposableStack();
  const disks: Lives[] = [];
  for (const index of kinds.keys()) {
    const disk = diskName(index);
    const file = await stage.image(disk);
    const mkfs = new Deno.Command("mkfs.ext4", { args: ["-q", "-F", file] });
    assert((await mkfs.output()).success, "mkfs.ext4 failed");
    const socketPath = `${stage.directory}/${disk}.sock`;
    const lives = new Lives(disk, setup, { socketPath, file, ...variant });
    disks.push(all.use(lives));
    await lives.start();
  }
  await using guest = await Guest.boot({
    boot: setup.boot,
    disks: disks.map(({ socketPath }, index) => ({
      socketPath,
      packed: kinds[index]!,
      reconnectSeconds: 1,
    })),
  });
  for (const [index, { disk }] of disks.entries()) {
    await showRings(step, guest, `/sys/block/${disk}/device`, kinds[index]!);
  }
  await showKills(step, guest, disks, seconds);
  await step("the file systems are whole", async () => {
    await guest.output("umount /mnt/vd*");
    await guest.powerOff();
    const seen: string[] = [];
    for (const { image } of disks) {
      const check = new Deno.Command("e2fsck", { args: ["-f", "-n", image] });
      const { success, stdout } = await check.output();
      const text = new TextDecoder().decode(stdout);
      assert(success, text);
      seen.push(text.trim().split("\n").at(-1)!);
    }
    return seen.join("; ");
  });
}
