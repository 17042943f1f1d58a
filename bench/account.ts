/**
 * `deno task bench:account`: what one request costs our back-end. Does a work of
 * `bench:peers` three times: alone, for the processor time; under strace, for
 * the system calls; under perf, for where the time goes. The last two take time
 * of their own, so only the proportions of what they say are of use.
 *
 *     account.ts [--seconds=2] [--warm-up=1] WORDS
 *
 * The first work that has one of the words in its name, by the first of its
 * contenders. Without strace or perf, what they would say is left out.
 *
 * @module
 */
import { callsOf } from "./account/calls.ts";
import { isInstalled, perf, strace } from "./account/watch.ts";
import { row } from "./figures.ts";
import type { Contender, Place } from "./peers/contender.ts";
import { makeDisk, warm } from "./peers/contest.ts";
import { measure, type Sample, type Watch } from "./peers/measure.ts";
import { type Plan, planOf, worksNamed } from "./peers/plan.ts";
import type { Work } from "./peers/work.ts";

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
  console.log(row(["a request", ""]));
  console.log(row(["---", "---"]));
  console.log(row(["ns, user", ns(userSeconds!)]));
  console.log(row(["ns, system", ns(systemSeconds!)]));
  console.log(row(["ns between two", ns(sample.seconds!)]));
  console.log(row(["kicks", sample.kicksPerRequest!.toFixed(4)]));
  console.log(row(["calls", sample.callsPerRequest!.toFixed(4)]));
}

async function printCalls(run: Run, ours: Contender, file: string) {
  if (!isInstalled("strace")) return console.error("There is no strace");
  const { requests } = await run(ours, strace(file));
  console.log(`\n${row(["system call", "a request"])}`);
  console.log(row(["---", "---"]));
  for (const [name, count] of callsOf(await Deno.readTextFile(file))) {
    const each = count / requests!;
    if (each < CALLS_MIN) break;
    console.log(row([name, each.toFixed(4)]));
  }
}

/** `contender` with the names of its compiled functions where perf finds them. */
function named(contender: Contender): Contender {
  const flag = "--v8-flags=--perf-basic-prof";
  return {
    ...contender,
    command: (place) =>
      contender.command(place).flatMap((word) =>
        word === "run" ? [word, flag] : [word]
      ),
  };
}

async function printHottest(run: Run, ours: Contender, file: string) {
  if (!isInstalled("perf")) return console.error("There is no perf");
  let map = "";
  await run(named(ours), (pid) => {
    map = `/tmp/perf-${pid}.map`;
    return perf(file)(pid);
  });
  const { stdout } = await new Deno.Command("perf", {
    args: ["report", "--stdio", "-i", file, "--sort", "dso,symbol"],
    stderr: "null",
  }).output();
  await Deno.remove(map).catch(() => {});
  const lines = new TextDecoder().decode(stdout).split("\n")
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
  await printCalls(run, ours, `${directory}/strace`);
  await printHottest(run, ours, `${directory}/perf.data`);
}

if (import.meta.main) {
  const plan = planOf(Deno.args);
  const [work] = worksNamed(plan.words);
  if (work === undefined || plan.words.length === 0) {
    console.error("There is no such work: say words that its name has");
    Deno.exit(2);
  }
  const directory = await Deno.makeTempDir({ prefix: "ringside-account-" });
  try {
    const file = `${directory}/disk.img`;
    await makeDisk(file);
    await warm(file, work.inPages);
    const place = { file, socketPath: `${directory}/0` };
    await account(work, plan, place, directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
