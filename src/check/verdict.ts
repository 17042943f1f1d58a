/**
 * How a check ends other than well.
 *
 * @module
 */

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
