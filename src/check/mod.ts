/**
 * Named checks of any vhost-user back-end: ringside's, or another's.
 *
 * @module
 */
export {
  type Check,
  CheckFailure,
  DEVICE_KINDS,
  type DeviceKind,
  type Level,
  Skip,
} from "./check.ts";
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
