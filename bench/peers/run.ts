/**
 * `deno task bench:peers`: the same work through ringside and through its peers,
 * by `ringside bench`, in turn, round after round. Prints medians with their
 * spread, then the bars and where we stand; adds a line for each work to
 * bench/history.jsonl, and draws bench/results/.
 *
 *     run.ts [--rounds=5] [--seconds=1] [--warm-up=1] [--reports=DIRECTORY] [--dry]
 *            [WORDS]...
 *
 * With a directory, keeps there the report of each run, for `ringside bench plot`.
 * With words, only works that have one of them in their name. A dry run leaves
 * history and pictures alone. Peers that are not installed are left out, and
 * named.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { machine } from "./machine.ts";
import { type Duration, measure, measureBare, type Sample } from "./measure.ts";
import { fileName, picture } from "./picture.ts";
import { head, lines, type Result, standingLines } from "./result.ts";
import { type Work, WORKS } from "./work.ts";

const HISTORY = new URL("../history.jsonl", import.meta.url);
const RESULTS = new URL("../results/", import.meta.url);
const DISK_MIB = 512;

/** A file whose bytes are not 0, and are in the page cache. */
async function makeDisk(file: string): Promise<void> {
  const bytes = new Uint8Array(1 << 20).fill(0x5a);
  using image = await Deno.open(file, { create: true, write: true });
  for (let i = 0; i < DISK_MIB; i++) await image.write(bytes);
  await image.syncData();
}

/** How a work is measured. */
interface Plan extends Duration {
  readonly rounds: number;
  /** Where reports are kept. */
  readonly reports: string;
}

/** All contenders of `work`, in turn; those that fail are named, and left out. */
async function compete(
  work: Work,
  directory: string,
  { rounds, reports, ...duration }: Plan,
): Promise<Result> {
  const file = `${directory}/disk.img`;
  const place = { file, socketPath: `${directory}/0` };
  const runs = work.contenders.map((contender) => ({
    name: contender.name,
    run: (json: string) => measure(contender, work, place, duration, json),
  }));
  const { bare } = work;
  if (bare !== undefined) {
    runs.push({ name: "fio", run: () => measureBare(bare, place, duration) });
  }
  const samples = new Map(
    runs.map(({ name }): [string, Sample[]] => [name, []]),
  );
  // Whatever else the machine did, it is in the page cache now.
  await Deno.readFile(file);
  for (let round = 0; round < rounds; round++) {
    for (const { name, run } of runs) {
      if (!samples.has(name)) continue;
      try {
        const json = `${fileName(`${name} ${work.name} ${round}`)}.json`;
        samples.get(name)!.push(await run(`${reports}/${json}`));
      } catch (error) {
        console.error(`${name} is left out: ${(error as Error).message}`);
        samples.delete(name);
      }
    }
  }
  return { work, samples };
}

async function remember(result: Result, about: unknown): Promise<void> {
  const samples = Object.fromEntries(result.samples);
  const line = {
    date: new Date().toISOString(),
    about,
    work: result.work.name,
  };
  await Deno.writeTextFile(
    HISTORY,
    `${JSON.stringify({ ...line, samples })}\n`,
    { append: true },
  );
}

if (import.meta.main) {
  const options = parseArgs(Deno.args, {
    boolean: ["dry"],
    string: ["rounds", "seconds", "warm-up", "reports"],
    default: { rounds: "5", seconds: "1", "warm-up": "1" },
  });
  const words = options._.map(String);
  const works = WORKS.filter(({ name }) =>
    words.length === 0 || words.some((word) => name.includes(word))
  );
  const directory = await Deno.makeTempDir({ prefix: "ringside-bench-" });
  const plan = {
    rounds: Number(options.rounds),
    reports: String(options.reports ?? directory),
    seconds: Number(options.seconds),
    warmUpSeconds: Number(options["warm-up"]),
  };
  const about = machine();
  await Deno.mkdir(plan.reports, { recursive: true });
  const results: Result[] = [];
  try {
    await makeDisk(`${directory}/disk.img`);
    for (const work of works) {
      const result = await compete(work, directory, plan);
      results.push(result);
      console.log(`\n${work.name}\n\n${head()}\n${lines(result).join("\n")}`);
      if (!options.dry) await remember(result, about);
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
  console.log(
    "\n| work | figure | wanted | is |  |\n| --- | --- | --- | --- | --- |",
  );
  console.log(results.flatMap(standingLines).join("\n"));
  if (!options.dry) await picture(RESULTS, results);
}
