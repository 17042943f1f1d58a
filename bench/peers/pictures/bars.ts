/**
 * Bars of what all contenders of a work did, with their spread.
 *
 * @module
 */
import { colourOf, document, line, text } from "../../../src/load/svg.ts";
import { formatCount } from "../../../src/load/units.ts";
import { median } from "../../figures.ts";
import type { Past } from "../past.ts";

const WIDTH = 880;
const LABEL = 210;
const TOP = 70;
const BAR = 16;
const ROW = 26;
const TICK = 4;
/** The panels: what they show, and where they are. */
const PANELS = [
  ["rate", "a second", 218],
  ["cpuRate", "a CPU second of the back-end", 560],
] as const;
const PANEL_WIDTH = 220;
const FIGURE_GAP = 10;
const PER_K = 1000;

/** The picture of one work. */
export function bars({ work, samples }: Past): string {
  const names = Object.keys(samples);
  const height = TOP + ROW * names.length + 12;
  const parts = [text(24, 30, work, "title")];
  for (const [i, name] of names.entries()) {
    parts.push(text(LABEL, TOP + ROW * i + 13, name, "", "end"));
  }
  for (const [figure, title, left] of PANELS) {
    parts.push(text(left, TOP - 14, title, "head"));
    const all = names.map((name) =>
      samples[name]!.map((sample) => sample[figure]!)
    );
    const scale = PANEL_WIDTH / Math.max(1, ...all.flat());
    for (const [i, values] of all.entries()) {
      parts.push(...bar(values, left, TOP + ROW * i, scale, i));
    }
    parts.push(line(left, TOP - 4, left, height - 12, "axis"));
  }
  return document(WIDTH, height, work, parts);
}

/** One bar, from `left` to the median, with a line from lowest to highest. */
function bar(
  values: readonly number[],
  left: number,
  top: number,
  scale: number,
  index: number,
): string[] {
  const middle = median(values);
  const from = left + Math.min(...values) * scale;
  const to = left + Math.max(...values) * scale;
  const centre = top + BAR / 2;
  const end = Math.max(to, left + middle * scale) + FIGURE_GAP;
  return [
    `  <rect x="${left}" y="${top}" width="${(middle * scale).toFixed(1)}" ` +
    `height="${BAR}" fill="${colourOf(index)}" fill-opacity=".75"/>`,
    line(from, centre, to, centre, "axis"),
    line(from, centre - TICK, from, centre + TICK, "axis"),
    line(to, centre - TICK, to, centre + TICK, "axis"),
    text(end, centre + 5, formatCount(middle * PER_K)),
  ];
}
