/**
 * What is measured, and how long, as the command line says.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { UsageError } from "../../src/errors.ts";
import type { Duration } from "./measure.ts";
import { type Work, WORKS } from "./work.ts";

/** So many names fit into a message. */
const NAMES_MAX = 12;

/** How works are measured. */
export interface Plan extends Duration {
  readonly rounds: number;
  /** Where the report of each run is kept; else nowhere. */
  readonly reports: string | undefined;
  /** Leaves history and pictures alone. */
  readonly isDry: boolean;
  /** Names the works, and does none. */
  readonly isList: boolean;
  /** What is no option. */
  readonly words: readonly string[];
}

/** What `--help` says of the options that all programs with a plan have. */
export const PLAN_HELP = `\
  --seconds=N   how long a run is, besides its warm-up
  --warm-up=N   seconds before each run, which are not measured
  --list        name the works and do none`;

/** The plan that `args` make; a run takes `seconds` unless they say so. */
export function planOf(args: string[], seconds = 1): Plan {
  const options = parseArgs(args, {
    boolean: ["dry", "list"],
    string: ["rounds", "seconds", "warm-up", "reports", "_"],
    default: { rounds: "5", seconds: `${seconds}`, "warm-up": "1" },
    unknown: unknownOption,
  });
  if (options.reports === "") {
    throw new UsageError("--reports names no directory: --reports=DIRECTORY");
  }
  return {
    rounds: whole("--rounds", options.rounds),
    reports: options.reports as string | undefined,
    seconds: whole("--seconds", options.seconds),
    warmUpSeconds: whole("--warm-up", options["warm-up"], 0),
    isDry: options.dry === true,
    isList: options.list === true,
    words: options._.map(String),
  };
}

/** For parseArgs: words are welcome, an option that there is not is refused. */
export function unknownOption(arg: string, key?: string): boolean {
  if (key === undefined) return true;
  throw new UsageError(`There is no option ${arg}: --help lists all`);
}

/** The number that `name` has in a command line, `least` or more. */
export function whole(name: string, text: unknown, least = 1): number {
  const value = Number(text);
  if (/^[0-9]+$/.test(`${text}`) && value >= least) return value;
  throw new UsageError(
    `${name} is "${text}", wanted a whole number, ${least} or more`,
  );
}

/**
 * Those of `works` that have one of `words` in their name; without words, all.
 * Throws a UsageError where a word is in no name.
 */
export function named<T extends { readonly name: string }>(
  works: readonly T[],
  words: readonly string[],
): T[] {
  for (const word of words) {
    if (works.some(({ name }) => name.includes(word))) continue;
    const names = works.length > NAMES_MAX
      ? "--list has all names"
      : `the names are ${works.map(({ name }) => `"${name}"`).join(", ")}`;
    throw new UsageError(`Nothing has "${word}" in its name: ${names}`);
  }
  return works.filter(({ name }) =>
    words.length === 0 || words.some((word) => name.includes(word))
  );
}

/** The works of `bench:peers` that `words` name. */
export function worksNamed(words: readonly string[]): Work[] {
  return named(WORKS, words);
}

/** A line for each of `works`. */
export function listOf(works: readonly { readonly name: string }[]): string {
  return works.map(({ name }) => name).join("\n");
}
