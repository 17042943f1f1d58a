/**
 * A guest that is moved from QEMU to QEMU while it writes to its disk and talks
 * to the host over its card, each time to another back-end process: for the same
 * file, and on another port of the host's bridge. Pages that a back-end writes
 * and does not log are lost on the way, and fio finds them.
 *
 * Its entropy device stays at home: QEMU (10 too) does not move one.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { BackEnd } from "./back_end.ts";
import { Bridge } from "./bridge.ts";
import { eventually } from "./deadline.ts";
import { Guest, type GuestOptions } from "./guest.ts";
import type { BootFiles } from "./initramfs.ts";
import { bringUp } from "./net_guest.ts";
import { Stream } from "./net_stream.ts";
import type { End } from "./net_traffic.ts";
import { finish } from "./restless_scenario.ts";
import { showRings } from "./ring_kind.ts";
import { hashFile, Stage, type Step } from "./scenario.ts";
import { socketPathOf, startServing } from "./serving.ts";

/** What the guest completes between two moves: requests, and frames each way. */
const LIFE_REQUESTS = 200;
const LIFE_FRAMES = 20;
const MOVE_TIMEOUT_MS = 60_000;
/** What fio works on, and no more: it is hashed in the end. */
const DISK_SIZE = 64 << 20;
const MAC = "52:54:00:00:00:01";
const HOST = "10.9.8.2";
const GUEST = "10.9.8.1";
/** The guest's card is on the one and goes on on the other. */
const PORTS = ["here", "there"] as const;

/** The port that place `index` has. */
function portOf(index: number): string {
  return PORTS[index % PORTS.length]!;
}

/** How often a guest is moved, and whether its devices have packed rings. */
export interface Moves {
  count: number;
  packedDisk: boolean;
  packedCard: boolean;
}

