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
    const row = figures.getOrInsertComputed(shape!, () => new Map());
    row.getOrInsertComputed(name, () => []).push(Number(nanoseconds));
  }
}

/** Median, then the smallest and the largest. */
function spread(values: readonly number[] | undefined): string {
  if (values === undefined) return "-";
  const sorted = values.toSorted((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)]!;
  const digits = median < 1000 ? 1 : 0;
  const [middle, low, high] = [median, sorted[0]!, sorted.at(-1)!].map((
    value,
  ) => value.toFixed(digits));
  return `${middle} (${low}-${high})`;
}

function print(contenders: readonly Contender[], figures: Figures): void {
  const names = contenders.map(({ name }) => name);
  const row = (cells: readonly string[]) =>
    console.log(`| ${cells.join(" | ")} |`);
  row(["ns a chain", ...names]);
  row(["---", ...names.map(() => "---")]);
  for (const [shape, values] of figures) {
    row([shape, ...names.map((name) => spread(values.get(name)))]);
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
