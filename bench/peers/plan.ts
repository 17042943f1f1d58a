/**
 * What is measured, and how long, as the command line says.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import type { Duration } from "./measure.ts";
import { type Work, WORKS } from "./work.ts";

/** How works are measured. */
export interface Plan extends Duration {
  readonly rounds: number;
  /** Where the report of each run is kept; else nowhere. */
  readonly reports: string | undefined;
  /** Leaves history and pictures alone. */
  readonly isDry: boolean;
  /** What is no option. */
  readonly words: readonly string[];
}

/** The plan that `args` make. */
export function planOf(args: string[]): Plan {
  const options = parseArgs(args, {
    boolean: ["dry"],
    string: ["rounds", "seconds", "warm-up", "reports"],
    default: { rounds: "5", seconds: "1", "warm-up": "1" },
  });
  return {
    rounds: Number(options.rounds),
    reports: options.reports as string | undefined,
    seconds: Number(options.seconds),
    warmUpSeconds: Number(options["warm-up"]),
    isDry: options.dry === true,
    words: options._.map(String),
  };
}

/** The works that have one of `words` in their name; without words, all. */
export function worksNamed(words: readonly string[]): Work[] {
  return WORKS.filter(({ name }) =>
    words.length === 0 || words.some((word) => name.includes(word))
  );
}
