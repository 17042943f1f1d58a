/**
 * Runs checks, one after the other.
 *
 * @module
 */
import { ALL_CHECKS } from "./all_checks.ts";
import type { Check, Level } from "./check.ts";
import { CheckFailure, Skip } from "./verdict.ts";
import { CheckRun } from "./check_run.ts";
import { listens } from "./dial.ts";
import { learn } from "./learn.ts";
import { withLimit } from "./limit.ts";
import type { CheckOptions, Target } from "./target.ts";

/** How a check ended. */
export interface Outcome {
  /** Its name. */
  readonly id: string;
  /** What is right. */
  readonly title: string;
  /** Where that is said. */
  readonly section: string;
  /** How strongly. */
  readonly level: Level;
  /** `skip`: there was nothing to look at. */
  readonly status: "pass" | "fail" | "skip";
  /** What was wrong, or why it was skipped; else empty. */
  readonly message: string;
  /** How long it took. */
  readonly durationMs: number;
}

/** The limit of a check where none is given. */
export const TIMEOUT_MS = 5000;

/** The checks for `options`, in their order. */
export function selectChecks(
  options: Pick<CheckOptions, "device" | "only">,
  checks: readonly Check[] = ALL_CHECKS,
): Check[] {
  const { device, only = "" } = options;
  return checks.filter(({ id, title, devices }) =>
    (devices === undefined || devices.includes(device)) &&
    (id.includes(only) || title.includes(only))
  );
}

/** The back-end does not listen any more; what was left was not checked. */
export class BackEndGone extends Error {
  /** As of every error of this class. */
  override readonly name = "BackEndGone";

  /** It is so since check `id`. */
  constructor(id: string) {
    super(
      `The back-end is gone since ${id}: start it again, and check the rest ` +
        "by name (--only)",
    );
  }
}

/** What somebody else does during a run. */
export interface RunHooks {
  /** Starts the back-end again; where not given, a run ends when it is gone. */
  revive?(): Promise<void>;
}

/**
 * Runs `checks` on the back-end of `options`; each outcome as it is there.
 *
 * @throws {SystemError} nobody listens at the socket
 * @throws {CheckFailure} the back-end can't even say what it is
 * @throws {BackEndGone} it ended, and nobody started it again
 */
export async function* runChecks(
  options: CheckOptions,
  checks: readonly Check[] = selectChecks(options),
  hooks: RunHooks = {},
): AsyncGenerator<Outcome> {
  const target = await learn(options);
  for (const check of checks) {
    const outcome = await runCheck(target, check);
    yield outcome;
    if (outcome.status !== "fail") continue;
    if (await listens(options.socketPath)) continue;
    if (hooks.revive === undefined) throw new BackEndGone(check.id);
    await hooks.revive();
  }
}

async function runCheck(target: Target, check: Check): Promise<Outcome> {
  const { id, title, section, level } = check;
  const start = performance.now();
  let status: Outcome["status"] = "pass";
  let message = "";
  try {
    if (check.destructive && !(target.options.destructive ?? false)) {
      throw new Skip("it writes on the disk: --destructive allows that");
    }
    await attempt(target, check);
  } catch (error) {
    status = error instanceof Skip ? "skip" : "fail";
    message = describe(error);
  }
  const durationMs = Math.round(performance.now() - start);
  return { id, title, section, level, status, message, durationMs };
}

async function attempt(target: Target, check: Check): Promise<void> {
  await limited(target, check.patience ?? 1, (run) => check.run(run));
  if (!check.hostile) return;
  try {
    await limited(target, 1, async (run) => (await run.guest()).works());
  } catch (error) {
    throw new CheckFailure(
      `The back-end does not serve any more: ${describe(error)}`,
    );
  }
}

async function limited(
  target: Target,
  patience: number,
  work: (run: CheckRun) => Promise<void>,
): Promise<void> {
  const limitMs = patience * (target.options.timeoutMs ?? TIMEOUT_MS);
  const run = new CheckRun(target, limitMs);
  try {
    await withLimit(work(run), limitMs, () => `An answer (${run.step})`);
  } finally {
    run[Symbol.dispose]();
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
