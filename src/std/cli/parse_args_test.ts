import { assertEquals } from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";

Deno.test("undeclared options take what follows, numbers as numbers", () => {
  assertEquals<unknown>(
    parseArgs(["--foo", "--bar=baz", "--n", "5", "x", "7"]),
    {
      _: ["x", 7],
      foo: true,
      bar: "baz",
      n: 5,
    },
  );
});

Deno.test("a boolean is false unless given and takes only true or false", () => {
  const options = { boolean: ["a", "b", "c", "d", "e"] };
  assertEquals<unknown>(
    parseArgs(
      ["--a", "x", "--b=false", "--c", "false", "--d", "true"],
      options,
    ),
    { _: ["x"], a: true, b: false, c: false, d: true, e: false },
  );
});

Deno.test("a string keeps its text, and is empty without a value", () => {
  const options = { string: ["n", "m", "o", "p", "q", "r"] };
  assertEquals<unknown>(
    parseArgs(["--n", "007", "--m", "--o=", "--p=a=b", "--q", "-1"], options),
    { _: [], n: "007", m: "", o: "", p: "a=b", q: "", "1": true },
  );
  assertEquals<unknown>(parseArgs(["7"], { string: "_" }), { _: ["7"] });
});

Deno.test("collect gathers, in order", () => {
  const options = { string: ["s", "t"], collect: ["s", "t"] };
  assertEquals<unknown>(parseArgs(["--s", "1", "--s=2"], options), {
    _: [],
    s: ["1", "2"],
    t: [],
  });
});

Deno.test("the last of several values wins", () => {
  assertEquals<unknown>(parseArgs(["--s=1", "--s=2"], { string: "s" }).s, "2");
});

Deno.test("aliases share a value", () => {
  const options = { boolean: "help", alias: { help: ["h", "?"] } };
  assertEquals<unknown>(parseArgs(["-h"], options), {
    _: [],
    help: true,
    h: true,
    "?": true,
  });
  assertEquals<unknown>(parseArgs(["-n", "4"], { alias: { n: "number" } }), {
    _: [],
    n: 4,
    number: 4,
  });
});

Deno.test("short options stand together; the last one takes a value", () => {
  assertEquals<unknown>(parseArgs(["-ab", "x"], { boolean: "a" }), {
    _: [],
    a: true,
    b: "x",
  });
});

Deno.test("defaults fill in what is missing", () => {
  const options = {
    string: "s",
    boolean: "b",
    collect: "c",
    default: { s: "x", b: true, c: ["y"], other: 3 },
  };
  assertEquals<unknown>(parseArgs([], options), {
    _: [],
    s: "x",
    b: true,
    c: ["y"],
    other: 3,
  });
  assertEquals<unknown>(parseArgs(["--s=z", "--b=false", "--c=v"], options), {
    _: [],
    s: "z",
    b: false,
    c: ["v"],
    other: 3,
  });
});

Deno.test("a negatable option is turned off", () => {
  const options = { boolean: "color", negatable: "color" };
  assertEquals<unknown>(parseArgs(["--no-color", "x"], options), {
    _: ["x"],
    color: false,
  });
  assertEquals<unknown>(parseArgs(["--no-other"], options)["no-other"], true);
});

Deno.test("-- ends the options", () => {
  assertEquals<unknown>(parseArgs(["--a", "--", "--b", "1"]), {
    _: ["--b", "1"],
    a: true,
  });
  assertEquals<unknown>(parseArgs(["a", "--", "--b"], { "--": true }), {
    _: ["a"],
    "--": ["--b"],
  });
  assertEquals<unknown>(parseArgs(["a"], { "--": true }), {
    _: ["a"],
    "--": [],
  });
});

Deno.test("stopEarly leaves the rest as it is", () => {
  assertEquals<unknown>(
    parseArgs(["--a", "block", "--b", "1"], { boolean: "a", stopEarly: true }),
    { _: ["block", "--b", "1"], a: true },
  );
});

Deno.test("unknown hears of what is not declared, and may leave it out", () => {
  const heard: unknown[] = [];
  const args = parseArgs(["--s", "1", "--x", "--y=2", "z"], {
    string: "s",
    unknown: (arg, key, value) => {
      heard.push([arg, key, value]);
      return key === "y";
    },
  });
  assertEquals(heard, [
    ["--x", "x", true],
    ["--y=2", "y", "2"],
    ["z", undefined, undefined],
  ]);
  assertEquals<unknown>(args, { _: [], s: "1", y: 2 });
});
