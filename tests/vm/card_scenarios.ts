/**
 * The scenarios of network cards and entropy devices, for the tests and for
 * `deno task vm` alike.
 *
 * @module
 */
import type { BootFiles } from "./initramfs.ts";
import { netLifeScenario } from "./net_life_scenario.ts";
import { netScenario, type NetSetup } from "./net_scenario.ts";
import { netSwitchScenario } from "./net_switch_scenario.ts";
import { rngScenario } from "./rng_scenario.ts";
import type { Step } from "./scenario.ts";

/** What they run on. */
export interface CardSetup {
  /** What the guests boot from. */
  boot: BootFiles;
  /** The size of the large file that is sent each way, in MiB. */
  fileMebibytes: number;
  /** Whether each plane shows all of it; else what one shows for both is left out. */
  thorough: boolean;
}

/** A scenario with its name. */
export interface CardScenario {
  /** What it is about. */
  name: string;
  /** Shows it, step by step. */
  run(step: Step, setup: CardSetup): Promise<void>;
}

const PLANES = ["inline", "worker"];

function forPlanes(
  name: string,
  run: (step: Step, setup: NetSetup) => Promise<void>,
): CardScenario[] {
  return PLANES.map((plane) => ({
    name: `${name} (${plane})`,
    run: (step, setup) => run(step, { ...setup, plane }),
  }));
}

/** Those of entropy devices. */
export const rngScenarios: readonly CardScenario[] = forPlanes(
  "Random numbers",
  (step, { boot, plane, thorough }) =>
    rngScenario(step, {
      boot,
      plane,
      mebibytes: thorough || plane === "inline" ? 8 : 1,
    }),
);

/** Those of network cards. */
export const netScenarios: readonly CardScenario[] = [
  ...forPlanes("Cards on TAP interfaces", netScenario),
  ...forPlanes("Two guests on a switch", netSwitchScenario),
  ...forPlanes("A card through thick and thin", netLifeScenario),
];
