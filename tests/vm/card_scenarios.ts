/**
 * The scenarios of network cards and entropy devices, for the tests and for
 * `deno task vm` alike.
 *
 * @module
 */
import type { BootFiles } from "./initramfs.ts";
import { iommuScenario } from "./iommu_scenario.ts";
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
  /** Whether its outcome hardly differs from that of another: for later. */
  later: boolean;
  /** Shows it, step by step. */
  run(step: Step, setup: CardSetup): Promise<void>;
}

const PLANES = ["inline", "worker"];

type Run = (step: Step, setup: NetSetup) => Promise<void>;

function forPlanes(name: string, run: Run): CardScenario[] {
  return PLANES.map((plane) => ({
    name: `${name} (${plane})`,
    later: false,
    run: (step, setup) => run(step, { ...setup, plane }),
  }));
}

/** One that takes long. `shown` is the plane that is shown where time is short. */
function long(name: string, run: Run, shown: string): CardScenario[] {
  return PLANES.map((plane) => ({
    name: `${name} (${plane})`,
    later: plane !== shown,
    run: (step, setup) => run(step, { ...setup, plane }),
  }));
}

/**
 * The same on packed rings. `shown` is the plane whose scenario is run where
 * time is short; "" for none.
 */
function packed(name: string, run: Run, shown: string): CardScenario[] {
  return PLANES.map((plane) => ({
    name: `${name} on packed rings (${plane})`,
    later: plane !== shown,
    run: (step, setup) => {
      const boot = { ...setup.boot, packed: true };
      return run(step, { ...setup, boot, plane });
    },
  }));
}

const numbers: Run = (step, { boot, plane, thorough }) =>
  rngScenario(step, {
    boot,
    plane,
    mebibytes: thorough || plane === "inline" ? 8 : 1,
  });

/** Those of entropy devices. */
export const rngScenarios: readonly CardScenario[] = [
  ...forPlanes("Random numbers", numbers),
  ...packed("Random numbers", numbers, "worker"),
];

/** Those of network cards. */
export const netScenarios: readonly CardScenario[] = [
  ...forPlanes("Cards on TAP interfaces", netScenario),
  ...forPlanes("Two guests on a switch", netSwitchScenario),
  ...forPlanes("A card through thick and thin", netLifeScenario),
  ...long("A disk and a card behind an IOMMU", iommuScenario, "worker"),
  ...packed("A disk and a card behind an IOMMU", iommuScenario, ""),
  ...packed("Cards on TAP interfaces", netScenario, "inline"),
  ...packed("Two guests on a switch", netSwitchScenario, ""),
  ...packed("A card through thick and thin", netLifeScenario, ""),
];
