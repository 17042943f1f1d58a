/**
 * `deno task bench:path`: 4 KiB random reads of one file in the page cache, through
 * ringside and through qemu-storage-daemon, by `ringside bench`, in turn, round
 * after round. Prints medians with their spread, and the processor time of the
 * back-end.
 *
 *     run.ts [ROUNDS] [SECONDS] [DIRECTORY] [LOAD]
 *
 * With a directory, keeps there the report of each run, for `ringside bench plot`.
 * With a load, as "16 event" or "polled", runs only those that have it in their
 * name.
 *
 * @module
 */
import type { Report } from "../../src/load/mod.ts";
import { type Contender, CONTENDERS } from "./back_ends.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const DISK_MIB = 512;
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

async function listening(path: string): Promise<void> {
  for (let i = 0; i < LISTEN_ATTEMPTS; i++) {
    const sockets = Deno.readTextFileSync("/proc/net/unix").split("\n");
    if (sockets.some((line) => line.endsWith(` ${path}`))) return;
    await new Promise((resolve) => setTimeout(resolve, LISTEN_STEP_MS));
  }
  throw new Error(`Nobody listens at ${path}`);
}

/** One run, whose report goes to the file `json`. */
async function measure(
  contender: Contender,
  file: string,
  socketPath: string,
  [depth, mode]: readonly [number, string],
  seconds: number,
  json: string,
): Promise<Report> {
  const [program, ...args] = contender.command(socketPath, file);
  const process = new Deno.Command(program!, {
    args,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    await listening(socketPath);
    const { success } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--allow-ffi", MAIN, "bench", "block"],
        ...["--socket-path", socketPath, "--depth", `${depth}`],
        ...["--time", `${seconds}`, "--backend-pid", `${process.pid}`],
        ...["--label", `${contender.name}, depth ${depth}, ${mode}`],
        ...["--json", json, ...(mode === "polled" ? ["--polled"] : [])],
      ],
      stdout: "null",
      stderr: "inherit",
    }).output();
    if (!success) throw new Error(`${contender.name} could not be measured`);
    return JSON.parse(await Deno.readTextFile(json)) as Report;
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
  reports: readonly Report[],
): string {
  const of = (value: (report: Report) => number, unit: number) =>
    reports.map((report) => value(report) / unit);
  const cells = [
    `${depth} ${mode}`,
    name,
    spread(of(({ perSecond }) => perSecond.requests, 1e3), 0),
    spread(of(({ latency }) => latency!.p50, 1e3), 1),
    spread(of(({ latency }) => latency!.p99, 1e3), 1),
    spread(of(({ backEnd }) => backEnd!.requestsPerCpuSecond, 1e3), 0),
  ];
  return `| ${cells.join(" | ")} |`;
}

async function makeDisk(file: string): Promise<void> {
  const bytes = new Uint8Array(1 << 20).fill(0x5a);
  using image = await Deno.open(file, { create: true, write: true });
  for (let i = 0; i < DISK_MIB; i++) await image.write(bytes);
  await image.syncData();
}

if (import.meta.main) {
  const rounds = Number(Deno.args[0] ?? 5);
  const seconds = Number(Deno.args[1] ?? 2);
  const directory = await Deno.makeTempDir({ prefix: "ringside-bench-" });
  const reports = Deno.args[2] ?? directory;
  await Deno.mkdir(reports, { recursive: true });
  const file = `${directory}/disk.img`;
  await makeDisk(file);
  console.log(
    "| depth, driver | back-end | k IOPS | p50 us | p99 us | k requests a CPU second |",
  );
  console.log("| --- | --- | --- | --- | --- | --- |");
  try {
    const only = Deno.args[3] ?? "";
    for (const load of LOADS) {
      if (!load.join(" ").includes(only)) continue;
      const samples = CONTENDERS.map((): Report[] => []);
      for (let round = 0; round < rounds; round++) {
        for (const [i, contender] of CONTENDERS.entries()) {
          await Deno.readFile(file);
          const socketPath = `${directory}/${i}.sock`;
          const name = `${contender.name}-${load.join("-")}-${round}`;
          const json = `${reports}/${name.replaceAll(" ", "-")}.json`;
          samples[i]!.push(
            await measure(contender, file, socketPath, load, seconds, json),
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
