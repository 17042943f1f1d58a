/**
 * What all rounds of a work say.
 *
 * @module
 */
import { median, row, spread } from "../figures.ts";
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

/** A bar, and where we stand. */
export interface Standing extends Bar {
  readonly ratio: number;
  readonly met: boolean;
}

function middle(samples: readonly Sample[], figure: Figure): number {
  return median(samples.map((sample) => sample[figure]));
}

/** The head of a table. */
export function head(): string {
  const cells = ["back-end", ...NAMES.map((name) => FIGURES[name][0])];
  return [row(cells), row(cells.map(() => "---"))].join("\n");
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

/** Ours by the best of the others, for each bar. */
export function standings({ work, samples }: Result): Standing[] {
  const [ours, ...others] = [...samples]
    // Another way to run ours is no peer.
    .filter(([name], i) => i === 0 || !isOurs({ name }))
    .map(([, all]) => all);
  if (ours === undefined || others.length === 0) return [];
  return work.bars.map((bar) => {
    const figures = others.map((all) => middle(all, bar.figure));
    const isRate = bar.figure === "rate" || bar.figure === "cpuRate";
    const best = isRate ? Math.max(...figures) : Math.min(...figures);
    const ratio = middle(ours, bar.figure) / best;
    const met = isRate ? ratio >= bar.wanted : ratio <= bar.wanted;
    return { ...bar, ratio, met };
  });
}

/** A line for each bar. */
export function standingLines(result: Result): string[] {
  return standings(result).map(({ figure, wanted, ratio, met }) =>
    row([
      result.work.name,
      FIGURES[figure][0],
      `${figure.startsWith("p") ? "<=" : ">="} ${wanted.toFixed(2)}`,
      ratio.toFixed(2),
      met ? "met" : "missed",
    ])
  );
}
