/**
 * What all rounds of a work say.
 *
 * @module
 */
import { headOf, median, row, spread } from "../figures.ts";
import { isOurs } from "./contender.ts";
import type { Sample } from "./measure.ts";
import type { Bar, Figure, Work } from "./work.ts";

/** What the figures are called, and digits behind the point. */
export const FIGURES: Readonly<Record<Figure, readonly [string, number]>> = {
  rate: ["k a second", 0],
  p50: ["p50 us", 1],
  p99: ["p99 us", 1],
  cpuRate: ["k a CPU second", 0],
};
export const NAMES = Object.keys(FIGURES) as Figure[];

/** The samples of a work, by contender; ours first. */
export interface Result {
  readonly work: Work;
  readonly samples: ReadonlyMap<string, readonly Sample[]>;
}

/** A bar, and where one of ours stands. */
export interface Standing extends Bar {
  /** Whose bar it is, where a work has several. */
  readonly who: string | null;
  readonly ratio: number;
  readonly met: boolean;
}

function middle(samples: readonly Sample[], figure: Figure): number {
  return median(samples.map((sample) => sample[figure]));
}

/** The head of a table. */
export function head(): string {
  const cells = ["back-end", ...NAMES.map((name) => FIGURES[name][0])];
  return headOf(cells);
}

/** A line for each contender. */
export function lines({ samples }: Result): string[] {
  return [...samples].map(([name, all]) =>
    row([
      name,
      ...NAMES.map((figure) =>
        spread(all.map((sample) => sample[figure]), FIGURES[figure][1])
      ),
    ])
  );
}

function isRate(figure: Figure): boolean {
  return figure === "rate" || figure === "cpuRate";
}

/** Where `samples` stand beside the best of `others`. */
function standing(
  bar: Bar,
  who: string | null,
  samples: readonly Sample[],
  others: readonly (readonly Sample[])[],
): Standing {
  const { figure, wanted } = bar;
  const figures = others.map((all) => middle(all, figure));
  const best = isRate(figure) ? Math.max(...figures) : Math.min(...figures);
  const ratio = middle(samples, figure) / best;
  const met = isRate(figure) ? ratio >= wanted : ratio <= wanted;
  return { ...bar, who, ratio, met };
}

/** For each bar ours by the best of its peers, or the others by the first. */
export function standings({ work, samples }: Result): Standing[] {
  const [first, ...others] = [...samples];
  if (first === undefined || others.length === 0) return [];
  const [, ours] = first;
  if (work.against === "first") {
    return work.bars.flatMap((bar) =>
      others.map(([name, all]) => standing(bar, name, all, [ours]))
    );
  }
  // Another way to run ours is no peer.
  const peers = others.filter(([name]) => !isOurs({ name }));
  if (peers.length === 0) return [];
  const all = peers.map(([, samples]) => samples);
  return work.bars.map((bar) => standing(bar, null, ours, all));
}

/** The head of a table of {@linkcode standingLines}. */
export function standingHead(): string {
  const cells = ["work", "figure", "wanted", "is", ""];
  return headOf(cells);
}

/** A line for each bar. */
export function standingLines(result: Result): string[] {
  return standings(result).map(({ who, figure, wanted, ratio, met }) =>
    row([
      who === null ? result.work.name : `${result.work.name}: ${who}`,
      FIGURES[figure][0],
      `${isRate(figure) ? ">=" : "<="} ${wanted.toFixed(2)}`,
      ratio.toFixed(2),
      met ? "met" : "missed",
    ])
  );
}
