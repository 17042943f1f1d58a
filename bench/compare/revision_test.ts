import { assertEquals, assertRejects } from "@std/assert";
import { sidesOf, WORKING_TREE } from "./revision.ts";

Deno.test("the second word may be a revision, or the first of the works", async () => {
  const commits = new Map([["HEAD", "abc"], ["old", "def"]]);
  const commit = (word: string) => Promise.resolve(commits.get(word) ?? null);
  const cases = [
    [["HEAD"], "abc", WORKING_TREE, []],
    [["HEAD", "old"], "abc", "def", []],
    [["old", "HEAD", "null"], "def", "abc", ["null"]],
    [["old", WORKING_TREE, "null"], "def", WORKING_TREE, ["null"]],
    [["old", "null", "HEAD"], "def", WORKING_TREE, ["null", "HEAD"]],
  ] as const;
  for (const [words, before, after, works] of cases) {
    assertEquals(await sidesOf(words, commit), {
      before,
      after,
      words: [...works],
    });
  }
  await assertRejects(
    () => sidesOf([], commit),
    Error,
    "There is no revision to compare with",
  );
  await assertRejects(
    () => sidesOf(["new", "HEAD"], commit),
    Error,
    "new is no revision of this repository",
  );
});
