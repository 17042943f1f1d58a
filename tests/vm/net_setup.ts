/**
 * What the scenarios of cards and entropy devices are set up with.
 *
 * @module
 */
import type { BootFiles } from "./initramfs.ts";
import { describeRings } from "./ring_kind.ts";
import type { Step } from "./scenario.ts";

/** How a device is served. */
export interface ServedKind {
  /** `inline` or `worker`. */
  plane: string;
  /** Whether it has packed rings. */
  packed: boolean;
}

/** A kind in the name of a test. */
export function describeKind({ plane, packed }: ServedKind): string {
  return `${plane}, ${describeRings(packed)}`;
}

/** What the network scenarios run on. */
export interface NetSetup {
  /** What the guests boot from. */
  boot: BootFiles;
  /** Each guest has devices of all of these. */
  kinds: readonly ServedKind[];
  /** The size of the large file, in MiB. */
  fileMebibytes: number;
  /** Whether to show of each kind what the first shows for all. */
  thorough: boolean;
}

/** Puts what is shown in front of the name of each step. */
export function prefixed(step: Step, prefix: string): Step {
  return (name, body) => step(`${prefix}: ${name}`, body);
}
