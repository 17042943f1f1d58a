/**
 * `deno task vm`: boots real guests on devices we serve and prints what they
 * see.
 *
 *     deno task vm [--list] [--only=TEXT] [--seconds=N] [--file-mib=N]
 *                  [--moves=N] [--back-end=ringside|qemu-storage-daemon]
 *
 * `--list` names the scenarios, `--only` runs those that have the text in their
 * names. fio runs 60 s in each, back-ends are killed for twice as long; the
 * large file that is sent each way has 1024 MiB; a guest is moved 20 times. The
 * peer serves disks only.
 *
 * @module
 */
import { canMakeNetns } from "../support/netns.ts";
import { type BackEndKind, ringside } from "./back_end.ts";
import { netScenarios, rngScenarios } from "./card_scenarios.ts";
import { findKernel, prepareBoot } from "./initramfs.ts";
import { migrationScenario } from "./migration_scenario.ts";
import { describeRings } from "./ring_kind.ts";
import { backEndKind, missingTools, type Step } from "./scenario.ts";
import { scenariosOf } from "./scenarios.ts";
import { missingCardTools } from "./serving.ts";

const SIGNALS: Deno.Signal[] = ["SIGINT", "SIGTERM"];

const OPTIONS = ["only", "seconds", "file-mib", "moves", "back-end"];

/** Refuses what is no option, which would else be another run than was meant. */
function checkArguments(): void {
  for (const arg of Deno.args) {
    const name = /^--([a-z-]+)=/.exec(arg)?.[1];
    if (arg === "--list" || OPTIONS.includes(name!)) continue;
    const known = OPTIONS.map((each) => `--${each}=`).join(", ");
    throw new Error(`No option ${arg}, wanted --list, ${known}`);
  }
}

function option(name: string, otherwise: string): string {
  const prefix = `--${name}=`;
  const found = Deno.args.find((arg) => arg.startsWith(prefix));
  return found?.slice(prefix.length) ?? otherwise;
}

/** The number of an option; of the environment, where a test has it from. */
function count(name: string, variable: string, otherwise: number): number {
  const text = option(name, Deno.env.get(variable) ?? String(otherwise));
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`--${name} is ${text}, wanted a whole number above 0`);
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

/** What there is to show of disks. */
function diskShows(kind: BackEndKind): Show[] {
  const fioSeconds = count("seconds", "RINGSIDE_FIO_SECONDS", 60);
  return scenariosOf(kind, { thorough: true }).map(({ name, run }) => ({
    name,
    run: async (step) => {
      want(missingTools());
      await run(step, { kind, boot: await prepareBoot("disk"), fioSeconds });
    },
  }));
}

/** What there is to show of guests that are moved. */
function moveShows(): Show[] {
  const moves = count("moves", "RINGSIDE_MOVES", 20);
  return [false, true].map((packed) => ({
    name: `A guest that is moved, ${describeRings(packed)} rings`,
    run: async (step) => {
      want([...missingTools(), ...missingCardTools()]);
      canMakeNetns();
      await migrationScenario(step, await prepareBoot("both"), {
        count: moves,
        packedDisk: packed,
        packedCard: packed,
      });
    },
  }));
}

/** What there is to show of network cards and entropy devices. */
function cardShows(): Show[] {
  const fileMebibytes = count("file-mib", "RINGSIDE_FILE_MIB", 1024);
  const extent = { thorough: true };
  const all = [...rngScenarios(extent), ...netScenarios(extent)];
  return all.map(({ name, run }) => ({
    name,
    run: async (step) => {
      want(missingCardTools());
      canMakeNetns();
      const boot = await prepareBoot("card");
      await run(step, { boot, fileMebibytes });
    },
  }));
}

/** All there is to show of `kind`. */
function allShows(kind: BackEndKind): Show[] {
  // The peer has disks only, and can't be moved from.
  const others = kind === ringside ? [...moveShows(), ...cardShows()] : [];
  return [...diskShows(kind), ...others];
}

function want(missing: readonly string[]): void {
  if (missing.length === 0) return;
  throw new Error(
    `This machine lacks ${missing.join(", ")}: see tests/vm/README.md`,
  );
}

async function main(): Promise<number> {
  let kind: BackEndKind;
  let shows: Show[];
  try {
    checkArguments();
    kind = backEndKind(option("back-end", "ringside"));
    const only = option("only", "");
    shows = allShows(kind).filter(({ name }) => name.includes(only));
  } catch (error) {
    console.error((error as Error).message);
    return 1;
  }
  if (Deno.args.includes("--list")) {
    for (const { name } of shows) console.log(name);
    return 0;
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
