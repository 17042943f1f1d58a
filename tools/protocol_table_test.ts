import { assert, assertEquals } from "@std/assert";
import { askOffered } from "./protocol/offered.ts";
import { makeTables } from "./protocol/page.ts";
import { collectTests, testsOf } from "./protocol/test_names.ts";
import { check } from "./protocol_table.ts";

const ROOT = new URL("..", import.meta.url);

Deno.test("docs/protocol_support.md says of all requests and features what is so, and which test shows it", async () => {
  assertEquals(await check(), []);
});

Deno.test("a row whose tests are gone is told of", async () => {
  const offered = await askOffered();
  const tests = collectTests(ROOT);
  assertEquals(makeTables(offered, tests).wrong, []);
  const fewer = tests.filter(({ name }) => !name.includes("[C59]"));
  const { wrong } = makeTables(offered, fewer);
  assert(wrong.some((line) => line.includes("ADD_MEM_REG")));
  assert(wrong.every((line) => line.startsWith("No test is named")));
});

Deno.test("what a template is to fill in must be in its file", async () => {
  const offered = await askOffered();
  const tests = collectTests(ROOT).map((test) => ({
    ...test,
    mentions: (word: string) => word !== "POSTCOPY_END" && test.mentions(word),
  }));
  assertEquals(makeTables(offered, tests).wrong.length, 1);
});

Deno.test("a feature that is offered and not in the tables is told of", async () => {
  const offered = await askOffered();
  const { always, ever } = offered.block;
  const block = { always, ever: ever | (1n << 63n) };
  const { wrong } = makeTables({ ...offered, block }, collectTests(ROOT));
  assertEquals(wrong.length, 1);
});

Deno.test("a request that is not served any more is refused in its row", async () => {
  const offered = await askOffered();
  const served = new Map(offered.served);
  served.delete(35);
  const { tables } = makeTables({ ...offered, served }, collectTests(ROOT));
  const row = tables.get("requests")!.split("\n")
    .find((line) => line.startsWith("| 35 |"))!;
  assert(row.includes("refused"), row);
});

Deno.test("tests are known by their names and numbers", () => {
  const tests = collectTests(ROOT);
  assertEquals(testsOf(tests, "[C54] SET_OWNER twice").length, 1);
  assert(testsOf(tests, "[C54]").length > 1);
  assertEquals(testsOf(tests, "a name of nothing at all"), []);
});
