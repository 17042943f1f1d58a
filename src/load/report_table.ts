/**
 * A report for a terminal.
 *
 * @module
 */
import { PERCENTILES, type Report } from "./report.ts";
import { formatBytes, formatCount, formatShare, formatTime } from "./units.ts";

/** Settings from here on are sizes. */
const BYTES = 1 << 16;

/** The lines of `report`: names to the left, figures to the right. */
export function reportTable(report: Report): string[] {
  const rows = [
    ...resultRows(report),
    ...latencyRows(report),
    ...notificationRows(report),
    ...backEndRows(report),
  ];
  const width = rows.reduce((most, [name]) => Math.max(most, name.length), 0);
  return [
    `${report.label}: ${describe(report)}`,
    "",
    ...rows.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`),
  ];
}

/** What only who repeats a run wants to know: the JSON has it. */
const UNTOLD = ["seed", "warmUp"];

/** The settings in one line. */
function describe({ settings }: Report): string {
  return Object.entries(settings)
    .filter(([name, value]) => value !== false && !UNTOLD.includes(name))
    .map(([name, value]) => value === true ? name : `${name} ${shown(value)}`)
    .join(", ");
}

/** Large numbers are bytes. */
function shown(value: string | number | boolean): string {
  return typeof value === "number" && value >= BYTES
    ? formatBytes(value)
    : String(value);
}

type Row = [name: string, text: string];

function resultRows(report: Report): Row[] {
  const { requests, errors, seconds, perSecond, counts } = report;
  const failed = errors === 0 ? "" : `, ${errors} of them failed`;
  const what = report.device === "net" ? "frames" : "requests";
  const rows: Row[] = [
    [what, `${requests} in ${seconds.toFixed(2)} s${failed}`],
    [`${what}/s`, formatCount(perSecond.requests)],
    ["throughput", `${formatBytes(perSecond.bytes)}/s`],
  ];
  const told = Object.entries(counts).filter(([, count]) => count > 0);
  if (told.length > 1) {
    rows.push([
      "of which",
      told.map(([name, count]) => `${name} ${count}`).join(", "),
    ]);
  }
  return rows;
}

function latencyRows({ latency }: Report): Row[] {
  if (latency === null) return [];
  return [
    ...PERCENTILES.map(([name]): Row => [
      `latency ${name}`,
      formatTime(latency[name]),
    ]),
    ["latency max", formatTime(latency.max)],
  ];
}

function notificationRows({ notifications }: Report): Row[] {
  const { kicks, calls, waits, kicksPerRequest, callsPerRequest } =
    notifications;
  return [
    ["kicks sent", `${kicks} (${formatShare(kicksPerRequest)} a request)`],
    ["calls received", `${calls} (${formatShare(callsPerRequest)} a request)`],
    ["driver slept", `${waits} times`],
  ];
}

function backEndRows({ backEnd }: Report): Row[] {
  if (backEnd === null) return [];
  const { userSeconds, systemSeconds, peakMemoryBytes } = backEnd;
  const since = backEnd.peakIsOfRun ? "" : ", since it started";
  return [
    [
      "back-end CPU",
      `${userSeconds.toFixed(2)} s user, ${systemSeconds.toFixed(2)} s system` +
      ` (${formatCount(backEnd.requestsPerCpuSecond)} requests a second of it)`,
    ],
    ["back-end memory", `${formatBytes(peakMemoryBytes)} at most${since}`],
  ];
}
