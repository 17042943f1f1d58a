/**
 * The pictures of bench/results, of what the history has last of each work.
 *
 * @module
 */
import { formatCount, formatTime } from "../../../src/load/units.ts";
import { median } from "../../figures.ts";
import type { Past } from "../past.ts";
import { bars } from "./bars.ts";
import { chart, type Point, type Series } from "./chart.ts";

const NS_PER_US = 1000;
const PER_K = 1000;
/** The figures of a sample that are percentiles, as they are told. */
const PERCENTILES = [
  ["p50", "50 %"],
  ["p90", "90 %"],
  ["p99", "99 %"],
  ["p99.9", "99.9 %"],
  ["max", "all"],
] as const;
const SPREAD = "medians of all rounds, with the lowest and the highest";

/** `text` as the name of a file. */
export function fileName(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9]+/g, "-").toLowerCase();
}

/** The pictures that `history` makes, by the name of their files. */
export function pictures(history: readonly Past[]): Map<string, string> {
  const all = new Map<string, string>();
  const rated = history.filter(({ samples }) => has(samples, "cpuRate"));
  for (const past of rated) {
    const name = fileName(past.work);
    all.set(`${name}.svg`, bars(past));
    if (has(past.samples, "p90")) {
      all.set(`${name}-latency.svg`, percentiles(past));
    }
  }
  for (const [family, works] of families(rated)) {
    if (works.size > 1) {
      all.set(`${fileName(family)}-depths.svg`, depths(family, works));
    }
  }
  const queued = rated.filter(({ work }) => work.startsWith("queues, "));
  if (queued.length > 0) all.set("queues-cost.svg", queues(queued));
  return all;
}

/** Whether every sample has `figure`. */
function has(samples: Past["samples"], figure: string): boolean {
  const all = Object.values(samples).flat();
  return all.length > 0 && all.every((sample) => sample[figure] !== undefined);
}

function pointOf(values: readonly number[]): Point | null {
  if (values.length === 0) return null;
  return {
    low: Math.min(...values),
    middle: median(values),
    high: Math.max(...values),
  };
}

/** Latencies of a work, by percentile. */
function percentiles({ work, samples }: Past): string {
  const series = Object.entries(samples)
    .filter(([, all]) => all.every((sample) => sample.p50! > 0))
    .map(([name, all]): Series => ({
      name,
      points: PERCENTILES.map(([figure]) =>
        pointOf(all.map((sample) => sample[figure]! * NS_PER_US))
      ),
    }));
  return chart({
    title: work,
    subtitle: `latency within which so many requests came back; ${SPREAD}`,
    across: "requests",
    places: PERCENTILES.map(([, name]) => name),
    series,
    isLogarithmic: true,
    format: formatTime,
  });
}

/** Works that differ in their depth alone: by what they share, by depth. */
function families(history: readonly Past[]): Map<string, Map<number, Past>> {
  const all = new Map<string, Map<number, Past>>();
  for (const past of history) {
    const match = /^(.*), depth ([0-9]+), (event|polled)$/.exec(past.work);
    if (match === null) continue;
    const [, name, depth, driver] = match;
    const works = all.getOrInsertComputed(
      `${name}, ${driver}`,
      () => new Map(),
    );
    works.set(Number(depth), past);
  }
  return all;
}

/** Rates of a family of works. */
function depths(family: string, works: ReadonlyMap<number, Past>): string {
  const places = [...works.keys()].sort((a, b) => a - b);
  const names = new Set(
    [...works.values()].flatMap(({ samples }) => Object.keys(samples)),
  );
  const series = [...names].map((name): Series => ({
    name,
    points: places.map((depth) =>
      pointOf((works.get(depth)!.samples[name] ?? [])
        .map((sample) => sample.rate! * PER_K))
    ),
  }));
  return chart({
    title: family,
    subtitle: `requests a second; ${SPREAD}`,
    across: "requests in flight",
    places: places.map(String),
    series,
    isLogarithmic: false,
    format: formatCount,
  });
}

/** What a request costs the back-end on more and more rings. */
function queues(history: readonly Past[]): string {
  const [first] = history;
  const counts = Object.keys(first!.samples)
    .map((name) => /([0-9]+) queues?$/.exec(name)?.[1] ?? "?");
  const series = history.map(({ work, samples }): Series => ({
    name: work.replace(/^queues, /, "").replace(/, 4 KiB reads, depth \d+/, ""),
    points: Object.values(samples).map((all) =>
      pointOf(all.map((sample) => 1e9 / (sample.cpuRate! * PER_K)))
    ),
  }));
  return chart({
    title: "Queues, each on a worker of its own: 4 KiB reads",
    subtitle: `processor time of the back-end for a request; ${SPREAD}`,
    across: "queues",
    places: counts,
    series,
    isLogarithmic: false,
    format: formatTime,
  });
}
