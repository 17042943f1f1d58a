/**
 * Named checks of any vhost-user back-end: ringside's, or another's.
 *
 * @module
 */
export type { Check, Level } from "./check.ts";
export { CheckFailure, Skip } from "./verdict.ts";
export { DEVICE_KINDS, type DeviceKind } from "./target.ts";
export { ALL_CHECKS } from "./all_checks.ts";
export {
  BackEndGone,
  type Outcome,
  runChecks,
  type RunHooks,
  selectChecks,
  TIMEOUT_MS,
} from "./runner.ts";
export { type CheckReport, hasFailed, reportOf } from "./report.ts";
export { tapBailOut, tapHeader, tapOutcome } from "./tap.ts";
export { type CheckOptions, type Facts, Target } from "./target.ts";
