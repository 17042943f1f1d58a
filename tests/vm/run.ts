/**
 * `deno task vm`: boots real guests on devices we serve and prints what they
 * see.
 *
 *     deno task vm [--back-end=ringside|qemu-storage-daemon] [--only=TEXT]
 *
 * fio runs 60 s in each variant, or `RINGSIDE_FIO_SECONDS`; the large file that
 * is sent each way has 1024 MiB, or `RINGSIDE_FILE_MIB`. The peer serves disks
 * only.
 *
 * @module
 */
import { canMakeNetns } from "../support/netns.ts";
import { type BackEndKind, ringside } from "./back_end.ts";
import { netScenarios, rngScenarios } from "./card_scenarios.ts";
import { findKernel, prepareBoot } from "./initramfs.ts";
import { backEndKind, missingTools, type Step } from "./scenario.ts";
import { scenariosOf } from "./scenarios.ts";
import { missingCardTools } from "./serving.ts";

const SIGNALS: Deno.Signal[] = ["SIGINT", "SIGTERM"];

function option(name: string, otherwise: string): string {
  const prefix = `--${name}=`;
  const found = Deno.args.find((arg) => arg.startsWith(prefix));
  return found?.slice(prefix.length) ?? otherwise;
}

/**
 * Makes the first SIGINT or SIGTERM end the run after the present step, with
 * everything stopped and removed; the second ends it at once.
 */
function watchSignals(): () => boolean {
  let interrupted = false;
  const note = () => {
    interrupted = true;
    console.error("Interrupted: cleaning up");
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, note);
  };
  for (const signal of SIGNALS) Deno.addSignalListener(signal, note);
  return () => interrupted;
}

/** A scenario with what it runs on. */
interface Show {
  name: string;
  run(step: Step): Promise<void>;
}

/** What there is to show of disks whose name has `only`. */
async function diskShows(kind: BackEndKind, only: string): Promise<Show[]> {
  const found = scenariosOf(kind, { thorough: true })
    .filter(({ name }) => name.includes(only));
  if (found.length === 0) return [];
  want(missingTools());
  const setup = {
    kind,
    boot: await prepareBoot("disk"),
    fioSeconds: Number(Deno.env.get("RINGSIDE_FIO_SECONDS") ?? 60),
  };
  return found.map(({ name, run }) => ({
    name,
    run: (step) => run(step, setup),
  }));
}

/** What there is to show of network cards and entropy devices. */
async function cardShows(only: string): Promise<Show[]> {
  const found = [...rngScenarios, ...netScenarios]
    .filter(({ name }) => name.includes(only));
  if (found.length === 0) return [];
  want(missingCardTools());
  canMakeNetns();
  const setup = {
    boot: await prepareBoot("card"),
    fileMebibytes: Number(Deno.env.get("RINGSIDE_FILE_MIB") ?? 1024),
    thorough: true,
  };
  return found.map(({ name, run }) => ({
    name,
    run: (step) => run(step, setup),
  }));
}

function want(missing: readonly string[]): void {
  if (missing.length === 0) return;
  throw new Error(
    `This machine lacks ${missing.join(", ")}: see tests/vm/README.md`,
  );
}

async function main(): Promise<number> {
  const kind = backEndKind(option("back-end", "ringside"));
  const only = option("only", "");
  const shows: Show[] = [];
  try {
    shows.push(...await diskShows(kind, only));
    // The peer has no others.
    if (kind === ringside) shows.push(...await cardShows(only));
  } catch (error) {
    console.error((error as Error).message);
    return 1;
  }
  console.log(`Guest kernel ${findKernel()?.release}, ${kind.name} serves`);
  let shown = 0;
  let failed = 0;
  const interrupted = watchSignals();
  const step: Step = async (name, body) => {
    if (interrupted()) throw new Error("Interrupted");
    const start = performance.now();
    const seconds = () => ((performance.now() - start) / 1000).toFixed(1);
    try {
      console.log(`  ok    ${name}: ${await body()} (${seconds()} s)`);
      shown++;
    } catch (error) {
      console.log(`  FAIL  ${name} (${seconds()} s)\n${error}`);
      failed++;
    }
  };
  for (const { name, run } of shows) {
    if (interrupted()) break;
    console.log(`\n${name}`);
    try {
      await run(step);
    } catch (error) {
      console.log(`  FAIL  ${error}`);
      failed++;
    }
  }
  console.log(`\n${shown} shown, ${failed} failed`);
  return failed > 0 || shown === 0 ? 1 : 0;
}

Deno.exit(await main());
