/**
 * A load on a back-end, whatever the device.
 *
 * @module
 */
import type { Histogram } from "./histogram.ts";
import type { PumpResult, RunLimit } from "./pump.ts";

/** What a run of a load measured. */
export interface LoadResult extends PumpResult {
  /** Requests, or frames, that came back, by what they were. */
  readonly counts: Readonly<Record<string, number>>;
  /** Their sum. */
  readonly requests: number;
  /** Of those that came back with a failure; not in `counts`. */
  readonly errors: number;
  /** What is wrong with the back-end: errors, and data that is not right. */
  readonly failures: number;
  /** Payload of what came back well. */
  readonly bytes: number;
  /** From making a request to seeing its answer; null where none is made. */
  readonly latency: Histogram | null;
  /** What went wrong that is no request's status, for people: lines. */
  readonly complaints: readonly string[];
}

/** A connection to a back-end that can be put under load. */
export interface Load extends Disposable {
  /** What was agreed on, for the report. */
  readonly facts: Readonly<Record<string, string | number | boolean>>;

  /**
   * Keeps the back-end busy until `limit`; forgets what an earlier run
   * measured. Blocks the thread. Throws a LoadError where the back-end stops.
   */
  run(limit: RunLimit): LoadResult;
}
