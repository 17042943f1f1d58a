/**
 * Typed options of a device. The command line, its help and the checks follow
 * from the specs that a device declares.
 *
 * @module
 */
import { UsageError } from "../errors.ts";

/** What every option has. */
export interface OptionBase {
  /** One line for the help, without a full stop. */
  readonly describe: string;
  /** What stands for the value in the help, as `PATH`. */
  readonly placeholder?: string;
  /** The option must be given. */
  readonly required?: true;
}

/** Any text that is not empty. */
export interface StringSpec extends OptionBase {
  /** Discriminates. */
  readonly type: "string";
  /** The value when it is not given. */
  readonly default?: string;
}

/** A whole number (`number`), or bytes with an optional suffix K, M, G or T (`size`). */
export interface NumberSpec extends OptionBase {
  /** Discriminates. */
  readonly type: "number" | "size";
  /** The value when it is not given. */
  readonly default?: number;
  /** The smallest value; 0 when not said. */
  readonly min?: number;
  /** The largest value; 2^53-1 when not said. */
  readonly max?: number;
  /** Only 1, 2, 4, 8 and so on. */
  readonly powerOfTwo?: boolean;
}

/** A switch, off unless it is given. Takes no value. */
export interface BooleanSpec extends OptionBase {
  /** Discriminates. */
  readonly type: "boolean";
}

/** One of a few words. */
export interface ChoiceSpec extends OptionBase {
  /** Discriminates. */
  readonly type: "choice";
  /** The words. */
  readonly choices: readonly string[];
  /** The value when it is not given. */
  readonly default?: string;
}

/** One option. */
export type OptionSpec = StringSpec | NumberSpec | BooleanSpec | ChoiceSpec;

/** The options of a device by their names on the command line, in kebab-case. */
export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

/** The type of the value of one option when it is given. */
export type OptionValue<S extends OptionSpec> = S extends
  { type: "choice"; choices: readonly (infer C)[] } ? C
  : S extends { type: "boolean" } ? boolean
  : S extends { type: "string" } ? string
  : number;

/** The type of the value of one option that may be absent. */
export type Absent<S extends OptionSpec> = S extends
  { type: "boolean" } | { required: true } | { default: string | number }
  ? never
  : undefined;

/** The values of all options; undefined where one has none and no default. */
export type OptionValues<S extends OptionSpecs> = {
  readonly [K in keyof S]: OptionValue<S[K]> | Absent<S[K]>;
};

const SUFFIXES = "KMGT";

/**
 * The value that `text` is for option `--name`, which messages call `label`. A
 * boolean is given without a value: its text is "" or "true".
 *
 * @throws {UsageError} what is, what was wanted
 *
 * @example A size, and what is said of one that is too large
 * ```ts
 * import { parseOptionValue, UsageError } from "@ringside/ringside/device";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const spec = { type: "size", describe: "Room", max: 65536 } as const;
 * assertEquals(parseOptionValue("room", spec, "64K"), 65536);
 * assertThrows(
 *   () => parseOptionValue("room", spec, "1M"),
 *   UsageError,
 *   "--room is 1M: give it 0 to 64K",
 * );
 * ```
 */
export function parseOptionValue(
  name: string,
  spec: OptionSpec,
  text: string,
  label: string = `--${name}`,
): string | number | boolean {
  switch (spec.type) {
    case "boolean":
      if (text === "" || text === "true") return true;
      if (text === "false") return false;
      throw new UsageError(
        `${label} is a switch and takes no value, got "${text}": ` +
          "leave the value away",
      );
    case "string":
      if (text.includes("\0")) {
        throw new UsageError(
          `${label} holds a zero character: leave it out`,
        );
      }
      if (text !== "") return text;
      throw new UsageError(
        `${label} is empty: give it a value, as --${name} ` +
          (spec.placeholder ?? "TEXT"),
      );
    case "choice":
      if (spec.choices.includes(text)) return text;
      throw new UsageError(
        `${label} is "${text}": use one of ${spec.choices.join(", ")}`,
      );
    default:
      return checkNumber(label, spec, text);
  }
}

