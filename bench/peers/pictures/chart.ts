/**
 * Series over a few places, side by side: medians joined by a line, with a band
 * from the lowest to the highest, and their figures below.
 *
 * @module
 */
import {
  colourOf,
  dashOf,
  document,
  escape,
  line,
  text,
} from "../../../src/load/svg.ts";

const WIDTH = 880;
const LEFT = 84;
const RIGHT = 28;
const TOP = 66;
const PLOT_HEIGHT = 300;
const PLOT_WIDTH = WIDTH - LEFT - RIGHT;
const BOTTOM = TOP + PLOT_HEIGHT;
const LEGEND_TOP = BOTTOM + 90;
const LEGEND_ROW = 22;
/** Where the figures of the legend begin and end. */
const FIGURES_FROM = 330;
const FIGURES_TO = WIDTH - RIGHT;
/** What is left free on either side of the places. */
const MARGIN = 0.04;
const GRID_LINES = 5;

/** The samples of one place: nothing where there are none. */
export interface Point {
  readonly low: number;
  readonly middle: number;
  readonly high: number;
}

/** A line of the chart. */
export interface Series {
  readonly name: string;
  /** By place. */
  readonly points: readonly (Point | null)[];
}

/** What is drawn. */
export interface Chart {
  readonly title: string;
  readonly subtitle: string;
  /** What the places are, and their names. */
  readonly across: string;
  readonly places: readonly string[];
  readonly series: readonly Series[];
  /** Upwards by powers, or else from 0. */
  readonly isLogarithmic: boolean;
  /** A value as people read it. */
  format(value: number): string;
}

/** From values to pixels. */
interface Scale {
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
}

/** The picture of `it`. */
export function chart(it: Chart): string {
  const scale = it.isLogarithmic ? powers(it) : fromZero(it);
  const height = LEGEND_TOP + LEGEND_ROW * it.series.length + 14;
  return document(WIDTH, height, it.title, [
    text(LEFT, 28, it.title, "title"),
    text(LEFT, 48, it.subtitle, "head"),
    ...grid(it, scale),
    ...it.series.map(({ points }, i) => band(it, scale, points, i)),
    ...it.series.map((series, i) => curve(it, scale, series, i)),
    ...legend(it),
  ]);
}

function pointsOf({ series }: Chart): Point[] {
  return series.flatMap(({ points }) =>
    points.filter((point) => point !== null)
  );
}

/** Whole steps of 1, 2 or 5, from 0. */
function fromZero(it: Chart): Scale {
  const most = Math.max(1, ...pointsOf(it).map(({ high }) => high));
  const raw = most / GRID_LINES;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((part) => part * power >= raw)!;
  const count = Math.ceil(most / step);
  const ticks = Array.from({ length: count + 1 }, (_, i) => i * step);
  return { low: 0, high: count * step, ticks };
}

/** From one of 1, 2 and 5 times a power of ten to another. */
function powers(it: Chart): Scale {
  const points = pointsOf(it);
  const least = Math.max(1, Math.min(...points.map(({ low }) => low)));
  const most = Math.max(10, ...points.map(({ high }) => high));
  const all: number[] = [];
  for (let power = 1; power < 1e13; power *= 10) {
    all.push(power, 2 * power, 5 * power);
  }
  const first = all.findLastIndex((tick) => tick <= least);
  const last = all.findIndex((tick) => tick >= most);
  const ticks = all.slice(first, last + 1);
  return {
    low: Math.log10(ticks[0]!),
    high: Math.log10(ticks.at(-1)!),
    ticks,
  };
}

function x({ places }: Chart, index: number): number {
  const share = places.length === 1 ? 0.5 : index / (places.length - 1);
  return LEFT + PLOT_WIDTH * (MARGIN + (1 - 2 * MARGIN) * share);
}

function y({ isLogarithmic }: Chart, { low, high }: Scale, value: number) {
  const at = isLogarithmic ? Math.log10(Math.max(1, value)) : value;
  return BOTTOM - PLOT_HEIGHT * (at - low) / (high - low);
}

/** `1.50 k` as `1.5 k`. */
function roundly(figure: string): string {
  return figure.replace(/\.0+ /, " ").replace(/(\.[0-9]*[1-9])0+ /, "$1 ");
}

function grid(it: Chart, scale: Scale): string[] {
  const right = LEFT + PLOT_WIDTH;
  const lines = scale.ticks.flatMap((tick) => {
    const at = y(it, scale, tick);
    return [
      line(LEFT, at, right, at, "grid"),
      text(LEFT - 9, at + 4, roundly(it.format(tick)), "head", "end"),
    ];
  });
  for (const [i, place] of it.places.entries()) {
    const at = x(it, i);
    lines.push(
      line(at, TOP, at, BOTTOM, "fine"),
      text(at, BOTTOM + 19, place, "head", "middle"),
    );
  }
  return [
    ...lines,
    line(LEFT, TOP, LEFT, BOTTOM, "axis"),
    line(LEFT, BOTTOM, right, BOTTOM, "axis"),
    text(right, BOTTOM + 38, it.across, "head", "end"),
  ];
}

/** Pixels of a value at each place where there is one. */
function outline(
  it: Chart,
  scale: Scale,
  points: readonly (Point | null)[],
  which: keyof Point,
): string[] {
  return points.flatMap((point, i) =>
    point === null
      ? []
      : `${x(it, i).toFixed(1)},${y(it, scale, point[which]).toFixed(1)}`
  );
}

function band(
  it: Chart,
  scale: Scale,
  points: readonly (Point | null)[],
  index: number,
): string {
  const around = [
    ...outline(it, scale, points, "high"),
    ...outline(it, scale, points, "low").reverse(),
  ];
  return `  <polygon points="${around.join(" ")}" fill="${colourOf(index)}" ` +
    `fill-opacity=".15"/>`;
}

function curve(
  it: Chart,
  scale: Scale,
  { name, points }: Series,
  index: number,
): string {
  const path = outline(it, scale, points, "middle");
  const colour = colourOf(index);
  const dots = path.map((at) => at.split(",")).map(([cx, cy]) =>
    `    <circle cx="${cx}" cy="${cy}" r="3.2" fill="${colour}"/>`
  );
  return [
    "  <g>",
    `    <title>${escape(name)}</title>`,
    `    <polyline class="curve" stroke="${colour}"${dashOf(index)} ` +
    `points="${path.join(" ")}"/>`,
    ...dots,
    "  </g>",
  ].join("\n");
}

/** The names of the series, with their medians. */
function legend(it: Chart): string[] {
  const step = (FIGURES_TO - FIGURES_FROM) / it.places.length;
  const column = (index: number) => FIGURES_FROM + step * (index + 1);
  const lines = it.places.map((place, i) =>
    text(column(i), LEGEND_TOP - LEGEND_ROW, place, "head number")
  );
  for (const [i, { name, points }] of it.series.entries()) {
    const at = LEGEND_TOP + LEGEND_ROW * i;
    lines.push(
      `  <line x1="${LEFT - 40}" y1="${at - 4}" x2="${LEFT - 10}" ` +
        `y2="${at - 4}" class="curve" stroke="${colourOf(i)}"${dashOf(i)}/>`,
      text(LEFT, at, name),
      ...points.map((point, k) =>
        text(
          column(k),
          at,
          point === null ? "" : it.format(point.middle),
          "number",
        )
      ),
    );
  }
  return lines;
}
