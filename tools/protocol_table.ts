/**
 * Writes the tables of docs/protocol_support.md: every request and feature,
 * served or refused as the program has it, with the tests that show it. Between
 * the tables the page is written by hand.
 *
 * A test fails where a table is out of date or a row has no test.
 *
 * @module
 */
import { askOffered } from "./protocol/offered.ts";
import { makeTables, type Tables } from "./protocol/page.ts";
import { collectTests } from "./protocol/test_names.ts";

const ROOT = new URL("..", import.meta.url);
const PAGE = new URL("docs/protocol_support.md", ROOT);

const begin = (name: string) => `<!-- begin: ${name} -->`;
const end = (name: string) => `<!-- end: ${name} -->`;

async function make(): Promise<Tables> {
  return makeTables(await askOffered(), collectTests(ROOT));
}

/** `page` with `tables` in their places; throws where it has none for one. */
function fill(page: string, tables: ReadonlyMap<string, string>): string {
  for (const [name, table] of tables) {
    const from = page.indexOf(begin(name));
    const to = page.indexOf(end(name));
    if (from < 0 || to < from) {
      throw new Error(`The page has no place for ${name}: ${begin(name)}`);
    }
    const before = page.slice(0, from + begin(name).length);
    page = `${before}\n\n${table}\n\n${page.slice(to)}`;
  }
  return page;
}

/** A table without what only lays it out. */
function plain(page: string): string {
  return page.replaceAll(/^\|[ :|-]+\|$/gm, "|-|").replaceAll(/ +/g, " ");
}

/** What is wrong with the page: a line each; none where it is true. */
export async function check(): Promise<string[]> {
  const { tables, wrong } = await make();
  const page = Deno.readTextFileSync(PAGE);
  if (plain(fill(page, tables)) === plain(page)) return [...wrong];
  return [
    ...wrong,
    "docs/protocol_support.md is out of date: run deno task protocol",
  ];
}

if (import.meta.main) {
  const { tables, wrong } = await make();
  Deno.writeTextFileSync(PAGE, fill(Deno.readTextFileSync(PAGE), tables));
  for (const line of wrong) console.error(line);
  if (wrong.length > 0) Deno.exitCode = 1;
}