/**
 * All values of `specs`: those `given`, else the defaults. Messages call an
 * option what `label` makes of its name.
 *
 * @throws {UsageError} a required option is missing
 *
 * @example Options with types that follow from their specs
 * ```ts
 * import { completeOptions, type OptionSpecs } from "@ringside/ringside/device";
 * import { assertEquals } from "@std/assert";
 *
 * const specs = {
 *   depth: { type: "number", describe: "How deep", default: 4, max: 64 },
 *   engine: { type: "choice", choices: ["a", "b"], describe: "What drives" },
 * } as const satisfies OptionSpecs;
 *
 * const options = completeOptions(specs, { engine: "b" });
 * const depth: number = options.depth;
 * const engine: "a" | "b" | undefined = options.engine;
 * assertEquals([depth, engine], [4, "b"]);
 * ```
 */
export function completeOptions<S extends OptionSpecs>(
  specs: S,
  given: Readonly<Record<string, string | number | boolean | undefined>>,
  label: (name: string) => string = (name) => `--${name}`,
): OptionValues<S> {
  const values: Record<string, string | number | boolean | undefined> = {};
  for (const [name, spec] of Object.entries(specs)) {
    const value = given[name] ?? defaultOf(spec);
    if (value === undefined && spec.required) {
      throw new UsageError(
        `${label(name)} is missing: ${lowerFirst(spec.describe)}`,
      );
    }
    values[name] = value;
  }
  return values as OptionValues<S>;
}

/**
 * `bytes` as a person writes it: `64K`, `10G`, or the plain number.
 *
 * @example As in a help text
 * ```ts
 * import { formatSize } from "@ringside/ringside/device";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([65536, 1000].map(formatSize), ["64K", "1000"]);
 * ```
 */
export function formatSize(bytes: number): string {
  let value = bytes;
  let suffix = "";
  for (const next of SUFFIXES) {
    if (value === 0 || value % 1024 !== 0) break;
    value /= 1024;
    suffix = next;
  }
  return `${value}${suffix}`;
}

function checkNumber(label: string, spec: NumberSpec, text: string): number {
  const value = spec.type === "size" ? parseSize(text) : parseWhole(text);
  const min = spec.min ?? 0;
  const max = spec.max ?? Number.MAX_SAFE_INTEGER;
  const show = spec.type === "size" ? formatSize : String;
  if (Number.isNaN(value)) {
    const wanted = spec.type === "size"
      ? "a number of bytes, with K, M, G or T for powers of 1024"
      : "a whole number";
    throw new UsageError(`${label} is "${text}": give it ${wanted}`);
  }
  if (value < min || value > max) {
    const wanted = value < min && spec.max === undefined
      ? `${show(min)} or more`
      : `${show(min)} to ${show(max)}`;
    throw new UsageError(`${label} is ${text}: give it ${wanted}`);
  }
  if (spec.powerOfTwo && !isPowerOfTwo(value)) {
    const below = 2 ** Math.floor(Math.log2(value));
    throw new UsageError(
      `${label} is ${text}, not a power of two: the next one below is ${
        show(below)
      }`,
    );
  }
  return value;
}

function parseWhole(text: string): number {
  return /^[0-9]+$/.test(text) ? Number(text) : NaN;
}

function parseSize(text: string): number {
  const match = /^([0-9]+)([KMGTkmgt]?)$/.exec(text);
  if (match === null) return NaN;
  const power = SUFFIXES.indexOf(match[2]!.toUpperCase());
  const factor = match[2] === "" ? 1 : 1024 ** (power + 1);
  return Number(match[1]) * factor;
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && 2 ** Math.round(Math.log2(value)) === value;
}

function defaultOf(spec: OptionSpec): string | number | boolean | undefined {
  return spec.type === "boolean" ? false : spec.default;
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
