/**
 * The scenarios of network cards and entropy devices, for the tests and for
 * `deno task vm` alike.
 *
 * @module
 */
import type { BootFiles } from "./initramfs.ts";
import { iommuScenario } from "./iommu_scenario.ts";
import { netLifeScenario } from "./net_life_scenario.ts";
import { netScenario } from "./net_scenario.ts";
import { describeKind, type NetSetup, type ServedKind } from "./net_setup.ts";
import { netSwitchScenario } from "./net_switch_scenario.ts";
import { rngScenario } from "./rng_scenario.ts";
import type { Step } from "./scenario.ts";

/** What they run on. */
export interface CardSetup {
  /** What the guests boot from. */
  boot: BootFiles;
  /** The size of the large file that is sent each way, in MiB. */
  fileMebibytes: number;
}

/** A scenario with its name. */
export interface CardScenario {
  /** What it is about. */
  name: string;
  /** Shows it, step by step. */
  run(step: Step, setup: CardSetup): Promise<void>;
}

/** Which scenarios are wanted. */
export interface Extent {
  /** All of each kind, on guests of its own; else a guest has several kinds. */
  thorough: boolean;
}

type Run = (step: Step, setup: NetSetup) => Promise<void>;

const INLINE: ServedKind = { plane: "inline", packed: false };
const WORKER: ServedKind = { plane: "worker", packed: false };
const PACKED_INLINE: ServedKind = { plane: "inline", packed: true };
const PACKED_WORKER: ServedKind = { plane: "worker", packed: true };
const ALL = [INLINE, WORKER, PACKED_INLINE, PACKED_WORKER];

/** `run` for each kind; where time is short, once for `some`. */
function scenarios(
  name: string,
  run: Run,
  some: readonly ServedKind[],
  { thorough }: Extent,
): CardScenario[] {
  const groups = thorough ? ALL.map((kind) => [kind]) : [some];
  return groups.map((kinds) => ({
    name: `${name} (${kinds.map(describeKind).join("; ")})`,
    run: (step, setup) => run(step, { ...setup, kinds, thorough }),
  }));
}

/** Those of entropy devices. */
export function rngScenarios(extent: Extent): CardScenario[] {
  const some = [INLINE, WORKER, PACKED_WORKER];
  return scenarios("Random numbers", rngScenario, some, extent);
}

/** Those of network cards. */
export function netScenarios(extent: Extent): CardScenario[] {
  const of = (name: string, run: Run, some: readonly ServedKind[]) =>
    scenarios(name, run, some, extent);
  const both = [INLINE, WORKER];
  const cards = [WORKER, INLINE, PACKED_INLINE];
  const mapped = [WORKER, PACKED_WORKER];
  return [
    ...of("Cards on TAP interfaces", netScenario, cards),
    ...of("Two guests on a switch", netSwitchScenario, both),
    ...of("A card through thick and thin", netLifeScenario, both),
    ...of("A disk and a card behind an IOMMU", iommuScenario, mapped),
  ];
}
