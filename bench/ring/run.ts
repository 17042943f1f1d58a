/**
 * `deno task bench:ring`: the rings alone, of both kinds, beside rust-vmm's
 * virtio-queue (which has split rings only), in turn, round after round. Prints
 * medians in nanoseconds a chain, with the spread. `--help` has the options.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { UsageError } from "../../src/errors.ts";
import { commitOf } from "../compare/revision.ts";
import { headOf, median, row, spread } from "../figures.ts";
import { checkpoint } from "../interruption.ts";
import { unknownOption, whole } from "../peers/plan.ts";
import { tool } from "../tool.ts";
import { checkOut, peer, ringsOf, withoutIommu } from "./contenders.ts";
import type { Contender } from "./contenders.ts";

const ROUNDS = 9;
const MILLISECONDS = 200;
const ROOT = new URL("../..", import.meta.url).pathname;
const USAGE = `Usage: deno task bench:ring [ROUNDS] [MILLISECONDS] [OPTION]

Rings alone, beside rust-vmm's virtio-queue, which cargo builds; ${ROUNDS} rounds
unless given, with ${MILLISECONDS} ms for each shape. Instead of the peer, one of these:

  --against=REVISION  the rings of another revision
  --without-iommu     those of this tree without what asks for an IOMMU`;

/** By shape and contender: the figures of all rounds. */
type Figures = Map<string, Map<string, number[]>>;

async function measure(
  { name, command }: Contender,
  milliseconds: number,
  figures: Figures,
): Promise<void> {
  const [program, ...args] = command;
  const { success, stdout } = await new Deno.Command(program!, {
    args: [...args, `${milliseconds}`],
    stderr: "inherit",
  }).output();
  if (!success) throw new Error(`${name} could not be measured`);
  for (const line of new TextDecoder().decode(stdout).trim().split("\n")) {
    const [shape, nanoseconds] = line.split("\t");
    const values = figures.getOrInsertComputed(shape!, () => new Map());
    values.getOrInsertComputed(name, () => []).push(Number(nanoseconds));
  }
}

/** Figures of a shape, with the digits that tell something. */
function cell(values: readonly number[] | undefined): string {
  return values === undefined
    ? "-"
    : spread(values, median(values) < 1000 ? 1 : 0);
}

function print(contenders: readonly Contender[], figures: Figures): void {
  const names = contenders.map(({ name }) => name);
  console.log(headOf(["ns a chain", ...names]));
  for (const [shape, values] of figures) {
    console.log(row([shape, ...names.map((name) => cell(values.get(name)))]));
  }
}

/** What a command line asks for. */
interface Contest {
  readonly rounds: number;
  readonly milliseconds: number;
  readonly against: string | undefined;
  readonly isWithoutIommu: boolean;
}

function contestOf(args: string[]): Contest {
  const options = parseArgs(args, {
    boolean: ["without-iommu"],
    string: ["against", "_"],
    unknown: unknownOption,
  });
  const [rounds = ROUNDS, milliseconds = MILLISECONDS, ...more] = options._;
  if (more.length > 0) {
    throw new UsageError(`There is "${more[0]}" too much: see --help`);
  }
  const isWithoutIommu = options["without-iommu"] === true;
  const against = options.against as string | undefined;
  if (isWithoutIommu && against !== undefined) {
    throw new UsageError(
      "--against and --without-iommu are two contests: give one of them",
    );
  }
  return {
    rounds: whole("ROUNDS", rounds),
    milliseconds: whole("MILLISECONDS", milliseconds),
    against,
    isWithoutIommu,
  };
}

async function contend(
  { against, isWithoutIommu }: Contest,
  folder: string,
): Promise<Contender[]> {
  const ours = ringsOf(ROOT, "");
  if (against !== undefined) {
    if (await commitOf(against) === null) {
      throw new UsageError(
        `--against is "${against}", which is no revision: name one, as HEAD`,
      );
    }
    await checkOut(against, folder);
    return [...ours, ...ringsOf(folder, `, ${against}`)];
  }
  if (isWithoutIommu) {
    await withoutIommu(folder);
    return [...ours, ...ringsOf(folder, ", no IOMMU hook")];
  }
  const other = await peer();
  if (other !== null) return [...ours, other];
  console.error("virtio-queue is left out: cargo could not build it");
  return ours;
}

async function run(contest: Contest, folder: string): Promise<void> {
  const contenders = await contend(contest, folder);
  const figures: Figures = new Map();
  for (let round = 0; round < contest.rounds; round++) {
    for (const contender of contenders) {
      checkpoint();
      await measure(contender, contest.milliseconds, figures);
    }
  }
  print(contenders, figures);
}

if (import.meta.main) {
  await tool(USAGE, (folder) => run(contestOf(Deno.args), folder));
}
