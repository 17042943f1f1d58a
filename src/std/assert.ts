/**
 * The functions of `@std/assert` that ringside's tests use, with the same
 * signatures, over `node:assert`. See docs/decisions/0001-std-adapters.md.
 *
 * Equality is `node:assert`'s strict deep equality, which is at least as
 * strict as that of `@std/assert`: it tells 0 from -0 too.
 *
 * @module
 */
import {
  AssertionError,
  deepStrictEqual,
  notDeepStrictEqual,
  notStrictEqual,
  strictEqual,
} from "node:assert";

export { AssertionError };

/** A constructor whose instances are `T`; abstract ones too. */
// deno-lint-ignore no-explicit-any
export type AnyConstructor<T = any> = abstract new (...args: any[]) => T;

function failure(detail: string, msg: string | undefined): AssertionError {
  const suffix = msg === undefined ? "" : `: ${msg}`;
  return new AssertionError({ message: `${detail}${suffix}` });
}

/** Throws an {@linkcode AssertionError} unless `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError({ message: msg });
}

/** Wants `actual` deeply equal to `expected`. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  deepStrictEqual(actual, expected, msg);
}

/** Wants `actual` not deeply equal to `expected`. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  notDeepStrictEqual(actual, expected, msg);
}

/** Wants `actual` to be `expected` by `Object.is`. */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  strictEqual(actual, expected, msg);
}

/** Wants `actual` not to be `expected` by `Object.is`. */
export function assertNotStrictEquals<T>(
  actual: T,
  expected: T,
  msg?: string,
): void {
  notStrictEqual(actual, expected, msg);
}

/** Wants `actual` neither null nor undefined. */
export function assertExists<T>(
  actual: T,
  msg?: string,
): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) {
    throw failure(`Expected a value, got ${actual}`, msg);
  }
}

/** Wants the string `expected` within `actual`. */
export function assertStringIncludes(
  actual: string,
  expected: string,
  msg?: string,
): void {
  if (actual.includes(expected)) return;
  throw failure(`Expected "${actual}" to contain "${expected}"`, msg);
}

/** Wants a match of `expected` in `actual`. */
export function assertMatch(
  actual: string,
  expected: RegExp,
  msg?: string,
): void {
  if (expected.test(actual)) return;
  throw failure(`Expected "${actual}" to match ${expected}`, msg);
}

/** Wants `actual` > `expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (actual > expected) return;
  throw failure(`Expected ${actual} > ${expected}`, msg);
}

/** Wants `actual` >= `expected`. */
export function assertGreaterOrEqual<T>(
  actual: T,
  expected: T,
  msg?: string,
): void {
  if (actual >= expected) return;
  throw failure(`Expected ${actual} >= ${expected}`, msg);
}

/** Wants `actual` < `expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (actual < expected) return;
  throw failure(`Expected ${actual} < ${expected}`, msg);
}

/** Wants `actual` <= `expected`. */
export function assertLessOrEqual<T>(
  actual: T,
  expected: T,
  msg?: string,
): void {
  if (actual <= expected) return;
  throw failure(`Expected ${actual} <= ${expected}`, msg);
}

/** Wants `actual` within `tolerance` of `expected`; by default 1e-7 of it. */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  msg?: string,
): void {
  if (Object.is(actual, expected)) return;
  const allowed = tolerance ??
    (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  if (Math.abs(expected - actual) <= allowed) return;
  throw failure(`Expected ${actual} within ${allowed} of ${expected}`, msg);
}

/** Wants `actual` to be an instance of `expectedType`. */
export function assertInstanceOf<T extends AnyConstructor>(
  actual: unknown,
  expectedType: T,
  msg = "",
): asserts actual is InstanceType<T> {
  if (actual instanceof expectedType) return;
  const got = actual === null || typeof actual !== "object"
    ? String(actual)
    : actual.constructor?.name ?? "an object";
  const suffix = msg === "" ? undefined : msg;
  throw failure(
    `Expected an instance of ${expectedType.name}, got ${got}`,
    suffix,
  );
}

/** Fails. */
export function fail(msg?: string): never {
  throw failure("Failed assertion", msg);
}

/** Says that control must not come here. */
export function unreachable(msg?: string): never {
  throw failure("Unreachable", msg);
}

function checkError(
  error: unknown,
  errorClass: AnyConstructor | undefined,
  msgIncludes: string | undefined,
  msg: string | undefined,
): void {
  if (errorClass !== undefined) {
    if (!(error instanceof Error)) {
      throw failure(`A thing that is no Error was thrown: ${error}`, msg);
    }
    if (!(error instanceof errorClass)) {
      throw failure(
        `Expected an error of ${errorClass.name}, got ${error.name}: ` +
          error.message,
        msg,
      );
    }
  }
  if (msgIncludes === undefined || msgIncludes === "") return;
  const message = error instanceof Error ? error.message : String(error);
  if (message.includes(msgIncludes)) return;
  throw failure(
    `Expected the error's message to contain "${msgIncludes}", ` +
      `got "${message}"`,
    msg,
  );
}

/** Wants `fn` to throw; what it threw. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/** Wants `fn` to throw an `ErrorClass` with `msgIncludes` in its message. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  // deno-lint-ignore no-explicit-any
  ErrorClass: abstract new (...args: any[]) => E,
  msgIncludes?: string,
  msg?: string,
): E;
/** Wants `fn` to throw. */
export function assertThrows(
  fn: () => unknown,
  errorClassOrMsg?: AnyConstructor | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  const errorClass = typeof errorClassOrMsg === "string"
    ? undefined
    : errorClassOrMsg;
  const said = typeof errorClassOrMsg === "string" ? errorClassOrMsg : msg;
  try {
    fn();
  } catch (error) {
    checkError(error, errorClass, msgIncludes, said);
    return error;
  }
  throw failure("Expected function to throw", said);
}

/** Wants the promise of `fn` to reject; the reason. */
export function assertRejects(
  fn: () => PromiseLike<unknown>,
  msg?: string,
): Promise<unknown>;
/** Wants a rejection with an `ErrorClass` with `msgIncludes` in its message. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  // deno-lint-ignore no-explicit-any
  ErrorClass: abstract new (...args: any[]) => E,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
/** Wants the promise of `fn` to reject. */
export async function assertRejects(
  fn: () => PromiseLike<unknown>,
  errorClassOrMsg?: AnyConstructor | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  const errorClass = typeof errorClassOrMsg === "string"
    ? undefined
    : errorClassOrMsg;
  const said = typeof errorClassOrMsg === "string" ? errorClassOrMsg : msg;
  let promised: PromiseLike<unknown>;
  try {
    promised = fn();
  } catch (error) {
    throw failure(
      `Expected function to reject, but it threw at once: ${error}`,
      said,
    );
  }
  try {
    await promised;
  } catch (error) {
    checkError(error, errorClass, msgIncludes, said);
    return error;
  }
  throw failure("Expected function to reject", said);
}
