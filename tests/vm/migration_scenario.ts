/**
 * A guest that is moved from QEMU to QEMU while it writes to its disk and sends
 * over its card, each time to another back-end process for the same file. Pages
 * that a back-end writes and does not log are lost on the way, and fio finds
 * them.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { BackEnd } from "./back_end.ts";
import { eventually } from "./deadline.ts";
import { Guest, type GuestOptions } from "./guest.ts";
import type { BootFiles } from "./initramfs.ts";
import { hashFile, Stage, type Step } from "./scenario.ts";
import { socketPathOf, startServing } from "./serving.ts";

/** Requests that the disk completes between two moves. */
const LIFE_REQUESTS = 200;
const MOVE_TIMEOUT_MS = 60_000;
const MAC = "52:54:00:00:00:01";

/** A QEMU and the process that serves its devices. */
class Place implements AsyncDisposable {
  readonly guest: Guest;
  readonly #backEnd: BackEnd;

  private constructor(guest: Guest, backEnd: BackEnd) {
    this.guest = guest;
    this.#backEnd = backEnd;
  }

  /** Number `index`; only the first boots a guest. */
  static async open(
    stage: Stage,
    image: string,
    boot: BootFiles,
    index: number,
  ): Promise<Place> {
    const directory = `${stage.directory}/${index}`;
    await Deno.mkdir(directory);
    const backEnd = await startServing(directory, [
      { device: "block", name: "disk", "blk-file": image, "num-queues": 2 },
      { device: "net", name: "card", backend: "loopback" },
    ]);
    const options: GuestOptions = {
      boot,
      disks: [{ socketPath: socketPathOf(directory, "disk"), queueCount: 2 }],
      cards: [{ socketPath: socketPathOf(directory, "card"), mac: MAC }],
      ...(index > 0 && { incomingPath: `${directory}/moves.sock` }),
    };
    try {
      return new Place(await Guest.boot(options), backEnd);
    } catch (error) {
      await backEnd[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Moves the guest to `target`, which waits at number `index`. */
  async moveTo(target: Place, stage: Stage, index: number): Promise<string> {
    const { guest } = this;
    await guest.command("migrate-set-parameters", {
      "max-bandwidth": 10 ** 10,
      "downtime-limit": 2000,
    });
    const uri = `unix:${stage.directory}/${index}/moves.sock`;
    await guest.command("migrate", { uri });
    let state: Record<string, unknown> = {};
    await eventually(
      async () => {
        const answer = await guest.command("query-migrate");
        state = answer as Record<string, unknown>;
        if (state.status === "failed") throw new Error(JSON.stringify(state));
        return state.status === "completed";
      },
      MOVE_TIMEOUT_MS,
      () => `The guest is not moved: ${JSON.stringify(state)}`,
    );
    await eventually(
      async () => {
        const answer = await target.guest.command("query-status");
        return (answer as { status: string }).status === "running";
      },
      MOVE_TIMEOUT_MS,
      () => "The guest does not run where it was moved to",
    );
    return `${state.downtime} ms`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.guest[Symbol.asyncDispose]();
    await this.#backEnd[Symbol.asyncDispose]();
  }
}

/** Leaves fio checking what it writes, and frames going round. */
async function startWork(guest: Guest): Promise<void> {
  await guest.output(`
    set -e
    ip link set eth0 up
    ip addr add 10.9.8.1/24 dev eth0
    ip neigh add 10.9.8.2 lladdr 52:54:00:00:00:02 dev eth0
    ping -i 1 -s 1400 10.9.8.2 >/dev/null 2>&1 &
    fio --output=/tmp/fio.txt --filename=/dev/vda --direct=1 --rw=randrw \\
      --verify=crc32c --verify_fatal=1 --verify_backlog=128 \\
      --ioengine=libaio --iodepth=32 --time_based --runtime=3600 --size=32M \\
      --name=small --bs=4k --offset=0 --cpus_allowed=0 \\
      --name=large --bs=64k --offset=32M --cpus_allowed=1 \\
      >/tmp/fio.err 2>&1 &
    echo $! >/tmp/fio.pid
  `);
}

/** What the guest has done: requests of the disk, frames of the card. */
async function progress(guest: Guest): Promise<[number, number]> {
  const text = await guest.output(`
    awk '{ print $1 + $5 }' /sys/block/vda/stat
    cat /sys/class/net/eth0/statistics/rx_packets
  `);
  const [requests, frames] = text.split("\n").map(Number);
  return [requests!, frames!];
}

/** Resolves once the guest has completed more of both. */
async function moreIsDone(guest: Guest): Promise<void> {
  const [requests, frames] = await progress(guest);
  let now: [number, number] = [0, 0];
  await eventually(
    async () => {
      now = await progress(guest);
      return now[0] > requests + LIFE_REQUESTS && now[1] > frames;
    },
    60_000,
    async () =>
      `The guest stands still: ${now[0] - requests} requests, ` +
      `${now[1] - frames} frames\n` +
      await guest.output("cat /tmp/fio.err /tmp/fio.txt; dmesg | tail"),
  );
}

/** Ends fio and rejects if it found a difference. */
async function finish(guest: Guest): Promise<string> {
  await guest.output(`
    kill -INT $(cat /tmp/fio.pid)
    while kill -0 $(cat /tmp/fio.pid) 2>/dev/null; do usleep 50000; done
  `);
  const text = await guest.output("cat /tmp/fio.err /tmp/fio.txt");
  assert(/err= 0/.test(text), text);
  assert(!/verify:|err=[1-9]/.test(text), text);
  const log = await guest.output("dmesg");
  assertEquals(/I\/O error|is not a head|Oops|BUG:/.exec(log), null, log);
  return "no difference, no error";
}

/** Shows that `moves` moves in a row leave the guest and its disk whole. */
export async function migrationScenario(
  step: Step,
  boot: BootFiles,
  moves: number,
): Promise<void> {
  await using stage = await Stage.set();
  const image = await stage.image("disk");
  let place = await Place.open(stage, image, boot, 0);
  try {
    await step("a guest works on its disk and its card", async () => {
      await startWork(place.guest);
      await moreIsDone(place.guest);
      return "so it does";
    });
    for (let index = 1; index <= moves; index++) {
      await step(`it is moved, and goes on: ${index}`, async () => {
        const target = await Place.open(stage, image, boot, index);
        try {
          const downtime = await place.moveTo(target, stage, index);
          await place[Symbol.asyncDispose]();
          place = target;
          await moreIsDone(place.guest);
          return downtime;
        } catch (error) {
          if (place !== target) await target[Symbol.asyncDispose]();
          throw error;
        }
      });
    }
    await step("fio found no difference, the kernel no error", async () => {
      return await finish(place.guest);
    });
    await step("the disk is the host's file", async () => {
      const hash = await place.guest.output(
        "dd if=/dev/vda bs=1M iflag=direct 2>/dev/null | sha256sum",
      );
      assertEquals(hash.split(" ")[0], await hashFile(image));
      return hash.split(" ")[0]!;
    });
  } finally {
    await place[Symbol.asyncDispose]();
  }
}
