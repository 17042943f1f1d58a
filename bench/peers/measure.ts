/**
 * One run of one contender.
 *
 * @module
 */
import type { Report } from "../../src/load/mod.ts";
import { need, outputOf, Running } from "../programs.ts";
import { type Contender, MAIN, type Place } from "./contender.ts";
import { TapStage } from "./taps.ts";
import type { Figure, Work } from "./work.ts";

const LISTEN_ATTEMPTS = 1000;
const LISTEN_STEP_MS = 20;
const NS_PER_US = 1e3;
const PER_K = 1e3;
const MS_PER_S = 1e3;
const MIB = 2 ** 20;

/**
 * Thousands a second, thousands a CPU second, microseconds; and whatever else is
 * known of a run, for the history.
 */
export type Sample =
  & Readonly<Record<Figure, number>>
  & Readonly<Record<string, number>>;

/** How long a run is. */
export interface Duration {
  readonly warmUpSeconds: number;
  readonly seconds: number;
}

/** Looks at a process until it is disposed of. */
export type Watch = (pid: number) => Promise<AsyncDisposable>;

/**
 * A run of `work` through `contender`, whose report goes to the file `json`.
 * `watch` looks at the back-end as soon as it listens.
 */
export async function measure(
  contender: Contender,
  work: Work,
  place: Place,
  { warmUpSeconds, seconds }: Duration,
  json: string,
  watch: Watch | null = null,
): Promise<Sample> {
  const words = contender.command(place);
  // In a namespace it is another program that would miss it.
  if (work.tap !== undefined) need(words[0]!);
  await using tap = work.tap === undefined
    ? null
    : await TapStage.open(work.tap);
  await using _socket = { [Symbol.asyncDispose]: () => removed(place) };
  await using process = new Running(tap?.command(words) ?? words);
  await listening(process, place.socketPath);
  await tap?.start(process.pid);
  await using _watcher = await watch?.(process.pid) ?? null;
  await outputOf(
    ...[Deno.execPath(), "run", "--allow-ffi", MAIN, "bench", work.device],
    ...[...work.load, ...contender.load ?? []],
    ...["--socket-path", place.socketPath, "--json", json],
    ...["--time", `${seconds}`, "--warm-up", `${warmUpSeconds}`],
    ...["--backend-pid", `${process.pid}`],
    ...["--label", `${contender.name}, ${work.name}`],
  );
  const report = JSON.parse(await Deno.readTextFile(json)) as Report;
  const sample = sampleOf(report);
  return tap === null ? sample : tap.arrived(sample, seconds);
}

/** Removes the socket, which a program that was killed leaves behind. */
function removed({ socketPath }: Place): Promise<void> {
  return Deno.remove(socketPath).catch(() => {});
}

function sampleOf(report: Report): Sample {
  const { perSecond, latency, notifications } = report;
  const { kicksPerRequest, callsPerRequest, waits } = notifications;
  const backEnd = report.backEnd!;
  // Who only receives has no latencies.
  const us = (name: "p50" | "p90" | "p99" | "p99.9" | "max") =>
    (latency?.[name] ?? 0) / NS_PER_US;
  return {
    rate: perSecond.requests / PER_K,
    cpuRate: backEnd.requestsPerCpuSecond / PER_K,
    p50: us("p50"),
    p99: us("p99"),
    p90: us("p90"),
    "p99.9": us("p99.9"),
    max: us("max"),
    mibPerSecond: perSecond.bytes / MIB,
    seconds: report.seconds,
    requests: report.requests,
    errors: report.errors,
    kicksPerRequest,
    callsPerRequest,
    waits,
    userSeconds: backEnd.userSeconds,
    systemSeconds: backEnd.systemSeconds,
    peakMemoryMib: backEnd.peakMemoryBytes / MIB,
  };
}

/** The same without any device, by fio's io_uring. */
export async function measureBare(
  options: readonly string[],
  { file }: Place,
  { warmUpSeconds, seconds }: Duration,
): Promise<Sample> {
  const json = await outputOf(
    ...["fio", "--name=bare", "--ioengine=io_uring", `--filename=${file}`],
    ...["--time_based", "--invalidate=0", "--norandommap"],
    ...[`--runtime=${seconds}`, "--output-format=json"],
    ...[`--ramp_time=${warmUpSeconds}`, ...options],
  );
  return bareSample(JSON.parse(json).jobs[0]);
}

/** What fio says of one job. */
interface FioJob {
  readonly usr_cpu: number;
  readonly sys_cpu: number;
  readonly job_runtime: number;
  readonly read: FioDirection;
  readonly write: FioDirection;
}

/** What it says of the reads, or of the writes. */
interface FioDirection {
  readonly iops: number;
  readonly bw_bytes: number;
  readonly total_ios: number;
  readonly clat_ns: {
    readonly max: number;
    readonly percentile: Readonly<Record<string, number>>;
  };
}

function bareSample({ read, write, ...job }: FioJob): Sample {
  const done = read.total_ios > 0 ? read : write;
  const { max, percentile } = done.clat_ns;
  const us = (share: string) => percentile[share]! / NS_PER_US;
  const seconds = job.job_runtime / MS_PER_S;
  const userSeconds = job.usr_cpu / 100 * seconds;
  const systemSeconds = job.sys_cpu / 100 * seconds;
  const rate = done.iops / PER_K;
  return {
    rate,
    cpuRate: rate / ((userSeconds + systemSeconds) / seconds),
    p50: us("50.000000"),
    p99: us("99.000000"),
    p90: us("90.000000"),
    "p99.9": us("99.900000"),
    max: max / NS_PER_US,
    mibPerSecond: done.bw_bytes / MIB,
    seconds,
    requests: done.total_ios,
    userSeconds,
    systemSeconds,
  };
}

/** In the network namespace of process `pid`, which need not be ours. */
async function listening(process: Running, path: string): Promise<void> {
  const list = `/proc/${process.pid}/net/unix`;
  for (let i = 0; i < LISTEN_ATTEMPTS && !process.hasEnded; i++) {
    const sockets = Deno.readTextFileSync(list).split("\n");
    if (sockets.some((line) => line.endsWith(` ${path}`))) return;
    await new Promise((resolve) => setTimeout(resolve, LISTEN_STEP_MS));
  }
  throw new Error(
    process.hasEnded
      ? "The program ended before it listened: try its command by hand"
      : `Nobody listens at ${path}`,
  );
}
