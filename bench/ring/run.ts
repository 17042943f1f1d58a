/**
 * `deno task bench:ring`: the rings alone, of both kinds, beside rust-vmm's
 * virtio-queue (which has split rings only), in turn, round after round. Prints
 * medians in nanoseconds a chain, with the spread.
 *
 *     run.ts [ROUNDS] [MILLISECONDS] [--against=REVISION] [--without-iommu]
 *
 * With a revision, its rings too; or those of this tree without what asks
 * whether the ring is behind an IOMMU. Either way no peer.
 *
 * @module
 */
import { median, row, spread } from "../figures.ts";
import { checkOut, peer, ringsOf, withoutIommu } from "./contenders.ts";
import type { Contender } from "./contenders.ts";

const ROUNDS = 9;
const MILLISECONDS = 200;
const ROOT = new URL("../..", import.meta.url).pathname;

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
  console.log(row(["ns a chain", ...names]));
  console.log(row(["---", ...names.map(() => "---")]));
  for (const [shape, values] of figures) {
    console.log(row([shape, ...names.map((name) => cell(values.get(name)))]));
  }
}

async function contend(folder: string): Promise<Contender[]> {
  const ours = ringsOf(ROOT, "");
  const flags = Deno.args.filter((arg) => arg.startsWith("--"));
  for (const flag of flags) {
    const [key, revision] = flag.split("=");
    if (key === "--against" && revision) await checkOut(revision, folder);
    else if (flag === "--without-iommu") await withoutIommu(folder);
    else throw new Error(`${flag} is no option: --help is the head of run.ts`);
    return [...ours, ...ringsOf(folder, `, ${revision ?? "no IOMMU hook"}`)];
  }
  const other = await peer();
  if (other !== null) return [...ours, other];
  console.error("No virtio-queue: cargo could not build it");
  return ours;
}

if (import.meta.main) {
  const [rounds, milliseconds] = Deno.args
    .filter((arg) => !arg.startsWith("--")).map(Number);
  const folder = await Deno.makeTempDir({ prefix: "ringside-ring-" });
  try {
    const contenders = await contend(folder);
    const figures: Figures = new Map();
    for (let round = 0; round < (rounds ?? ROUNDS); round++) {
      for (const contender of contenders) {
        await measure(contender, milliseconds ?? MILLISECONDS, figures);
      }
    }
    print(contenders, figures);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
