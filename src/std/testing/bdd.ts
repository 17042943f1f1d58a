/**
 * The functions of `@std/testing/bdd` that ringside's tests use, with the same
 * signatures, over `node:test`. See docs/decisions/0001-std-adapters.md.
 *
 * @module
 */
import {
  after as nodeAfter,
  before as nodeBefore,
  describe as nodeDescribe,
  it as nodeIt,
} from "node:test";

/** The body of a test or of a hook. */
export type TestBody = () => void | Promise<void>;

/** What may be said of a test or a suite beside its name and body. */
export interface TestFlags {
  /** Whether it is reported as ignored instead of being run. */
  ignore?: boolean;
}

/** Registers one test. */
export interface It {
  /** Registers the test `name`. */
  (name: string, fn: TestBody): void;
  /** Registers the test `name`, which may be ignored. */
  (name: string, options: TestFlags, fn: TestBody): void;
  /** Registers the test `name` as ignored. */
  ignore(name: string, fn: TestBody): void;
  /** Registers the test `name` as ignored. */
  skip(name: string, fn: TestBody): void;
}

/** Registers a suite. */
export interface Describe {
  /** Registers the suite `name`; `fn` registers what it consists of. */
  (name: string, fn: () => void): void;
  /** Registers the suite `name`, which may be ignored. */
  (name: string, options: TestFlags, fn: () => void): void;
  /** Registers the suite `name` as ignored. */
  ignore(name: string, fn: () => void): void;
  /** Registers the suite `name` as ignored. */
  skip(name: string, fn: () => void): void;
}

/** The hooks around each test of one suite. */
interface Suite {
  readonly parent: Suite | null;
  readonly before: TestBody[];
  readonly after: TestBody[];
}

const root: Suite = { parent: null, before: [], after: [] };
/** The suite whose body is being run. */
let current = root;

async function before(suite: Suite): Promise<void> {
  if (suite.parent !== null) await before(suite.parent);
  for (const hook of suite.before) await hook();
}

/**
 * Runs `fn` between its hooks. Not by node:test's own hooks: what an
 * `afterEach` throws is lost there, as of Deno 2.9.
 */
async function runTest(suite: Suite, fn: TestBody): Promise<void> {
  const errors: unknown[] = [];
  const attempt = async (body: TestBody) => {
    try {
      await body();
    } catch (error) {
      errors.push(error);
    }
  };
  await attempt(async () => {
    await before(suite);
    await fn();
  });
  for (let at: Suite | null = suite; at !== null; at = at.parent) {
    for (const hook of at.after) await attempt(hook);
  }
  if (errors.length > 0) throw errors[0];
}

function runSuite(suite: Suite, fn: () => void): void {
  const outer = current;
  current = suite;
  try {
    fn();
  } finally {
    current = outer;
  }
}

type Register<F> = (name: string, options: { skip: boolean }, fn: F) => unknown;

function adapt<F extends TestBody>(register: Register<F>) {
  const skip = (name: string, fn: F): void => {
    register(name, { skip: true }, fn);
  };
  const run = (name: string, second: F | TestFlags, third?: F): void => {
    const flags = typeof second === "function" ? {} : second;
    const fn = typeof second === "function" ? second : third!;
    register(name, { skip: flags.ignore ?? false }, fn);
  };
  return Object.assign(run, { ignore: skip, skip });
}

/** A test. */
export const it: It = adapt<TestBody>((name, options, fn) => {
  const suite = current;
  return nodeIt(name, options, () => runTest(suite, fn));
});

/** A suite of tests. */
export const describe: Describe = adapt<() => void>((name, options, fn) => {
  const suite: Suite = { parent: current, before: [], after: [] };
  return nodeDescribe(name, options, () => runSuite(suite, fn));
});

/** Runs `fn` once before the tests of the suite. */
export function beforeAll(fn: TestBody): void {
  nodeBefore(() => fn());
}

/** Runs `fn` once after the tests of the suite, also when they fail. */
export function afterAll(fn: TestBody): void {
  nodeAfter(() => fn());
}

/** Runs `fn` before each test of the suite. */
export function beforeEach(fn: TestBody): void {
  current.before.push(fn);
}

/** Runs `fn` after each test of the suite, also when it fails. */
export function afterEach(fn: TestBody): void {
  current.after.push(fn);
}
