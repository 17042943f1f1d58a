/**
 * The JSON Schema of the file that `ringside serve` takes, made from the typed
 * options of the devices.
 *
 * @module
 */
import {
  formatSize,
  type OptionSpec,
  type OptionSpecs,
} from "../device/options.ts";
import type { Registry } from "./command_line.ts";
import { COMMON_OPTIONS, SERVER_OPTIONS } from "./common_options.ts";
import { NAME_PATTERN } from "./config.ts";

type Json = string | number | boolean | readonly Json[] | JsonObject;
interface JsonObject {
  readonly [key: string]: Json;
}

/** The schema for the devices of `registry`. */
export function configSchema(registry: Registry): JsonObject {
  const devices = Object.values(registry);
  const definitions = devices.map((device): [string, JsonObject] => [
    device.name,
    {
      type: "object",
      description: device.summary,
      properties: {
        device: { const: device.name },
        name: {
          type: "string",
          pattern: NAME_PATTERN,
          description: "What the log calls it; else the device and its place",
        },
        ...properties(SERVER_OPTIONS),
        ...properties(device.options),
      },
      required: ["device", ...required(device.options)],
      oneOf: [{ required: ["socket-path"] }, { required: ["fd"] }],
      additionalProperties: false,
    },
  ]);
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "ringside serve --config",
    type: "object",
    properties: {
      $schema: { type: "string" },
      "log-level": optionSchema(COMMON_OPTIONS["log-level"]),
      "control-path": optionSchema(COMMON_OPTIONS["control-path"]),
      devices: {
        type: "array",
        minItems: 1,
        items: {
          type: "object",
          properties: { device: { enum: devices.map(({ name }) => name) } },
          required: ["device"],
          // One branch for each, so that an editor tells what is wrong with the
          // device that is meant.
          allOf: devices.map(({ name }) => ({
            if: { properties: { device: { const: name } } },
            then: { $ref: `#/$defs/${name}` },
          })),
        },
      },
    },
    required: ["devices"],
    additionalProperties: false,
    $defs: Object.fromEntries(definitions),
  };
}

/** The schema as its file has it. */
export function configSchemaText(registry: Registry): string {
  return `${JSON.stringify(configSchema(registry), null, 2)}\n`;
}

function properties(specs: OptionSpecs): JsonObject {
  return Object.fromEntries(
    Object.entries(specs).map(([name, spec]) => [name, optionSchema(spec)]),
  );
}

function required(specs: OptionSpecs): string[] {
  return Object.keys(specs).filter((name) => specs[name]!.required);
}

function optionSchema(spec: OptionSpec): JsonObject {
  const description = spec.describe;
  const preset: JsonObject = "default" in spec && spec.default !== undefined
    ? { default: spec.default }
    : {};
  switch (spec.type) {
    case "boolean":
      return { description, type: "boolean", default: false };
    case "string":
      return { description, type: "string", minLength: 1, ...preset };
    case "choice":
      return { description, enum: spec.choices, ...preset };
    default:
      return { description, ...numberSchema(spec), ...preset };
  }
}

/** What can't be said of text, as its range, is in the description only. */
function numberSchema(
  spec: Extract<OptionSpec, { type: "number" | "size" }>,
): JsonObject {
  const { min = 0, max } = spec;
  const number: JsonObject = spec.powerOfTwo && max !== undefined
    ? { enum: powersOfTwo(min, max) }
    : {
      type: "integer",
      minimum: min,
      ...(max === undefined ? {} : { maximum: max }),
    };
  if (spec.type === "number") return number;
  const text = {
    type: "string",
    pattern: "^[0-9]+[KMGTkmgt]?$",
    examples: [formatSize(spec.default ?? Math.max(min, 4096))],
  };
  return { anyOf: [number, text] };
}

function powersOfTwo(min: number, max: number): number[] {
  const powers: number[] = [];
  for (let power = 1; power <= max; power *= 2) {
    if (power >= min) powers.push(power);
  }
  return powers;
}
