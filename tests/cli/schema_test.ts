import { assert, assertEquals } from "@std/assert";
import { devices } from "../../devices/mod.ts";
import { parseConfig } from "../../src/cli/config.ts";
import { configSchema, configSchemaText } from "../../src/cli/schema.ts";
import { SCHEMA_FILE } from "../../tools/schema.ts";

type Schema = Record<string, unknown>;

/** Whether `value` is what `schema` says, for what our schema is made of. */
function fits(schema: Schema, value: unknown, root: Schema = schema): boolean {
  const all = (list: unknown, test: (part: Schema) => boolean) =>
    list === undefined || (list as Schema[]).every(test);
  const some = (list: unknown, test: (part: Schema) => boolean) =>
    list === undefined || (list as Schema[]).some(test);
  const fit = (part: Schema) => fits(part, value, root);
  for (const key of Object.keys(schema)) {
    assert(KEYWORDS.includes(key), `the test does not know ${key}`);
  }
  if (schema.$ref !== undefined) {
    const name = (schema.$ref as string).replace("#/$defs/", "");
    return fit((root.$defs as Record<string, Schema>)[name]!);
  }
  if (schema.if !== undefined) {
    return !fit(schema.if as Schema) || fit(schema.then as Schema);
  }
  const branches = schema.oneOf as Schema[] | undefined;
  return all(schema.allOf, fit) && some(schema.anyOf, fit) &&
    (branches === undefined || branches.filter(fit).length === 1) &&
    (schema.const === undefined || schema.const === value) &&
    (schema.enum === undefined ||
      (schema.enum as unknown[]).includes(value)) &&
    fitsType(schema, value, root);
}

const KEYWORDS = [
  ..."$schema title description default examples $defs $ref".split(" "),
  ..."if then allOf anyOf oneOf const enum type".split(" "),
  ..."properties required additionalProperties items minItems".split(" "),
  ..."minimum maximum minLength pattern".split(" "),
];

function fitsType(schema: Schema, value: unknown, root: Schema): boolean {
  const properties = (schema.properties ?? {}) as Record<string, Schema>;
  if (value instanceof Array) {
    return isType(schema, "array") &&
      value.length >= Number(schema.minItems ?? 0) &&
      value.every((item) => fits(schema.items as Schema, item, root));
  }
  if (typeof value === "object" && value !== null) {
    const given = value as Record<string, unknown>;
    return isType(schema, "object") &&
      ((schema.required ?? []) as string[]).every((key) => key in given) &&
      Object.keys(given).every((key) =>
        properties[key] === undefined
          ? schema.additionalProperties !== false
          : fits(properties[key], given[key], root)
      );
  }
  if (typeof value === "string") {
    return isType(schema, "string") &&
      value.length >= Number(schema.minLength ?? 0) &&
      new RegExp((schema.pattern ?? "") as string).test(value);
  }
  if (typeof value === "number") {
    return isType(schema, "integer") && Number.isInteger(value) &&
      value >= Number(schema.minimum ?? 0) &&
      value <= Number(schema.maximum ?? Infinity);
  }
  return isType(schema, typeof value);
}

function isType(schema: Schema, type: string): boolean {
  return schema.type === undefined || schema.type === type;
}

Deno.test("docs/ringside.schema.json is what deno task schema makes", async () => {
  assertEquals(
    await Deno.readTextFile(SCHEMA_FILE),
    configSchemaText(devices),
    "Run deno task schema",
  );
});

const disk = { "device": "block", "socket-path": "s", "blk-file": "f" };
const GOOD = [
  disk,
  { ...disk, "name": "disk-0", "read-only": true, "block-size": 4096 },
  { ...disk, "block-size": "4K", "queue-size": 256, "data-plane": "inline" },
  { ...disk, "num-queues": 1024, "queue-threads": 256 },
  { "device": "rng", "fd": 3, "max-bytes": "1M", "period": 100 },
];
const BAD = [
  { "socket-path": "s" },
  { "device": "disk", "socket-path": "s" },
  { "device": "rng" },
  { "device": "rng", "fd": 3, "socket-path": "s" },
  { "device": "rng", "fd": "3" },
  { "device": "rng", "fd": 3, "period": 0 },
  { "device": "rng", "fd": 3, "period": 2 ** 32 },
  { "device": "rng", "fd": 3, "blk-file": "f" },
  { "device": "rng", "fd": 3, "name": "a b" },
  { ...disk, "read-only": "yes" },
  { ...disk, "queue-size": 300 },
  { ...disk, "queue-size": "256" },
  { ...disk, "block-size": 100 },
  { ...disk, "block-size": "4X" },
  { ...disk, "io-engine": "fast" },
  { ...disk, "blk-file": "" },
  "block",
];

Deno.test("the schema and the program agree on what is right", () => {
  const schema = configSchema(devices) as Schema;
  const agrees = (config: unknown, wanted: boolean) => {
    const text = JSON.stringify(config);
    let taken = true;
    try {
      parseConfig("f", text, devices);
    } catch {
      taken = false;
    }
    assertEquals([fits(schema, config), taken], [wanted, wanted], text);
  };
  for (const device of GOOD) {
    agrees({ $schema: "x", "log-level": "warn", devices: [device] }, true);
  }
  for (const device of BAD) agrees({ devices: [device] }, false);
  for (const config of [{}, { devices: [] }, [], { devices: GOOD[0] }]) {
    agrees(config, false);
  }
  agrees({ devices: [disk], "log-level": "loud" }, false);
  agrees({ devices: [disk], "more": 1 }, false);
});
