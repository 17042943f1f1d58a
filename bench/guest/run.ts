/**
 * `deno task bench:guest`: TCP between a guest and the host over a card that
 * ringside serves, beside QEMU's own card on the same kind of TAP interface,
 * round after round. Prints medians with their spread, then the bars and where
 * we stand; adds a line for each work to bench/history.jsonl. `--help` has the
 * options. It takes root, and what tests/vm/README.md names.
 *
 * @module
 */
import { prepareBoot } from "../../tests/vm/initramfs.ts";
import { missingCardTools } from "../../tests/vm/serving.ts";
import { headOf, median, row, spread } from "../figures.ts";
import { checkpoint } from "../interruption.ts";
import { remember } from "../peers/history.ts";
import { machine } from "../peers/machine.ts";
import { listOf, named, type Plan, PLAN_HELP, planOf } from "../peers/plan.ts";
import { standingHead } from "../peers/result.ts";
import { needRoot } from "../programs.ts";
import { tool } from "../tool.ts";
import { Rig, type Server } from "./rig.ts";
import { type GuestSample, type GuestWork, measure, WORKS } from "./work.ts";

/** How long a run is, unless the command line says so: TCP has to find its way. */
const SECONDS = 3;

const USAGE = `Usage: deno task bench:guest [OPTION]... [WORD]...

TCP between a guest and the host over a card of ours and over QEMU's own, in
turn, round after round. With words, only works that have one of them in their
name. It takes root, and what tests/vm/README.md names.

  --rounds=N    how often, 5 unless given
${PLAN_HELP}
  --dry         leave bench/history.jsonl alone`;

/** Ours is the first. */
const SERVERS: readonly Server[] = [
  { name: "ringside", isOurs: true },
  { name: "QEMU", isOurs: false },
];

type Samples = ReadonlyMap<string, readonly GuestSample[]>;

/** All rigs at `work`, in turn. */
async function compete(
  work: GuestWork,
  rigs: readonly Rig[],
  { rounds, seconds, warmUpSeconds }: Plan,
): Promise<Samples> {
  const samples = new Map(
    rigs.map(({ server }): [string, GuestSample[]] => [server.name, []]),
  );
  for (const rig of warmUpSeconds > 0 ? rigs : []) {
    await measure(work, rig, warmUpSeconds);
  }
  for (let round = 0; round < rounds; round++) {
    for (const rig of rigs) {
      checkpoint();
      const sample = await measure(work, rig, seconds);
      samples.get(rig.server.name)!.push(sample);
    }
  }
  return samples;
}

function table({ unit: [unit, digits] }: GuestWork, samples: Samples): string {
  const head = ["card of", unit, "processors of QEMU", "of the back-end"];
  const lines = [...samples].map(([name, all]) =>
    row([
      name,
      spread(all.map(({ result }) => result), digits),
      spread(all.map(({ qemu }) => qemu), 2),
      spread(all.map(({ backEnd }) => backEnd), 2),
    ])
  );
  return [headOf(head), ...lines].join("\n");
}

/** Where we stand, if anything is wanted. */
function standing(work: GuestWork, samples: Samples): string[] {
  const { name, unit: [unit], wanted } = work;
  if (wanted === null) return [];
  const [ours, theirs] = [...samples.values()].map((all) =>
    median(all.map(({ result }) => result))
  );
  const ratio = ours! / theirs!;
  const met = ratio >= wanted ? "met" : "missed";
  const is = ratio.toFixed(2);
  return [row([name, unit, `>= ${wanted.toFixed(2)}`, is, met])];
}

async function run(
  works: readonly GuestWork[],
  plan: Plan,
  rigs: readonly Rig[],
): Promise<void> {
  const { rounds, seconds, warmUpSeconds } = plan;
  const about = { ...machine(), rounds, seconds, warmUpSeconds };
  const standings: string[] = [];
  for (const rig of rigs) {
    console.log(`${rig.server.name}: ${await rig.features()}`);
  }
  for (const work of works) {
    const { name } = work;
    const samples = await compete(work, rigs, plan);
    console.log(`\n${name}\n\n${table(work, samples)}`);
    standings.push(...standing(work, samples));
    if (!plan.isDry) await remember(`guest: ${name}`, about, samples);
  }
  if (standings.length === 0) return;
  console.log(`\n${[standingHead(), ...standings].join("\n")}`);
}

async function main(): Promise<void> {
  const plan = planOf(Deno.args, SECONDS);
  const works = named(WORKS, plan.words);
  if (plan.isList) return console.log(listOf(works));
  const missing = missingCardTools();
  if (missing.length > 0) {
    const names = missing.join(", ");
    throw new Error(
      `There is no ${names}: tests/vm/README.md has the packages`,
    );
  }
  needRoot();
  const boot = await prepareBoot("card");
  await using stack = new AsyncDisposableStack();
  const rigs: Rig[] = [];
  for (const server of SERVERS) {
    checkpoint();
    rigs.push(stack.use(await Rig.set(server, boot)));
  }
  await run(works, plan, rigs);
}

if (import.meta.main) await tool(USAGE, main);
