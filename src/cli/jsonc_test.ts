import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../errors.ts";
import { type JsonValue, parseJsonc } from "./jsonc.ts";

/** `value` as JSON.parse gives it. */
function plain(value: JsonValue): unknown {
  switch (value.kind) {
    case "array":
      return value.items.map(plain);
    case "object":
      return Object.fromEntries(
        value.members.map((member) => [member.key, plain(member.value)]),
      );
    case "number":
      return Number(value.text);
    case "null":
      return null;
    default:
      return value.value;
  }
}

function refused(text: string): string {
  return assertThrows(() => parseJsonc("f", text), UsageError).message;
}

Deno.test("what is JSON means what it means in JSON", () => {
  const texts = [
    "{}",
    "[]",
    "null",
    "true",
    "false",
    "0",
    "-0.5e+3",
    "12E2",
    '""',
    '"a\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\ud83d\\ude00/*no*/ // comment"',
    ' { "a" : [ 1 , { "b" : null } , "ö" ] , "__proto__" : 2 } ',
    '\r\n\t[[[[]]],{"":""}]',
  ];
  for (const text of texts) {
    const value = plain(parseJsonc("f", text));
    assertEquals(JSON.stringify(value), JSON.stringify(JSON.parse(text)), text);
  }
});

Deno.test("comments and trailing commas are allowed", () => {
  const text = `\ufeff// first
  /* more
     lines */ {
    "a": [1, /* x */ 2, // y
    ],
    "b": {}, } // end`;
  assertEquals(plain(parseJsonc("f", text)), { a: [1, 2], b: {} });
});

Deno.test("values know their lines", () => {
  const value = parseJsonc("f", '\n{\n "a":\n  1, "b": [\n\n2]}');
  assertEquals(value, {
    kind: "object",
    line: 2,
    members: [
      { key: "a", line: 3, value: { kind: "number", line: 4, text: "1" } },
      {
        key: "b",
        line: 4,
        value: {
          kind: "array",
          line: 4,
          items: [{ kind: "number", line: 6, text: "2" }],
        },
      },
    ],
  });
});

Deno.test("what is no JSON is told with its place", () => {
  const cases: [string, string][] = [
    ["", "f:1:1: There is the end of the file, wanted a value"],
    ["{\n  a: 1\n}", 'f:2:3: There is "a", wanted a key in quotes, or "}"'],
    ['{"a" 1}', 'f:1:6: There is "1", wanted ":"'],
    ['{"a":1 "b":2}', 'f:1:8: There is a quote, wanted "," or "}"'],
    ["[1\n2]", 'f:2:1: There is "2", wanted "," or "]"'],
    ["[,]", 'f:1:2: There is ",", wanted a value'],
    ["[1,,2]", 'f:1:4: There is ",", wanted a value'],
    ["[1", 'f:1:3: There is the end of the file, wanted "," or "]"'],
    ["{} {}", 'f:1:4: There is "{", wanted the end of the file'],
    ["nul", 'f:1:1: There is "nul", wanted a value'],
    ["True", 'f:1:1: There is "True", wanted a value'],
    ["01", 'f:1:2: There is "1", wanted the end of the file'],
    ["+1", 'f:1:1: There is "+", wanted a value'],
    [".5", 'f:1:1: There is ".5", wanted a value'],
    ["'a'", 'f:1:1: There is "\'", wanted a value'],
    [
      '"a\nb"',
      "f:1:1: There is a quote, wanted a string that ends in its line, with " +
      "JSON's escapes only",
    ],
    [
      '"\\x"',
      "f:1:1: There is a quote, wanted a string that ends in its line, with " +
      "JSON's escapes only",
    ],
    ["[1, /* ]", "f:1:5: There is a comment that has no end, wanted a value"],
    [
      '{"a": 1,\n"b": 2,\n "a": 3}',
      'f:3:2: "a" is here and in line 1: leave one of them out',
    ],
  ];
  for (const [text, message] of cases) assertEquals(refused(text), message);
  assertEquals(
    refused("[".repeat(100_000)),
    'f:1:65: There is "[", wanted at most 64 levels',
  );
});
