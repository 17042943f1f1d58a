/**
 * A TAP interface in a network namespace of its own: who serves it, who sends to
 * it, and what arrives there.
 *
 * @module
 */
import { needRoot, outputOf, Running } from "../programs.ts";
import { type Contender, ringside, WORKERS } from "./contender.ts";
import type { Sample } from "./measure.ts";

const NAME = "tap0";
const STEP_MS = 10;
const ATTEMPTS = 500;
/** Megabytes of plain memory, without huge pages. */
const MEMORY_MB = 512;
/** What of a run is looked at: not its first and last moments. */
const FROM_END = 0.9;
const TO_END = 0.05;
/** The columns of /proc/net/dev behind the name. */
const RECEIVED = 1;

/** Which way frames go: from the guest (`tx`), or to it (`rx`), of so many bytes. */
export interface TapWay {
  readonly direction: "tx" | "rx";
  readonly size: number;
}

/** A card whose other side is the interface. */
export const TAPS: readonly Contender[] = [
  ringside("ringside", WORKERS, () => ["net", "--ifname", NAME]),
  {
    name: "testpmd net_vhost, net_tap",
    command: ({ socketPath }) => [
      ...testpmd("ringside-bench", MEMORY_MB),
      `--vdev=net_vhost0,iface=${socketPath},queues=1`,
      `--vdev=net_tap0,iface=${NAME}`,
      ...["--", "-i", "--auto-start", "--forward-mode=io", "--nb-cores=1"],
      "--total-num-mbufs=16384",
    ],
  },
];

function testpmd(prefix: string, megabytes: number): string[] {
  return [
    ...["dpdk-testpmd", "--no-huge", "-m", `${megabytes}`, "--no-pci"],
    ...["--no-telemetry", `--file-prefix=${prefix}`],
  ];
}

/** Sends frames to the interface by AF_PACKET, as fast as it can. */
function source(size: number): string[] {
  return [
    ...testpmd("ringside-source", MEMORY_MB / 2),
    `--vdev=net_af_packet0,iface=${NAME},qdisc_bypass=1,framecnt=512`,
    ...["--", "-i", "--auto-start", "--forward-mode=txonly", "--nb-cores=1"],
    ...[`--txpkts=${size}`, "--total-num-mbufs=4096"],
  ];
}

/** The namespace, and what is counted there while a back-end is measured. */
export class TapStage implements AsyncDisposable {
  readonly #name: string;
  readonly #way: TapWay;
  /** When, and how many frames the kernel had received by then. */
  readonly #seen: (readonly [time: number, frames: number])[] = [];
  #timer: ReturnType<typeof setInterval> | null = null;
  #source: Running | null = null;

  private constructor(name: string, way: TapWay) {
    this.#name = name;
    this.#way = way;
  }

  /** Makes the namespace. Rejects where that is not allowed. */
  static async open(way: TapWay): Promise<TapStage> {
    const name = `rb-${crypto.randomUUID().slice(0, 8)}`;
    needRoot();
    await outputOf("ip", "netns", "add", name);
    return new TapStage(name, way);
  }

  /** The command that runs `words` in it. */
  command(words: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.#name, ...words];
  }

  /** Process `pid` serves the interface, or is about to. */
  async start(pid: number): Promise<void> {
    const devices = `/proc/${pid}/net/dev`;
    for (let i = 0; received(devices) === null; i++) {
      if (i === ATTEMPTS) throw new Error(`There is no ${NAME}`);
      await new Promise((resolve) => setTimeout(resolve, STEP_MS));
    }
    await outputOf(...this.command(["ip", "link", "set", NAME, "up"]));
    const { direction, size } = this.#way;
    if (direction === "rx") {
      this.#source = new Running(this.command(source(size)), "SIGKILL");
    }
    this.#timer = setInterval(() => {
      const frames = received(devices);
      if (frames !== null) this.#seen.push([performance.now(), frames]);
    }, STEP_MS);
  }

  /**
   * What `sample`, over so many seconds, is by what arrived: a frame that the
   * back-end took from its driver may be lost afterwards.
   */
  arrived(sample: Sample, seconds: number): Sample {
    if (this.#way.direction === "rx") return sample;
    const seen = this.#seen;
    const last = seen.findLastIndex(([, frames], i) =>
      i > 0 && frames > seen[i - 1]![1]
    );
    const end = seen[last]?.[0] ?? 0;
    const within = seen.filter(([time]) =>
      time >= end - FROM_END * seconds * 1000 &&
      time <= end - TO_END * seconds * 1000
    );
    const [from, to] = [within[0], within.at(-1)];
    if (from === undefined || to === undefined || from === to) {
      throw new Error(`Nothing arrived at ${NAME}`);
    }
    const rate = (to[1] - from[1]) / (to[0] - from[0]);
    const cpuRate = sample.cpuRate * rate / sample.rate;
    return { ...sample, taken: sample.rate, rate, cpuRate };
  }

  /** Removes the namespace; who serves the interface has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#source?.[Symbol.asyncDispose]();
    await outputOf("ip", "netns", "del", this.#name);
  }
}

/** Frames that the kernel received from the interface, or null. */
function received(devices: string): number | null {
  let text: string;
  try {
    text = Deno.readTextFileSync(devices);
  } catch {
    // Its process is gone.
    return null;
  }
  const line = text.split("\n").find((line) =>
    line.trimStart().startsWith(`${NAME}:`)
  );
  if (line === undefined) return null;
  return Number(line.split(":")[1]!.trim().split(/\s+/)[RECEIVED]);
}
