/**
 * What a measurement has to tell.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import type { Histogram } from "./histogram.ts";
import type { LoadResult } from "./load.ts";
import type { ProcessUsage } from "./process_meter.ts";

/** The version of the shape of reports. */
export const REPORT_VERSION = 1;

/** The percentiles that are told, by the names of their fields. */
export const PERCENTILES = [
  ["p50", 0.5],
  ["p90", 0.9],
  ["p99", 0.99],
  ["p99.9", 0.999],
] as const;

/** A percentile by name. */
export type PercentileName = typeof PERCENTILES[number][0];

/** Latencies, nanoseconds. */
export interface LatencyReport
  extends Readonly<Record<PercentileName, number>> {
  /** How many there are. */
  readonly count: number;
  /** The smallest. */
  readonly min: number;
  /** The mean. */
  readonly mean: number;
  /** The largest. */
  readonly max: number;
  /** All of them: the largest of each bucket, and how many are in it. */
  readonly histogram: readonly (readonly [upTo: number, count: number])[];
}

/** One measurement; as JSON, docs/bench_report.schema.json describes it. */
export interface Report {
  /** {@linkcode REPORT_VERSION}. */
  readonly reportVersion: number;
  /** What was measured, in a few words. */
  readonly label: string;
  /** The device. */
  readonly device: string;
  /** When it was measured, ISO 8601. */
  readonly date: string;
  /** What was asked for, and what was agreed on. */
  readonly settings: Readonly<Record<string, string | number | boolean>>;
  /** From the first request to the last answer. */
  readonly seconds: number;
  /** Requests that came back, or frames. */
  readonly requests: number;
  /** Those of them that failed. */
  readonly errors: number;
  /** What they were, and other counts of the device. */
  readonly counts: Readonly<Record<string, number>>;
  /** Payload. */
  readonly bytes: number;
  /** Requests that came back well, and their payload. */
  readonly perSecond: { readonly requests: number; readonly bytes: number };
  /** Null where nothing was asked that could be answered late. */
  readonly latency: LatencyReport | null;
  /** Kicks sent, calls received, and how often the driver slept. */
  readonly notifications: {
    readonly kicks: number;
    readonly calls: number;
    readonly waits: number;
    readonly kicksPerRequest: number;
    readonly callsPerRequest: number;
  };
  /** What the back-end spent, where that was asked for. */
  readonly backEnd: (ProcessUsage & { requestsPerCpuSecond: number }) | null;
  /** What is wrong, in lines. */
  readonly complaints: readonly string[];
}

/** What of a report is known before the run. */
export type ReportHead = Pick<Report, "label" | "device" | "date" | "settings">;

/** The report of a run. */
export function reportOf(
  head: ReportHead,
  result: LoadResult,
  usage: ProcessUsage | null,
): Report {
  const { requests, errors, bytes, kicks, calls, waits } = result;
  const seconds = result.milliseconds / 1000;
  const rate = (count: number) => seconds > 0 ? count / seconds : 0;
  const each = (count: number) => requests > 0 ? count / requests : 0;
  const cpu = usage === null ? 0 : usage.userSeconds + usage.systemSeconds;
  return {
    reportVersion: REPORT_VERSION,
    ...head,
    seconds,
    requests,
    errors,
    counts: result.counts,
    bytes,
    perSecond: { requests: rate(requests - errors), bytes: rate(bytes) },
    latency: result.latency === null || result.latency.count === 0
      ? null
      : latencyOf(result.latency),
    notifications: {
      kicks,
      calls,
      waits,
      kicksPerRequest: each(kicks),
      callsPerRequest: each(calls),
    },
    backEnd: usage && {
      ...usage,
      requestsPerCpuSecond: cpu > 0 ? requests / cpu : 0,
    },
    complaints: result.complaints,
  };
}

function latencyOf(histogram: Histogram): LatencyReport {
  const { count, min, mean, max } = histogram;
  const [p50, p90, p99, p999] = PERCENTILES.map(([, share]) =>
    histogram.percentile(share)
  );
  return {
    count,
    min,
    mean,
    p50: p50!,
    p90: p90!,
    p99: p99!,
    "p99.9": p999!,
    max,
    histogram: histogram.entries(),
  };
}

/** The report in the file at `path`, which holds `text`. Throws a UsageError. */
export function parseReport(path: string, text: string): Report {
  let report: Partial<Report> | null;
  try {
    report = JSON.parse(text) as Partial<Report> | null;
  } catch {
    report = null;
  }
  if (report?.reportVersion !== REPORT_VERSION) {
    throw new UsageError(
      `${path} is no report of ringside bench, wanted what --json wrote: ` +
        "name another file",
    );
  }
  const wrong = wrongPart(report);
  if (wrong === null) return report as Report;
  throw new UsageError(
    `${path} is a report of ringside bench, but its ${wrong} is not what ` +
      "--json wrote: name another file, or measure again",
  );
}

/** Of what a picture needs, the first part that is missing or wrong, or null. */
function wrongPart(report: Partial<Report>): string | null {
  const { label, perSecond, latency } = report;
  if (typeof label !== "string") return "label";
  if (!isAmount(perSecond?.requests)) return "perSecond";
  if (latency === null) return null;
  if (typeof latency !== "object" || !(latency.count > 0)) return "latency";
  const names = ["count", ...PERCENTILES.map(([name]) => name), "max"] as const;
  for (const name of names) {
    if (!isAmount(latency[name])) return `latency.${name}`;
  }
  const { histogram } = latency;
  const isSound = Array.isArray(histogram) &&
    histogram.every((pair) =>
      Array.isArray(pair) && pair.length === 2 && pair.every(isAmount)
    );
  return isSound ? null : "latency.histogram";
}

function isAmount(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value < Infinity;
}
