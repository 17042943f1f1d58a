/**
 * All scenarios, for the tests and for `deno task vm` alike.
 *
 * @module
 */
import type { BackEndKind } from "./back_end.ts";
import { changeScenario } from "./change_scenario.ts";
import { crashScenario } from "./crash_scenario.ts";
import { diskScenario } from "./disk_scenario.ts";
import { kindsScenario } from "./kinds_scenario.ts";
import { lifeScenario } from "./life_scenario.ts";
import { describeRings } from "./ring_kind.ts";
import { restlessScenario } from "./restless_scenario.ts";
import {
  describeVariant,
  type Setup,
  type Step,
  type Variant,
  variantsOf,
} from "./scenario.ts";

/** A scenario with its name. */
export interface Scenario {
  /** What it is about. */
  name: string;
  /** Shows it, step by step. */
  run(step: Step, setup: Setup): Promise<void>;
}

/** Whether `variant` has the most in flight: a worker on io_uring. */
function isBusiest({ ioEngine, dataPlane }: Variant): boolean {
  return ioEngine === "io_uring" && dataPlane === "worker";
}

/** Groups of variants that share their guests: where time is short, all do. */
function together(variants: Variant[], thorough: boolean): Variant[][] {
  return thorough ? variants.map((variant) => [variant]) : [variants];
}

function describeVariants(variants: Variant[]): string {
  return variants.map(describeVariant).join("; ");
}

/** A disk of each variant; where time is short, all of them in one guest. */
function disksOf(
  kind: BackEndKind,
  variants: Variant[],
  thorough: boolean,
): Scenario[] {
  const planOf =
    (fioSeconds: number, packed: boolean) => (variant: Variant) => ({
      variant,
      packed,
      fioSeconds,
    });
  // The peer has no packed rings, and to every engine they look the same.
  const packed = (kind.hasEngines ? variants : [])
    .filter((variant) => thorough || isBusiest(variant));
  if (!thorough) {
    return [{
      name: `Disks (${describeVariants(variants)})`,
      run: (step, setup) =>
        diskScenario(step, setup, [
          ...variants.map(planOf(setup.fioSeconds, false)),
          ...packed.map(planOf(Math.ceil(setup.fioSeconds / 2), true)),
        ]),
    }];
  }
  const alone = (title: string, isPacked: boolean) => (variant: Variant) => ({
    name: `${title} (${describeVariant(variant)})`,
    run: (step: Step, setup: Setup) => {
      const plan = planOf(setup.fioSeconds, isPacked)(variant);
      return diskScenario(step, setup, [plan]);
    },
  });
  return [
    ...variants.map(alone("A disk", false)),
    ...packed.map(alone("A disk on packed rings", true)),
  ];
}

/** Kills, on either kind of rings for itself, or where time is short on both. */
function crashesOf(variant: Variant, thorough: boolean): Scenario[] {
  const all = thorough ? [[false], [true]] : [[false, true]];
  return all.map((kinds): Scenario => {
    const rings = kinds.map(describeRings).join(" and ");
    return {
      name: `A back-end that is killed, ${rings} rings (${
        describeVariant(variant)
      })`,
      run: (step, setup) => {
        const seconds = thorough ? 2 * setup.fioSeconds : setup.fioSeconds;
        return crashScenario(step, setup, variant, { seconds, kinds });
      },
    };
  });
}

/**
 * The scenarios that make sense for a back-end. Without `thorough` those whose
 * outcome hardly depends on the engine run on one engine only, to save time.
 */
export function scenariosOf(
  kind: BackEndKind,
  { thorough }: { thorough: boolean },
): Scenario[] {
  const variants = variantsOf(kind);
  const disks = disksOf(kind, variants, thorough);
  const lives = together(variants, thorough).map((some): Scenario => ({
    name: `Guest after guest (${describeVariants(some)})`,
    run: (step, setup) => lifeScenario(step, setup, some),
  }));
  // The sync engine never has a request in flight when the machine changes.
  const busy = variants
    .filter(({ ioEngine }) => thorough || ioEngine !== "sync");
  const restless = together(busy, thorough).map((some): Scenario => ({
    name: `A restless machine (${describeVariants(some)})`,
    run: (step, setup) => restlessScenario(step, setup, some),
  }));
  // The peer can't be asked to resize.
  const changes = (kind.hasEngines ? variants : [])
    .filter((variant) => thorough || isBusiest(variant))
    .map((variant): Scenario => ({
      name: `Sizes that change (${describeVariant(variant)})`,
      run: (step, setup) => changeScenario(step, setup, variant),
    }));
  // The peer keeps no record.
  const crashes = (kind.hasEngines ? variants : [])
    .filter((variant) => thorough || isBusiest(variant))
    .flatMap((variant) => crashesOf(variant, thorough));
  return [
    ...disks,
    { name: "Kinds of disks", run: kindsScenario },
    ...lives,
    ...restless,
    ...changes,
    ...crashes,
  ];
}
