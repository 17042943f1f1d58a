import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../../src/errors.ts";
import { named, planOf, worksNamed } from "./plan.ts";
import { WORKS } from "./work.ts";

Deno.test("a plan is what the command line says, and five rounds else", () => {
  assertEquals(planOf([], 3), {
    rounds: 5,
    reports: undefined,
    seconds: 3,
    warmUpSeconds: 1,
    isDry: false,
    isList: false,
    words: [],
  });
  assertEquals(
    planOf([
      ...["--rounds=2", "--seconds", "7", "--warm-up=0", "--reports=there"],
      ...["--dry", "--list", "null disk", "64"],
    ]),
    {
      rounds: 2,
      reports: "there",
      seconds: 7,
      warmUpSeconds: 0,
      isDry: true,
      isList: true,
      words: ["null disk", "64"],
    },
  );
});

Deno.test("a command line that means nothing is refused", () => {
  const cases = [
    ["--round=2", "There is no option --round=2: --help lists all"],
    ["-x", "There is no option -x: --help lists all"],
    ["--rounds=0", '--rounds is "0", wanted a whole number, 1 or more'],
    ["--rounds=", '--rounds is "", wanted a whole number, 1 or more'],
    ["--seconds=0.5", '--seconds is "0.5", wanted a whole number, 1 or more'],
    ["--warm-up=-1", '--warm-up is "-1", wanted a whole number, 0 or more'],
    ["--reports=", "--reports names no directory: --reports=DIRECTORY"],
  ] as const;
  for (const [arg, message] of cases) {
    const error = assertThrows(() => planOf([arg]), UsageError);
    assertEquals(error.message, message);
  }
});

Deno.test("words name works, and each has to name one", () => {
  const works = ["reads, depth 1", "reads, depth 16", "frames"]
    .map((name) => ({ name }));
  const names = (...words: string[]) =>
    named(works, words).map(({ name }) => name);
  assertEquals(names(), works.map(({ name }) => name));
  assertEquals(names("frames", "depth 16"), ["reads, depth 16", "frames"]);
  const one = assertThrows(() => names("frames", "writes"), UsageError);
  assertEquals(
    one.message,
    'Nothing has "writes" in its name: the names are "reads, depth 1", ' +
      '"reads, depth 16", "frames"',
  );
  const many = assertThrows(() => worksNamed(["no such"]), UsageError);
  assertEquals(
    many.message,
    'Nothing has "no such" in its name: --list has all names',
  );
});

Deno.test("no two works have the same name", () => {
  const names = WORKS.map(({ name }) => name);
  assertEquals(names.length, new Set(names).size);
});
