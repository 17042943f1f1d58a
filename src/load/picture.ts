/**
 * Latency percentiles of several runs in one picture, as SVG: to the right the
 * ever rarer requests, upwards how long they took, both on logarithmic scales.
 *
 * @module
 */
import type { Report } from "./report.ts";
import { colourOf, dashOf, document, escape, line, text } from "./svg.ts";
import { formatCount, formatTime } from "./units.ts";

const WIDTH = 880;
const LEFT = 76;
const RIGHT = 28;
const TOP = 64;
const PLOT_HEIGHT = 340;
const LEGEND_TOP = TOP + PLOT_HEIGHT + 68;
const LEGEND_ROW = 22;
const PLOT_WIDTH = WIDTH - LEFT - RIGHT;
/** Where the columns of the legend end. */
const COLUMNS = [
  ["requests/s", 480],
  ["p50", 572],
  ["p99", 664],
  ["p99.9", 756],
  ["max", 852],
] as const;
const LABEL_MAX = 44;
/** What the name of a percentile takes. */
const TICK_ROOM = 40;
/** Steps that are shorter than this many units can't be seen. */
const VISIBLE = 0.6;

/** Where things are. */
interface Scales {
  /** Nines that are shown: 3 is up to 99.9 %. */
  readonly nines: number;
  /** Powers of ten of nanoseconds, the lowest and the highest shown. */
  readonly low: number;
  readonly high: number;
}

/**
 * The picture of `reports`, which have latencies, under `title`. One SVG
 * document without anything from elsewhere.
 */
export function picture(reports: readonly Report[], title: string): string {
  const scales = scalesOf(reports);
  const height = LEGEND_TOP + LEGEND_ROW * (reports.length + 1);
  return document(WIDTH, height, title, [
    text(LEFT, 28, title, "title"),
    text(LEFT, 48, "latency by percentile of the requests", "head"),
    ...verticalGrid(scales),
    ...horizontalGrid(scales),
    ...reports.map((report, i) => curve(report, i, scales)),
    ...legend(reports),
  ]);
}

function scalesOf(reports: readonly Report[]): Scales {
  const latencies = reports.flatMap(({ latency }) => latency ?? []);
  const most = Math.max(10, ...latencies.map(({ count }) => count));
  const min = Math.min(...latencies.map(({ p50 }) => p50)) / 1.5;
  const max = Math.max(...latencies.map(({ max }) => max));
  // Rarer than one of all there is nothing.
  const nines = Math.min(7, Math.max(2, Math.log10(most)));
  const low = Math.floor(3 * Math.log10(Math.max(1, min))) / 3;
  const high = Math.ceil(3 * Math.log10(Math.max(2, max))) / 3;
  return { nines, low, high: Math.max(high, low + 1) };
}

/** Where the percentile is behind which a share `rest` of all lies. */
function x({ nines }: Scales, rest: number): number {
  const rarity = rest <= 0 ? nines : Math.min(nines, -Math.log10(rest));
  return LEFT + PLOT_WIDTH * rarity / nines;
}

/** Where a latency is. */
function y({ low, high }: Scales, nanoseconds: number): number {
  const power = Math.log10(Math.max(1, nanoseconds));
  const share = (Math.max(low, Math.min(high, power)) - low) / (high - low);
  return TOP + PLOT_HEIGHT * (1 - share);
}

function verticalGrid(scales: Scales): string[] {
  const lines: string[] = [];
  const bottom = TOP + PLOT_HEIGHT;
  const tick = (rest: number, name: string) => {
    const at = x(scales, rest);
    const room = LEFT + PLOT_WIDTH - at;
    lines.push(
      line(at, TOP, at, bottom, "grid"),
      text(at, bottom + 19, name, "head", room < TICK_ROOM ? "end" : "middle"),
    );
  };
  if (x(scales, 0.5) - LEFT > TICK_ROOM) tick(1, "0 %");
  tick(0.5, "50 %");
  for (let nines = 1; nines <= scales.nines + 1e-9; nines++) {
    const digits = Math.max(0, nines - 2);
    const name = (100 - 100 / 10 ** nines).toFixed(digits);
    tick(10 ** -nines, `${name} %`);
    for (const part of nines === 1 ? [2] : [5, 2]) {
      const at = x(scales, part * 10 ** -nines);
      lines.push(line(at, TOP, at, bottom, "fine"));
    }
  }
  lines.push(
    text(LEFT + PLOT_WIDTH, bottom + 40, "percentile", "head", "end"),
  );
  return lines;
}

