/**
 * What a check is.
 *
 * @module
 */
import type { CheckRun } from "./check_run.ts";
import type { DeviceKind } from "./target.ts";

/** What the specification says of it. Only a failed MUST is a failure. */
export type Level = "MUST" | "SHOULD" | "MAY";

/** One named thing that a back-end is asked to do. */
export interface Check {
  /** Its name: a group, a slash and words in kebab-case. */
  readonly id: string;
  /** What is right. */
  readonly title: string;
  /** Where that is said, as `virtio 1.3 §2.7.7.2`. */
  readonly section: string;
  /** How strongly. */
  readonly level: Level;
  /** The devices that it is about; all of them where not said. */
  readonly devices?: readonly DeviceKind[];
  /** It writes on the disk, and is run only where that is allowed. */
  readonly destructive?: true;
  /** It means harm: the back-end must serve the next front-end all the same. */
  readonly hostile?: true;
  /** So many times the usual limit of time; 1 where not said. */
  readonly patience?: number;
  /** Does it. Rejects with a CheckFailure, or with a Skip. */
  run(run: CheckRun): Promise<void>;
}
