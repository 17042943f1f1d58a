/**
 * `deno task bench:path`: 4 KiB random reads of one file in the page cache, through
 * ringside and through qemu-storage-daemon, by the same driver, in turn, round
 * after round. Prints medians with their spread, and the processor time of the
 * back-end.
 *
 *     run.ts [ROUNDS] [SECONDS]
 *
 * @module
 */
import { type Contender, CONTENDERS } from "./back_ends.ts";
import type { PathResult } from "./driver.ts";

const DRIVER = new URL("driver.ts", import.meta.url).pathname;
const DISK_MIB = 512;
const TICKS_PER_SECOND = 100;
const LISTEN_ATTEMPTS = 500;
const LISTEN_STEP_MS = 20;
/** Depth and whether the driver polls. */
const LOADS: readonly (readonly [depth: number, mode: string])[] = [
  [1, "polled"],
  [1, "event"],
  [16, "polled"],
  [16, "event"],
  [64, "polled"],
  [64, "event"],
];

/** What one run measured, and what the back-end spent on it. */
interface Sample extends PathResult {
  /** Requests for a second of the back-end's processor time. */
  readonly perCpuSecond: number;
}

/** User and system time of a process and its threads, seconds. */
function cpuSeconds(pid: number): number {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

async function listening(path: string): Promise<void> {
  for (let i = 0; i < LISTEN_ATTEMPTS; i++) {
    const sockets = Deno.readTextFileSync("/proc/net/unix").split("\n");
    if (sockets.some((line) => line.endsWith(` ${path}`))) return;
    await new Promise((resolve) => setTimeout(resolve, LISTEN_STEP_MS));
  }
  throw new Error(`Nobody listens at ${path}`);
}

async function measure(
  contender: Contender,
  file: string,
  socketPath: string,
  [depth, mode]: readonly [number, string],
  seconds: number,
): Promise<Sample> {
  const [program, ...args] = contender.command(socketPath, file);
  const process = new Deno.Command(program!, {
    args,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    await listening(socketPath);
    const before = cpuSeconds(process.pid);
    const driver = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", DRIVER, socketPath, `${depth}`, mode, `${seconds}`],
      stderr: "inherit",
    }).output();
    const spent = cpuSeconds(process.pid) - before;
    const result = JSON.parse(
      new TextDecoder().decode(driver.stdout),
    ) as PathResult;
    // The driver's warm-up of one second costs as much as one of its others.
    const share = result.seconds / (result.seconds + 1);
    return { ...result, perCpuSecond: result.requests / (spent * share) };
  } finally {
    process.kill("SIGTERM");
    await process.status;
    await Deno.remove(socketPath).catch(() => {});
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

/** Median, then the smallest and the largest. */
function spread(values: readonly number[], digits: number): string {
  const show = (value: number) => value.toFixed(digits);
  const low = show(Math.min(...values));
  const high = show(Math.max(...values));
  return `${show(median(values))} (${low}-${high})`;
}

function row(
  [depth, mode]: readonly [number, string],
  name: string,
  samples: readonly Sample[],
): string {
  const cells = [
    `${depth} ${mode}`,
    name,
    spread(samples.map(({ iops }) => iops / 1000), 0),
    spread(samples.map(({ p50 }) => p50), 1),
    spread(samples.map(({ p99 }) => p99), 1),
    spread(samples.map(({ perCpuSecond }) => perCpuSecond / 1000), 0),
  ];
  return `| ${cells.join(" | ")} |`;
}

if (import.meta.main) {
  const rounds = Number(Deno.args[0] ?? 5);
  const seconds = Number(Deno.args[1] ?? 2);
  const directory = await Deno.makeTempDir({ prefix: "ringside-bench-" });
  const file = `${directory}/disk.img`;
  const bytes = new Uint8Array(1 << 20).fill(0x5a);
  {
    using image = await Deno.open(file, { create: true, write: true });
    for (let i = 0; i < DISK_MIB; i++) await image.write(bytes);
    await image.syncData();
  }
  console.log(
    "| depth, driver | back-end | k IOPS | p50 us | p99 us | k requests a CPU second |",
  );
  console.log("| --- | --- | --- | --- | --- | --- |");
  try {
    for (const load of LOADS) {
      const samples = CONTENDERS.map((): Sample[] => []);
      for (let round = 0; round < rounds; round++) {
        for (const [i, contender] of CONTENDERS.entries()) {
          await Deno.readFile(file);
          const socketPath = `${directory}/${i}.sock`;
          samples[i]!.push(
            await measure(contender, file, socketPath, load, seconds),
          );
        }
      }
      for (const [i, { name }] of CONTENDERS.entries()) {
        console.log(row(load, name, samples[i]!));
      }
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