function horizontalGrid(scales: Scales): string[] {
  const lines: string[] = [];
  const right = LEFT + PLOT_WIDTH;
  const isShort = scales.high - scales.low < 3;
  for (let power = Math.floor(scales.low); power <= scales.high; power++) {
    for (const part of [1, 2, 5]) {
      const value = part * 10 ** power;
      const log = Math.log10(value);
      if (log < scales.low - 1e-9 || log > scales.high + 1e-9) continue;
      const at = y(scales, value);
      lines.push(line(LEFT, at, right, at, part === 1 ? "grid" : "fine"));
      if (part !== 1 && !isShort) continue;
      const name = formatTime(value).replace(/\.0+ /, " ");
      lines.push(text(LEFT - 9, at + 4, name, "head", "end"));
    }
  }
  const bottom = TOP + PLOT_HEIGHT;
  lines.push(
    line(LEFT, TOP, LEFT, bottom, "axis"),
    line(LEFT, bottom, right, bottom, "axis"),
  );
  return lines;
}

/** The steps from one latency to the next, and a dot at each percentile told. */
function curve(report: Report, index: number, scales: Scales): string {
  const { latency } = report;
  if (latency === null) return "";
  const points: [number, number][] = [];
  let seen = 0;
  for (const [upTo, count] of latency.histogram) {
    const from = x(scales, 1 - seen / latency.count);
    seen += count;
    // The slowest of all is one of so many, and not one of endlessly many.
    const left = Math.max(1, latency.count - seen);
    const to = x(scales, left / latency.count);
    const at = y(scales, upTo);
    const [lastX, lastY] = points.at(-1) ?? [-1, -1];
    const isSeen = from - lastX >= VISIBLE || Math.abs(at - lastY) >= VISIBLE;
    if (isSeen) points.push([from, at]);
    if (to - from >= VISIBLE) points.push([to, at]);
  }
  points.push([x(scales, 1 / latency.count), y(scales, latency.max)]);
  const path = points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`);
  const colour = colourOf(index);
  const dots = ([["p50", 0.5], ["p99", 0.01], ["p99.9", 0.001]] as const)
    .filter(([, rest]) => rest * latency.count >= 1)
    .map(([name, rest]) =>
      `    <circle cx="${x(scales, rest).toFixed(1)}" ` +
      `cy="${y(scales, latency[name]).toFixed(1)}" r="3.2" fill="${colour}"/>`
    );
  return [
    "  <g>",
    `    <title>${escape(report.label)}</title>`,
    `    <polyline class="curve" stroke="${colour}"${dashOf(index)} ` +
    `points="${path.join(" ")}"/>`,
    ...dots,
    "  </g>",
  ].join("\n");
}

function legend(reports: readonly Report[]): string[] {
  const lines = COLUMNS.map(([name, at]) =>
    text(at, LEGEND_TOP, name, "head number")
  );
  for (const [i, { label, latency, perSecond }] of reports.entries()) {
    const at = LEGEND_TOP + LEGEND_ROW * (i + 1);
    const name = label.length > LABEL_MAX
      ? `${label.slice(0, LABEL_MAX - 1)}…`
      : label;
    const figures = latency === null ? [] : [
      formatCount(perSecond.requests),
      formatTime(latency.p50),
      formatTime(latency.p99),
      formatTime(latency["p99.9"]),
      formatTime(latency.max),
    ];
    lines.push(
      `  <line x1="${LEFT}" y1="${at - 4}" x2="${LEFT + 30}" y2="${at - 4}" ` +
        `class="curve" stroke="${colourOf(i)}"${dashOf(i)}/>`,
      text(LEFT + 40, at, name),
      ...figures.map((figure, k) => text(COLUMNS[k]![1], at, figure, "number")),
    );
  }
  return lines;
}
