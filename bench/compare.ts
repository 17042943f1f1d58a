/**
 * `deno task bench:compare`: two revisions of this repository do the works of
 * `bench:peers`, in turn, round after round, driven by the program of the
 * working tree. Prints medians with their spread, the ratio of the second to
 * the first, and whether it is more than the spread. `--help` has the options.
 *
 * @module
 */
import { contest, type Entrant, isReady, makeDisk } from "./peers/contest.ts";
import { isOurs, withMain } from "./peers/contender.ts";
import { measure } from "./peers/measure.ts";
import {
  listOf,
  type Plan,
  PLAN_HELP,
  planOf,
  worksNamed,
} from "./peers/plan.ts";
import type { Work } from "./peers/work.ts";
import { sidesOf, Tree } from "./compare/revision.ts";
import { verdictHead, verdictLines } from "./compare/verdict.ts";
import { tool } from "./tool.ts";

const USAGE =
  `Usage: deno task bench:compare REVISION [REVISION] [OPTION]... [WORD]...

Two revisions of ours at the works of bench:peers, in turn, round after round.
The second is "working tree" unless given. With words, only works that have one
of them in their name.

  --rounds=N    how often, 5 unless given
${PLAN_HELP}`;

/** One work, by each of ours from both trees: lines of a table. */
async function compare(
  work: Work,
  trees: readonly [Tree, Tree],
  directory: string,
  plan: Plan,
): Promise<string[]> {
  const file = `${directory}/disk.img`;
  const place = { file, socketPath: `${directory}/0` };
  if (!await isReady(file, work)) return [];
  const lines: string[] = [];
  for (const ours of work.contenders.filter(isOurs)) {
    const entrants = trees.map(({ name, main }): Entrant => {
      const contender = {
        ...ours,
        command: (at: typeof place) => withMain(ours.command(at), main),
      };
      const json = `${directory}/report.json`;
      const run = () => measure(contender, work, place, plan, json);
      return { name: `${ours.name}, ${name}`, run };
    });
    const samples = await contest(entrants, plan.rounds);
    const [before, after] = entrants.map(({ name }) => samples.get(name));
    if (before === undefined || after === undefined) continue;
    lines.push(...verdictLines(ours.name, before, after));
  }
  return lines;
}

async function run(plan: Plan, directory: string): Promise<void> {
  if (plan.isList) return console.log(listOf(worksNamed([])));
  const sides = await sidesOf(plan.words);
  const works = worksNamed(sides.words);
  await using before = await Tree.of(sides.before, directory);
  await using after = await Tree.of(sides.after, directory);
  await makeDisk(`${directory}/disk.img`);
  for (const work of works) {
    const lines = await compare(work, [before, after], directory, plan);
    if (lines.length === 0) continue;
    const table = [verdictHead(before.name, after.name), ...lines].join("\n");
    console.log(`\n${work.name}\n\n${table}`);
  }
}

if (import.meta.main) {
  await tool(USAGE, (directory) => run(planOf(Deno.args), directory));
}
