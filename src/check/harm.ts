/**
 * Doing harm: what becomes of the session is no matter, what becomes of the
 * back-end is.
 *
 * @module
 */
import { ProtocolError, SystemError } from "../errors.ts";
import { CancelledError } from "../io/reactor.ts";
import { NackError } from "../vhost_user/frontend.ts";
import type { Check } from "./check.ts";
import type { CheckRun } from "./check_run.ts";

/** Runs `work` until it is done, refused, or there was time enough. */
export async function harm(
  run: CheckRun,
  work: Promise<unknown>,
): Promise<void> {
  let defect: unknown;
  const done = work.catch((error) => {
    if (!isRefusal(error)) defect = error;
  });
  await Promise.race([done, run.quiet()]);
  await run.quiet();
  if (defect !== undefined) throw defect;
}

/** Whether a back-end made `error`, by a refusal or by hanging up. */
function isRefusal(error: unknown): boolean {
  return error instanceof NackError || error instanceof ProtocolError ||
    error instanceof SystemError || error instanceof CancelledError;
}

/** A check that does harm, and is over when the back-end serves the next. */
export function hostileCheck(
  id: string,
  title: string,
  section: string,
  run: (run: CheckRun) => Promise<unknown>,
  more: Partial<Check> = {},
): Check {
  return {
    id: `hostile/${id}`,
    title,
    section,
    level: "MUST",
    hostile: true,
    ...more,
    run: async (check) => void await run(check),
  };
}
