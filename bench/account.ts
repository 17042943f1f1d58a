/**
 * `deno task bench:account`: what one request costs our back-end. Does a work of
 * `bench:peers` three times: alone, for the processor time; under strace, for
 * the system calls; under perf, for where the time goes. The last two take time
 * of their own, so only the proportions of what they say are of use. Without
 * strace or perf, what they would say is left out. `--help` has the options.
 *
 * @module
 */
import { callsOf } from "./account/calls.ts";
import { perf, strace } from "./account/watch.ts";
import { headOf, row } from "./figures.ts";
import { checkpoint } from "./interruption.ts";
import { outputOf } from "./programs.ts";
import { tool } from "./tool.ts";
import { UsageError } from "../src/errors.ts";
import type { Contender, Place } from "./peers/contender.ts";
import { isReady, makeDisk } from "./peers/contest.ts";
import { measure, type Sample, type Watch } from "./peers/measure.ts";
import {
  listOf,
  type Plan,
  PLAN_HELP,
  planOf,
  worksNamed,
} from "./peers/plan.ts";
import type { Work } from "./peers/work.ts";

const USAGE = `Usage: deno task bench:account [OPTION]... WORD...

What a request costs our back-end: the first work of bench:peers that has one of
the words in its name, alone, under strace and under perf.

${PLAN_HELP}`;

const NS_PER_S = 1e9;
/** Fewer calls a request than this say nothing. */
const CALLS_MIN = 0.005;
/** Lines of what perf says. */
const HOTTEST = 30;

/** Runs `work`, each time with what looks at it. */
type Run = (contender: Contender, watch: Watch | null) => Promise<Sample>;

function printTimes(sample: Sample): void {
  const { requests, userSeconds, systemSeconds } = sample;
  const ns = (seconds: number) => (seconds / requests! * NS_PER_S).toFixed(0);
  console.log(headOf(["a request", ""]));
  console.log(row(["ns, user", ns(userSeconds!)]));
  console.log(row(["ns, system", ns(systemSeconds!)]));
  console.log(row(["ns between two", ns(sample.seconds!)]));
  console.log(row(["kicks", sample.kicksPerRequest!.toFixed(4)]));
  console.log(row(["calls", sample.callsPerRequest!.toFixed(4)]));
}

async function printCalls(run: Run, ours: Contender, file: string) {
  const { requests } = await run(ours, strace(file));
  console.log(`\n${headOf(["system call", "a request"])}`);
  for (const [name, count] of callsOf(await Deno.readTextFile(file))) {
    const each = count / requests!;
    if (each < CALLS_MIN) break;
    console.log(row([name, each.toFixed(4)]));
  }
}

/**
 * `contender` with the names of its compiled functions where perf finds them.
 * What V8 writes besides goes to `directory`.
 */
function named(contender: Contender, directory: string): Contender {
  const flag = `--v8-flags=--perf-basic-prof,--logfile=${directory}/v8.log`;
  return {
    ...contender,
    command: (place) =>
      contender.command(place).flatMap((word) =>
        word === "run" ? [word, flag] : [word]
      ),
  };
}

async function printHottest(run: Run, ours: Contender, directory: string) {
  const file = `${directory}/perf.data`;
  let map = "";
  let report: string;
  try {
    await run(named(ours, directory), (pid) => {
      map = `/tmp/perf-${pid}.map`;
      return perf(file)(pid);
    });
    report = await outputOf(
      ...["perf", "report", "--stdio", "-i", file, "--sort", "dso,symbol"],
    );
  } finally {
    await Deno.remove(map).catch(() => {});
  }
  const lines = report.split("\n")
    .filter((line) => /^\s*[0-9]/.test(line))
    .map((line) => line.replace(/[-\s]*$/, ""));
  console.log(`\n${lines.slice(0, HOTTEST).join("\n")}`);
}

async function account(
  work: Work,
  plan: Plan,
  place: Place,
  directory: string,
) {
  const json = `${directory}/report.json`;
  const ours = work.contenders[0]!;
  const run: Run = (contender, watch) => {
    // What is looked at is all that there is.
    const warmUpSeconds = watch === null ? plan.warmUpSeconds : 0;
    const duration = { ...plan, warmUpSeconds };
    return measure(contender, work, place, duration, json, watch);
  };
  console.log(`\n${work.name}, ${ours.name}\n`);
  printTimes(await run(ours, null));
  await orLeftOut(() => printCalls(run, ours, `${directory}/strace`));
  await orLeftOut(() => printHottest(run, ours, directory));
}

/** Does `part`; where that fails, says why, and that is all. */
async function orLeftOut(part: () => Promise<void>): Promise<void> {
  checkpoint();
  try {
    await part();
  } catch (error) {
    checkpoint();
    console.error(`\nLeft out: ${(error as Error).message.trim()}`);
  }
}

async function main(directory: string): Promise<void> {
  const plan = planOf(Deno.args);
  if (plan.isList) return console.log(listOf(worksNamed([])));
  if (plan.words.length === 0) {
    throw new UsageError(
      "There is no work: give a word of its name, or --list",
    );
  }
  const [work] = worksNamed(plan.words);
  const file = `${directory}/disk.img`;
  await makeDisk(file);
  if (!await isReady(file, work!)) return;
  await account(work!, plan, { file, socketPath: `${directory}/0` }, directory);
}

if (import.meta.main) await tool(USAGE, main);