/** What all places share. */
interface Land {
  stage: Stage;
  bridge: Bridge;
  image: string;
  boot: BootFiles;
  moves: Moves;
}

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
    { stage, bridge, image, boot, moves }: Land,
    index: number,
  ): Promise<Place> {
    const directory = `${stage.directory}/${index}`;
    await Deno.mkdir(directory);
    const backEnd = await startServing(directory, [
      { device: "block", name: "disk", "blk-file": image, "num-queues": 2 },
      { device: "net", name: "card", ifname: portOf(index), mac: MAC },
    ], bridge.namespace.command([]));
    const options: GuestOptions = {
      boot,
      disks: [{
        socketPath: socketPathOf(directory, "disk"),
        queueCount: 2,
        packed: moves.packedDisk,
      }],
      cards: [{
        socketPath: socketPathOf(directory, "card"),
        mac: MAC,
        packed: moves.packedCard,
      }],
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

/** Leaves fio checking what it writes. */
async function startChecking(guest: Guest): Promise<void> {
  await guest.output(`
    fio --output=/tmp/fio.txt --filename=/dev/vda --direct=1 --rw=randrw \\
      --verify=crc32c --verify_fatal=1 --verify_backlog=128 \\
      --ioengine=libaio --iodepth=32 --time_based --runtime=3600 --size=32M \\
      --name=small --bs=4k --offset=0 --cpus_allowed=0 \\
      --name=large --bs=64k --offset=32M --cpus_allowed=1 \\
      >/tmp/fio.err 2>&1 &
    echo $! >/tmp/fio.pid
  `);
}

/** What the guest has done: requests of the disk, frames in and out. */
async function progress(guest: Guest): Promise<number[]> {
  const text = await guest.output(`
    awk '{ print $1 + $5 }' /sys/block/vda/stat
    cat /sys/class/net/card/statistics/rx_packets
    cat /sys/class/net/card/statistics/tx_packets
  `);
  return text.split("\n").map(Number);
}

/** Resolves once the guest has completed more of all. */
async function moreIsDone(guest: Guest): Promise<void> {
  const before = await progress(guest);
  let done: number[] = [];
  await eventually(
    async () => {
      const now = await progress(guest);
      done = now.map((count, index) => count - before[index]!);
      return done[0]! > LIFE_REQUESTS && done[1]! > LIFE_FRAMES &&
        done[2]! > LIFE_FRAMES;
    },
    MOVE_TIMEOUT_MS,
    async () =>
      `The guest stands still: ${done[0]} requests, ${done[1]} frames in, ` +
      `${done[2]} out\n` +
      await guest.output("cat /tmp/fio.err /tmp/fio.txt; dmesg | tail"),
  );
}

/** Ends fio; rejects if it found a difference, or the kernel an error. */
async function finishMoves(guest: Guest): Promise<string> {
  await finish(guest);
  const log = await guest.output("dmesg");
  assertEquals(/I\/O error|is not a head|Oops|BUG:/.exec(log), null, log);
  return "no difference, no error";
}

/** A guest that is somewhere. Disposing ends it there. */
class Traveller implements AsyncDisposable {
  readonly #land: Land;
  #place: Place;
  #index = 0;

  private constructor(land: Land, place: Place) {
    this.#land = land;
    this.#place = place;
  }

  static async start(land: Land): Promise<Traveller> {
    return new Traveller(land, await Place.open(land, 0));
  }

  /** It, where it is now. */
  get guest(): Guest {
    return this.#place.guest;
  }

  /** Its end of the link, wherever it is. */
  get end(): End {
    const shell: End["shell"] = {
      output: (script, options) => this.guest.output(script, options),
    };
    return { shell, address: GUEST, directory: "/tmp" };
  }

  /** Moves it on; resolves once the bridge knows and work goes on. */
  async move(): Promise<string> {
    const { bridge, stage } = this.#land;
    await bridge.leads(MAC, portOf(this.#index));
    const announcements = bridge.announcements(MAC);
    const index = ++this.#index;
    const target = await Place.open(this.#land, index);
    try {
      const downtime = await this.#place.moveTo(target, stage, index);
      await bridge.announced(MAC, announcements);
      await bridge.leads(MAC, portOf(index));
      await this.#place[Symbol.asyncDispose]();
      this.#place = target;
      await moreIsDone(target.guest);
      return downtime;
    } catch (error) {
      if (this.#place !== target) await target[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#place[Symbol.asyncDispose]();
  }
}

async function showWork(
  step: Step,
  traveller: Traveller,
  { moves, bridge, stage }: Land,
): Promise<Stream[]> {
  const { guest, end } = traveller;
  const streams: Stream[] = [];
  const { packedDisk, packedCard } = moves;
  await showRings(step, guest, "/sys/block/vda/device", packedDisk);
  await showRings(step, guest, "/sys/class/net/eth0/device", packedCard);
  await step("a guest works on its disk and its card", async () => {
    await bringUp(guest, MAC, "card", GUEST);
    await startChecking(guest);
    const host = bridge.end(stage.directory);
    streams.push(await Stream.start(end, host));
    streams.push(await Stream.start(host, end));
    await moreIsDone(guest);
    return "TCP to the host and from it, fio on the disk";
  });
  return streams;
}

/** Shows that moves in a row leave the guest and its disk whole. */
export async function migrationScenario(
  step: Step,
  boot: BootFiles,
  moves: Moves,
): Promise<void> {
  await using stage = await Stage.set();
  await using bridge = new Bridge(HOST);
  for (const port of PORTS) bridge.addPort(port);
  await bridge.watch();
  const image = await stage.image("disk", DISK_SIZE);
  const land = { stage, bridge, image, boot, moves };
  await using traveller = await Traveller.start(land);
  const streams = await showWork(step, traveller, land);
  for (let index = 1; index <= moves.count; index++) {
    await step(`it is moved, and goes on: ${index}`, () => traveller.move());
  }
  await step("each byte to the host and from it arrived once", async () => {
    const sizes: number[] = [];
    for (const stream of streams) sizes.push(await stream.end());
    return `${sizes.join(" and ")} bytes, one TCP connection each`;
  });
  await step("fio found no difference, the kernel no error", async () => {
    return await finishMoves(traveller.guest);
  });
  await step("the disk is the host's file", async () => {
    const hash = await traveller.guest.output(
      "dd if=/dev/vda bs=1M iflag=direct 2>/dev/null | sha256sum",
    );
    assertEquals(hash.split(" ")[0], await hashFile(land.image));
    return hash.split(" ")[0]!;
  });
}
