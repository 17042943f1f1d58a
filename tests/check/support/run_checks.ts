/**
 * Runs of checks, for tests.
 *
 * @module
 */
import {
  ALL_CHECKS,
  type Check,
  type CheckOptions,
  type Outcome,
  runChecks,
  type RunHooks,
  selectChecks,
} from "../../../src/check/mod.ts";

/** The outcomes of `checks`, all that there are for the device by default. */
export async function outcomesOf(
  options: CheckOptions,
  checks: readonly Check[] = selectChecks(options),
  hooks: RunHooks = {},
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for await (const outcome of runChecks(options, checks, hooks)) {
    outcomes.push(outcome);
  }
  return outcomes;
}

/** The checks with these names. */
export function checksNamed(ids: readonly string[]): Check[] {
  return ids.map((id) => {
    const found = ALL_CHECKS.find((check) => check.id === id);
    if (found === undefined) throw new Error(`There is no check ${id}`);
    return found;
  });
}

/** What did not pass, a line each. */
export function complaintsOf(outcomes: readonly Outcome[]): string[] {
  return outcomes.filter(({ status }) => status === "fail")
    .map(({ id, message }) => `${id}: ${message}`);
}

/** What was not looked at, by name. */
export function skippedOf(outcomes: readonly Outcome[]): string[] {
  return outcomes.filter(({ status }) => status === "skip")
    .map(({ id }) => id);
}
