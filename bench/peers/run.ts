/**
 * `deno task bench:peers`: the same work through ringside and through its peers,
 * by `ringside bench`, in turn, round after round. Prints medians with their
 * spread, then the bars and where we stand; adds a line for each work to
 * bench/history.jsonl, and draws bench/results/. `--help` has the options. Peers
 * that are not installed are left out, and named.
 *
 * @module
 */
import { tool } from "../tool.ts";
import { contest, type Entrant, isReady, makeDisk } from "./contest.ts";
import { HISTORY, remember } from "./history.ts";
import { machine } from "./machine.ts";
import { measure, measureBare } from "./measure.ts";
import { lastOf } from "./past.ts";
import { fileName, pictures } from "./pictures/mod.ts";
import { listOf, type Plan, PLAN_HELP, planOf, worksNamed } from "./plan.ts";
import {
  head,
  lines,
  type Result,
  standingHead,
  standingLines,
} from "./result.ts";
import type { Work } from "./work.ts";

const USAGE = `Usage: deno task bench:peers [OPTION]... [WORD]...

The same work through ringside and through its peers, in turn, round after
round. With words, only works that have one of them in their name.

  --rounds=N    how often, 5 unless given
${PLAN_HELP}
  --reports=DIRECTORY
                keep the report of each run there, for ringside bench plot
  --dry         leave bench/history.jsonl and bench/results alone`;

const RESULTS = new URL("../results/", import.meta.url);

/** All contenders of `work`, in turn, on the disk in `directory`. */
async function compete(
  work: Work,
  directory: string,
  plan: Plan,
): Promise<Result> {
  const file = `${directory}/disk.img`;
  const place = { file, socketPath: `${directory}/0` };
  const reports = plan.reports ?? directory;
  const entrants: Entrant[] = work.contenders.map((contender) => ({
    name: contender.name,
    run: (round) => {
      const { name } = contender;
      const json = `${fileName(`${name} ${work.name} ${round}`)}.json`;
      return measure(contender, work, place, plan, `${reports}/${json}`);
    },
  }));
  const { bare } = work;
  if (bare !== undefined) {
    entrants.push({ name: "fio", run: () => measureBare(bare, place, plan) });
  }
  const isWarm = await isReady(file, work);
  return { work, samples: await contest(isWarm ? entrants : [], plan.rounds) };
}

async function run(plan: Plan, directory: string): Promise<void> {
  const { rounds, seconds, warmUpSeconds, isDry } = plan;
  const works = worksNamed(plan.words);
  if (plan.isList) return console.log(listOf(works));
  if (plan.reports !== undefined) {
    await Deno.mkdir(plan.reports, { recursive: true });
  }
  const about = { ...machine(), rounds, seconds, warmUpSeconds };
  const results: Result[] = [];
  await makeDisk(`${directory}/disk.img`);
  for (const work of works) {
    const result = await compete(work, directory, plan);
    if (result.samples.size === 0) continue;
    results.push(result);
    console.log(`\n${work.name}\n\n${head()}\n${lines(result).join("\n")}`);
    if (!isDry) await remember(work.name, about, result.samples);
  }
  const standings = results.flatMap(standingLines);
  if (standings.length > 0) {
    console.log(`\n${[standingHead(), ...standings].join("\n")}`);
  }
  if (!isDry) await draw();
}

/** Draws what is known of all works, those of earlier runs too. */
async function draw(): Promise<void> {
  await Deno.mkdir(RESULTS, { recursive: true });
  const history = lastOf(await Deno.readTextFile(HISTORY));
  for (const [name, picture] of pictures(history)) {
    await Deno.writeTextFile(new URL(name, RESULTS), picture);
  }
}

if (import.meta.main) {
  await tool(USAGE, (directory) => run(planOf(Deno.args), directory));
}
