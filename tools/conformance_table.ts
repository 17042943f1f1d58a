/**
 * Writes docs/conformance.md: each numbered case of the checklist with the tests
 * that carry its number in their names, or why there is none.
 *
 * A test fails where the page is out of date or a case has neither a test nor a
 * reason.
 *
 * @module
 */

/** Cases without a test, or with tests of a part of them, and why. */
const REASONS: Record<string, string> = {
  H28: "the control queue is the front-end's and is not offered",
  H29: "there are no vsock and scsi devices yet",
};

const ROOT = new URL("..", import.meta.url);
const PAGE = new URL("docs/conformance.md", ROOT);
const CASES = new URL("docs/conformance_cases.json", ROOT);

interface Case {
  readonly id: string;
  readonly text: string;
}

function testFiles(directory: URL): URL[] {
  const files: URL[] = [];
  for (const entry of Deno.readDirSync(directory)) {
    if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
    const url = new URL(entry.name, directory);
    if (entry.isDirectory) files.push(...testFiles(new URL(`${url.href}/`)));
    else if (entry.name.endsWith("_test.ts")) files.push(url);
  }
  return files.sort((a, b) => a.href < b.href ? -1 : 1);
}

/** Case number to the `file: test name`s that carry it. */
function collect(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const file of testFiles(ROOT)) {
    const path = file.href.slice(ROOT.href.length);
    const text = Deno.readTextFileSync(file);
    for (
      const match of text.matchAll(
        /(["'`])((?:\[[CH]\d\d\]\s*)+)((?:(?!\1).)*)\1/g,
      )
    ) {
      for (const id of match[2]!.matchAll(/[CH]\d\d/g)) {
        // What a template fills in tells the runs of one test apart.
        const name = match[3]!.replaceAll(/\$\{[^}]*\}/g, "…").trim();
        const line = `${name} (${path})`;
        found.set(id[0], [...found.get(id[0]) ?? [], line]);
      }
    }
  }
  return found;
}

function page(cases: readonly Case[], found: Map<string, string[]>): string {
  const rows = cases.map(({ id, text }) => {
    const tests = found.get(id)?.map((test) => test.replaceAll("|", "\\|")) ??
      [];
    const reason = REASONS[id];
    if (reason !== undefined) {
      const what = tests.length === 0 ? "no test" : "no test of the rest";
      tests.push(`${what}: ${reason}`);
    } else if (tests.length === 0) tests.push("no test: MISSING");
    return `| ${id} | ${text} | ${tests.join("<br>")} |`;
  });
  return [
    "# Conformance",
    "",
    "Made by `deno task conformance` from the names of the tests. C: ring,",
    "protocol and block cases; H: hostile front-ends and drivers.",
    "",
    "| case | what | test |",
    "| --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

/** What is wrong with the page: a line each; none where it is true. */
export function check(): string[] {
  const cases = JSON.parse(Deno.readTextFileSync(CASES)) as Case[];
  const found = collect();
  const wrong = cases
    .filter(({ id }) => !found.has(id) && !(id in REASONS))
    .map(({ id, text }) => `No test for ${id}: ${text}`);
  if (Deno.readTextFileSync(PAGE) !== page(cases, found)) {
    wrong.push("docs/conformance.md is out of date: run deno task conformance");
  }
  return wrong;
}

if (import.meta.main) {
  const cases = JSON.parse(Deno.readTextFileSync(CASES)) as Case[];
  Deno.writeTextFileSync(PAGE, page(cases, collect()));
  for (const line of check()) console.error(line);
}
