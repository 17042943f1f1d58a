/**
 * The tests of the repository, by their names.
 *
 * @module
 */

/** A test, and where it is. */
export interface NamedTest {
  /** As it is registered, what a template fills in as "…". */
  readonly name: string;
  /** From the root of the repository. */
  readonly path: string;
  /** Whether its file has `word`, as what its template is filled in with. */
  mentions(word: string): boolean;
}

/**
 * Who registers a test: `Deno.test`, whatever a suite made of it (`stageTest`,
 * `each`), `it` and `describe`; or an object with a `name`, as `Deno.test` takes
 * it and the scenarios with guests have it.
 */
const NAMED =
  /(?:\b(?:[\w.]*[tT]est|each|it|describe|alone)\(\s*|\bname:\s*)(["'`])((?:(?!\1)[^\\])*)\1/g;

/** Where the scenarios with guests are named. */
const SCENARIOS = "tests/vm/";

/** The tests in the folder `root`, and in those below. */
export function collectTests(root: URL): NamedTest[] {
  return testFiles(root, root).flatMap((path) => {
    const text = Deno.readTextFileSync(new URL(path, root));
    return [...text.matchAll(NAMED)].map((match) => ({
      name: match[2]!.replaceAll(/\$\{[^}]*\}/g, "…").trim(),
      path,
      mentions: (word: string) => new RegExp(`\\b${word}\\b`).test(text),
    }));
  });
}

/**
 * The tests that `reference` is about: those whose number or whose words it is,
 * as `[C54]` or as a part of the name.
 */
export function testsOf(
  tests: readonly NamedTest[],
  reference: string,
): NamedTest[] {
  return tests.filter(({ name }) => name.includes(reference));
}

function testFiles(directory: URL, root: URL): string[] {
  const files: string[] = [];
  for (const entry of Deno.readDirSync(directory)) {
    if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
    const url = new URL(entry.name, directory);
    const path = url.href.slice(root.href.length);
    if (entry.isDirectory) {
      files.push(...testFiles(new URL(`${url.href}/`), root));
    } else if (isTestFile(path)) files.push(path);
  }
  return files.sort();
}

function isTestFile(path: string): boolean {
  if (path.startsWith("tools/")) return false;
  return path.endsWith("_test.ts") ||
    path.startsWith(SCENARIOS) && path.endsWith(".ts");
}
