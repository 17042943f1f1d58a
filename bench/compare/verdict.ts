/**
 * What two sides of a work say: the ratio, and whether it is more than chance.
 *
 * @module
 */
import { headOf, median, row, spread } from "../figures.ts";
import type { Sample } from "../peers/measure.ts";
import { FIGURES, NAMES } from "../peers/result.ts";

/**
 * How far two series of samples are apart: `all` where every one of one side is
 * beyond all of the other, `halves` where that holds for the middle halves, so
 * that a few runs that were disturbed say nothing, else `none`; `unknown` where
 * there are too few of them.
 */
export type Apart = "all" | "halves" | "none" | "unknown";

/** Of fewer samples of each side, chance sets all apart too often. */
const SAMPLES_MIN = 3;

/** How `after` compares with `before`. */
export interface Verdict {
  /** Of the medians: `after` by `before`. */
  readonly ratio: number;
  readonly apart: Apart;
}

/** The ratio of the medians, and how sure it is. */
export function verdict(
  before: readonly number[],
  after: readonly number[],
): Verdict {
  const ratio = median(after) / median(before);
  if (Math.min(before.length, after.length) < SAMPLES_MIN) {
    return { ratio, apart: "unknown" };
  }
  if (areApart(before, after)) return { ratio, apart: "all" };
  const halves = areApart(middleHalf(before), middleHalf(after));
  return { ratio, apart: halves ? "halves" : "none" };
}

/** Whether no value of one lies within the other. */
function areApart(one: readonly number[], other: readonly number[]): boolean {
  return Math.max(...one) < Math.min(...other) ||
    Math.max(...other) < Math.min(...one);
}

/** Without the lowest and the highest quarter. */
function middleHalf(values: readonly number[]): number[] {
  const sorted = values.toSorted((a, b) => a - b);
  const cut = Math.floor(sorted.length / 4);
  return sorted.slice(cut, sorted.length - cut);
}

const WORDS: Readonly<Record<Apart, string>> = {
  all: "beyond the spread",
  halves: "beyond the middle halves",
  none: "within the spread",
  unknown: "too few rounds to tell",
};

/** The head of a table of {@linkcode verdictLines}. */
export function verdictHead(before: string, after: string): string {
  const cells = ["back-end", "figure", before, after, "ratio", "difference"];
  return headOf(cells);
}

/** A line for each figure of one contender. */
export function verdictLines(
  name: string,
  before: readonly Sample[],
  after: readonly Sample[],
): string[] {
  return NAMES.map((figure) => {
    const [title, digits] = FIGURES[figure];
    const [was, is] = [before, after].map((samples) =>
      samples.map((sample) => sample[figure])
    ) as [number[], number[]];
    const { ratio, apart } = verdict(was, is);
    const cells = [spread(was, digits), spread(is, digits), ratio.toFixed(3)];
    return row([name, title, ...cells, WORDS[apart]]);
  });
}
