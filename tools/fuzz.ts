/**
 * `deno task fuzz`: tries random batches of a target for as long as it is told
 * to. See docs/fuzzing.md.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { UsageError } from "../src/errors.ts";
import { campaign, Finding } from "../tests/fuzz/campaign.ts";
import type { Target } from "../tests/fuzz/target.ts";
import { TARGETS, targetsOf } from "../tests/fuzz/targets.ts";

const USAGE = `Usage: deno task fuzz TARGET [options]

Targets: all, ${TARGETS.map(({ name }) => name).join(", ")};
a name without what follows its hyphen is all that begin with it

Options:
  --time SECONDS  how long; of several targets together (default 60)
  --runs N        batches of each target at most
  --seed N        begin with this seed (default: by chance)
  --path P        with the seed of a failure: only what failed
  --kind KIND     with ring or race: split or packed`;

const PROGRESS_MS = 10_000;
/** Seeds have 32 bits. */
const SEED_MAX = 2 ** 32 - 1;

interface Options {
  targets: readonly Target[];
  timeMs: number;
  runs: number;
  seed: number;
  path: string | undefined;
}

function numberOf(
  name: string,
  text: unknown,
  otherwise: number,
  most = Number.MAX_SAFE_INTEGER,
): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  const isWhole = text !== "" && Number.isInteger(value) && value >= 0;
  if (isWhole && value <= most) return value;
  throw new UsageError(
    `--${name} is ${text}, wanted a whole number to ${most}`,
  );
}

/** The path of a failure: numbers, as fast-check prints them. */
function pathOf(text: unknown): string | undefined {
  if (text === undefined || /^\d+(:\d+)*$/.test(String(text))) {
    return text as string | undefined;
  }
  throw new UsageError(
    `--path is "${text}", wanted what a failure printed, as 12:0:3`,
  );
}

const HELP = "deno task fuzz --help lists all";

/** What `args` ask for, or null for the help. */
function optionsOf(args: string[]): Options | null {
  const given = parseArgs(args, {
    string: ["time", "runs", "seed", "path", "kind"],
    boolean: ["help"],
    unknown: (_arg, key) => {
      if (key === undefined) return;
      throw new UsageError(`There is no option --${key}: ${HELP}`);
    },
  });
  if (given.help) return null;
  const kind = given.kind === undefined ? "" : `-${given.kind}`;
  const name = given._.map(String).join(" ") + kind;
  if (name === "") throw new UsageError(`There is no target: ${HELP}`);
  const targets = targetsOf(name);
  if (targets.length === 0) {
    throw new UsageError(`There is no target "${name}": ${HELP}`);
  }
  const random = crypto.getRandomValues(new Uint32Array(1))[0]!;
  return {
    targets,
    timeMs: 1000 * numberOf("time", given.time, 60) / targets.length,
    runs: numberOf("runs", given.runs, Infinity),
    seed: numberOf("seed", given.seed, random, SEED_MAX),
    path: pathOf(given.path),
  };
}

async function fuzz(target: Target, options: Options): Promise<void> {
  const { timeMs, runs, seed, path } = options;
  console.log(`${target.name}: seed ${seed}`);
  const start = performance.now();
  let said = start;
  const tally = await campaign(target, {
    seed,
    timeMs,
    runs,
    ...(path === undefined ? {} : { path }),
    progress: (tally, resident) => {
      if (performance.now() - said < PROGRESS_MS) return;
      said = performance.now();
      console.log(`${target.name}: ${tally}; ${resident >> 20} MiB`);
    },
  });
  const seconds = (performance.now() - start) / 1000;
  console.log(
    `${target.name}: nothing found in ${seconds.toFixed(0)} s: ${tally}; ` +
      `${Deno.memoryUsage().rss >> 20} MiB`,
  );
}

async function main(): Promise<number> {
  try {
    const options = optionsOf(Deno.args);
    if (options === null) {
      console.log(USAGE);
      return 0;
    }
    for (const target of options.targets) await fuzz(target, options);
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(error.message);
      return 2;
    }
    if (!(error instanceof Finding)) throw error;
    console.error(error.message);
    return 1;
  }
}

Deno.exit(await main());
