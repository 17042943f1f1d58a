import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../errors.ts";
import {
  completeOptions,
  formatSize,
  type OptionSpec,
  type OptionSpecs,
  type OptionValues,
  parseOptionValue,
} from "./options.ts";

const SPECS = {
  file: { type: "string", describe: "The file", required: true },
  depth: { type: "number", describe: "How deep", min: 1, max: 8, default: 2 },
  room: { type: "size", describe: "How large", min: 512, powerOfTwo: true },
  engine: { type: "choice", choices: ["a", "b"], describe: "What drives it" },
  dry: { type: "boolean", describe: "Change nothing" },
} as const satisfies OptionSpecs;

function refused(spec: OptionSpec, text: string): string {
  return assertThrows(() => parseOptionValue("x", spec, text), UsageError)
    .message;
}

Deno.test("a size takes suffixes for powers of 1024", () => {
  const spec = SPECS.room;
  assertEquals(parseOptionValue("room", spec, "512"), 512);
  assertEquals(parseOptionValue("room", spec, "64K"), 65536);
  assertEquals(parseOptionValue("room", spec, "1m"), 1 << 20);
  assertEquals(parseOptionValue("room", spec, "2G"), 2 ** 31);
  assertEquals(parseOptionValue("room", spec, "4T"), 2 ** 42);
});

Deno.test("a number that is none says what was wanted", () => {
  for (const text of ["", "x", "1.5", "-1", "0x10", "1KiB", "K"]) {
    assertEquals(
      refused(SPECS.room, text),
      `--x is "${text}": give it a number of bytes, with K, M, G or T for ` +
        "powers of 1024",
    );
  }
  assertEquals(
    refused(SPECS.depth, "1K"),
    '--x is "1K": give it a whole number',
  );
});

Deno.test("a number out of range says the range", () => {
  assertEquals(refused(SPECS.depth, "9"), "--x is 9: give it 1 to 8");
  assertEquals(refused(SPECS.depth, "0"), "--x is 0: give it 1 to 8");
  assertEquals(refused(SPECS.room, "0"), "--x is 0: give it 512 or more");
});

Deno.test("a number that must be a power of two says the one below", () => {
  assertEquals(
    refused(SPECS.room, "1025"),
    "--x is 1025, not a power of two: the next one below is 1K",
  );
  const huge = { type: "size", describe: "", powerOfTwo: true } as const;
  assertEquals(parseOptionValue("x", huge, `${2 ** 52}`), 2 ** 52);
  refused(huge, `${2 ** 53 - 1}`);
});

Deno.test("a word that is not among the choices says the choices", () => {
  assertEquals(parseOptionValue("engine", SPECS.engine, "b"), "b");
  assertEquals(refused(SPECS.engine, "c"), '--x is "c": use one of a, b');
});

Deno.test("a switch takes no value", () => {
  assertEquals(parseOptionValue("dry", SPECS.dry, ""), true);
  assertEquals(
    refused(SPECS.dry, "yes"),
    '--x is a switch and takes no value, got "yes": leave the value away',
  );
});

Deno.test("an empty text is refused", () => {
  assertEquals(
    refused({ ...SPECS.file, placeholder: "PATH" }, ""),
    "--x is empty: give it a value, as --x PATH",
  );
});

Deno.test("a text that ends within is refused", () => {
  const message = refused(SPECS.file, "a\0b");
  assertEquals(message, "--x holds a zero character: leave it out");
});

Deno.test("what is not given has its default, or is undefined", () => {
  const values: OptionValues<typeof SPECS> = completeOptions(SPECS, {
    file: "f",
  });
  assertEquals(values, {
    file: "f",
    depth: 2,
    room: undefined,
    engine: undefined,
    dry: false,
  });
  const engine: "a" | "b" | undefined = values.engine;
  const depth: number = values.depth;
  assertEquals([engine, depth], [undefined, 2]);
});

Deno.test("a required option that is missing says what it is for", () => {
  const error = assertThrows(() => completeOptions(SPECS, {}), UsageError);
  assertEquals(error.message, "--file is missing: the file");
});

Deno.test("sizes are formatted as they are given", () => {
  const sizes = [0, 1, 512, 1024, 1536, 65536, 10 * 2 ** 30, 2 ** 40];
  assertEquals(
    sizes.map(formatSize),
    ["0", "1", "512", "1K", "1536", "64K", "10G", "1T"],
  );
});
