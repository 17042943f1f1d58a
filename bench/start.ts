/**
 * `deno task bench:start`: how long programs take until they listen, and what
 * they hold then, round after round through all of them. Prints medians with
 * their spread. `--help` has the arguments.
 *
 * @module
 */
import {
  bundled,
  type Contender,
  several,
  starters,
} from "./start/contenders.ts";
import { bundle } from "../tools/bundle.ts";
import { headOf, median, row, spread } from "./figures.ts";
import { checkpoint } from "./interruption.ts";
import { named, whole } from "./peers/plan.ts";
import { MissingProgram } from "./programs.ts";
import { tool } from "./tool.ts";
import { UsageError } from "../src/errors.ts";
import { type Memory, Program } from "./start/program.ts";

const ROUNDS = 11;
const USAGE = `Usage: deno task bench:start [ROUNDS] [PART OF A NAME]

How long programs take to listen and what they hold then, ${ROUNDS} times unless
given; those with 16 devices a third as often. With a part of a name, only
programs that have it in theirs.`;

/** What is idle then has nothing more to load or to compile, milliseconds. */
const SETTLE_MS = 500;
/** And those threads of Deno's pool have ended that had no work for ten seconds. */
const SETTLE_MANY_MS = 13_000;
/** How long it is watched for wake-ups, milliseconds. */
const WATCH_MS = 3_000;
/** The devices of a process with many. */
const MANY = 16;
const DISK_SIZE = 64 << 20;
/** The heads of the tables. */
const CELLS = [
  "program",
  "ms to listening",
  "CPU ms",
  "RSS MiB",
  "peak",
  "PSS",
];
const MANY_CELLS = [...CELLS, "MiB a further device", "wake-ups a second"];

/** One start of a program. */
interface Sample {
  /** Until it accepted, or ended; milliseconds. */
  readonly wallMs: number;
  /** Processor time until then; of one that ends, nothing is known. */
  readonly cpuMs: number;
  readonly memory: Memory | null;
  /** By itself, a second. */
  readonly wakeUps: number;
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function start(
  contender: Contender,
  settleMs: number,
  watchMs: number,
): Promise<Sample> {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-start-" });
  try {
    Deno.writeFileSync(`${directory}/disk.img`, new Uint8Array());
    Deno.truncateSync(`${directory}/disk.img`, DISK_SIZE);
    const words = contender.command(directory);
    const sockets = contender.sockets(directory);
    await using program = new Program(words);
    if (sockets.length === 0) {
      const wallMs = await program.untilEnd();
      return { wallMs, cpuMs: NaN, memory: null, wakeUps: NaN };
    }
    const wallMs = program.untilListening(sockets);
    const { cpuMs } = program;
    await sleep(settleMs);
    const { memory, sleeps } = program;
    await sleep(watchMs);
    const wakeUps = since(sleeps, program.sleeps) / (watchMs / 1000);
    return { wallMs, cpuMs, memory, wakeUps };
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** What was counted since `before` of those that are still there. */
function since(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): number {
  let total = 0;
  for (const [thread, count] of after) {
    total += count - (before.get(thread) ?? count);
  }
  return total;
}

/** `rounds` starts of each, in turn; none of those that are not installed. */
async function measure(
  contenders: readonly Contender[],
  rounds: number,
  settleMs: number,
  watchMs: number,
): Promise<Sample[][]> {
  const samples = contenders.map((): Sample[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [i, contender] of contenders.entries()) {
      checkpoint();
      try {
        samples[i]!.push(await start(contender, settleMs, watchMs));
      } catch (error) {
        if (!(error instanceof MissingProgram)) throw error;
        if (round === 0) console.error(`Left out: ${error.message}`);
      }
    }
  }
  return samples;
}

function memoryOf(samples: readonly Sample[]): string[] {
  const memories = samples.flatMap(({ memory }) => memory ?? []);
  if (memories.length === 0) return ["", "", ""];
  return [
    spread(memories.map(({ resident }) => resident)),
    spread(memories.map(({ peak }) => peak)),
    spread(memories.map(({ proportional }) => proportional)),
  ];
}

async function printStarts(
  contenders: readonly Contender[],
  rounds: number,
): Promise<void> {
  const samples = await measure(contenders, rounds, SETTLE_MS, 0);
  console.log(headOf(CELLS));
  for (const [i, { name }] of contenders.entries()) {
    const of = samples[i]!;
    if (of.length === 0) continue;
    const cpu = of.map(({ cpuMs }) => cpuMs);
    console.log(row([
      name,
      spread(of.map(({ wallMs }) => wallMs)),
      Number.isNaN(cpu[0]) ? "" : spread(cpu),
      ...memoryOf(of),
    ]));
  }
}

async function printMany(
  several: (count: number) => Contender,
  rounds: number,
): Promise<void> {
  const contenders = [several(1), several(MANY)];
  const [one, many] = await measure(
    contenders,
    rounds,
    SETTLE_MANY_MS,
    WATCH_MS,
  );
  const further = (what: keyof Memory): string => {
    const of = (samples: readonly Sample[]) =>
      median(samples.map(({ memory }) => memory![what]));
    return ((of(many!) - of(one!)) / (MANY - 1)).toFixed(1);
  };
  console.log(row([
    contenders[1]!.name,
    spread(many!.map(({ wallMs }) => wallMs)),
    spread(many!.map(({ cpuMs }) => cpuMs)),
    ...memoryOf(many!),
    `${further("resident")} RSS, ${further("proportional")} PSS`,
    spread(many!.map(({ wakeUps }) => wakeUps), 1),
  ]));
}

async function run(args: string[], directory: string): Promise<void> {
  const [first = `${ROUNDS}`, only = "", ...more] = args;
  const rounds = whole("ROUNDS", first);
  if (more.length > 0) {
    throw new UsageError(`There is "${more[0]}" too much: see --help`);
  }
  const empty = `${directory}/empty.ts`;
  const main = `${directory}/bundle/main.js`;
  const many = [
    (count: number) => several(count, "inline"),
    (count: number) => several(count, "worker"),
    (count: number) => bundled(several(count, "worker"), main),
  ].map((of) => ({ name: of(MANY).name, of }));
  const alone = starters(empty, main);
  const names = named([...alone, ...many], [only]).map(({ name }) => name);
  Deno.writeTextFileSync(empty, "");
  await bundle(`${directory}/bundle`);
  const starting = alone.filter(({ name }) => names.includes(name));
  if (starting.length > 0) await printStarts(starting, rounds);
  const crowds = many.filter(({ name }) => names.includes(name));
  if (crowds.length === 0) return;
  console.log(`\n${headOf(MANY_CELLS)}`);
  for (const { of } of crowds) await printMany(of, Math.ceil(rounds / 3));
}

if (import.meta.main) {
  await tool(USAGE, (directory) => run(Deno.args, directory));
}
