/**
 * What a run of checks came to.
 *
 * @module
 */
import type { DeviceKind } from "./target.ts";
import type { Outcome } from "./runner.ts";
import type { CheckOptions } from "./target.ts";

/** A run, as `--json` writes it. */
export interface CheckReport {
  /** Of this shape. */
  readonly version: 1;
  /** The device. */
  readonly device: DeviceKind;
  /** The kind of the rings. */
  readonly ring: "split" | "packed";
  /** What random numbers started from. */
  readonly seed: number;
  /** How many ended how; `failed` counts the MUSTs, `advised` the others. */
  readonly counts: {
    readonly passed: number;
    readonly failed: number;
    readonly advised: number;
    readonly skipped: number;
  };
  /** Each check, in order. */
  readonly checks: readonly Outcome[];
}

/** The report of `outcomes`. */
export function reportOf(
  options: CheckOptions,
  outcomes: readonly Outcome[],
): CheckReport {
  const count = (test: (outcome: Outcome) => boolean) =>
    outcomes.filter(test).length;
  return {
    version: 1,
    device: options.device,
    ring: options.ring ?? "split",
    seed: options.seed ?? 1,
    counts: {
      passed: count(({ status }) => status === "pass"),
      failed: count(hasFailed),
      advised: count((o) => o.status === "fail" && !hasFailed(o)),
      skipped: count(({ status }) => status === "skip"),
    },
    checks: outcomes,
  };
}

/** Whether `outcome` makes the whole a failure. */
export function hasFailed({ status, level }: Outcome): boolean {
  return status === "fail" && level === "MUST";
}
