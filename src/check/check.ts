/**
 * What a check is, and how it ends other than well.
 *
 * @module
 */
import type { CheckRun } from "./check_run.ts";

/** Which device is at the socket. */
export type DeviceKind = "block" | "net" | "rng";

/** The devices that can be checked. */
export const DEVICE_KINDS: readonly DeviceKind[] = ["block", "net", "rng"];

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

/** A back-end did not do what was wanted. */
export class CheckFailure extends Error {
  /** As of every error of this class. */
  override readonly name = "CheckFailure";
}

/** A check has nothing to look at here. */
export class Skip extends Error {
  /** As of every error of this class. */
  override readonly name = "Skip";
}

/** Fails with `message` unless `condition`. */
export function expect(
  condition: boolean,
  message: string | (() => string),
): asserts condition {
  if (condition) return;
  throw new CheckFailure(typeof message === "string" ? message : message());
}

/** Fails unless `actual`, which messages call `what`, is `wanted`. */
export function expectEqual<T extends number | bigint | string | boolean>(
  actual: T,
  wanted: T,
  what: string,
): void {
  expect(actual === wanted, () => `${what} is ${actual}, wanted ${wanted}`);
}

/** Fails unless `actual`, which messages call `what`, has the bytes `wanted`. */
export function expectBytes(
  actual: Uint8Array,
  wanted: Uint8Array,
  what: string,
): void {
  expectEqual(actual.length, wanted.length, `The size of ${what}`);
  const at = actual.findIndex((byte, i) => byte !== wanted[i]);
  expect(
    at < 0,
    () => `Byte ${at} of ${what} is ${actual[at]}, wanted ${wanted[at]}`,
  );
}
