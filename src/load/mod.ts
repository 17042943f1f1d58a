/**
 * Loads on a back-end, ours or another: what is measured, and how it is told.
 *
 * @module
 */
export { LoadError } from "./errors.ts";
export type { Load, LoadResult } from "./load.ts";
export {
  LOAD_OPTIONS,
  type LoadKind,
  LOADS,
  type LoadValues,
} from "./options.ts";
export { picture } from "./picture.ts";
export { ProcessMeter } from "./process_meter.ts";
export {
  parseReport,
  type Report,
  type ReportHead,
  reportOf,
} from "./report.ts";
export { reportTable } from "./report_table.ts";
