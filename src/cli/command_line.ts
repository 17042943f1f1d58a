/**
 * The command line as a typed command.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import type { DeviceDescriptor } from "../device/device.ts";
import {
  completeOptions,
  type OptionSpec,
  type OptionSpecs,
  type OptionValues,
  parseOptionValue,
} from "../device/options.ts";
import { UsageError } from "../errors.ts";
import {
  checkServer,
  COMMON_OPTIONS,
  type CommonValues,
} from "./common_options.ts";
import { nearest } from "./nearest.ts";
import { type Tool, TOOLS } from "./tools.ts";

/** The devices by their names on the command line. */
export type Registry = Readonly<Record<string, DeviceDescriptor>>;

/** What the command line asks for. */
export type Command =
  | { kind: "version" }
  | { kind: "help"; device: DeviceDescriptor | null }
  | { kind: "capabilities"; device: DeviceDescriptor }
  | {
    kind: "serve";
    device: DeviceDescriptor;
    common: CommonValues;
    options: OptionValues<OptionSpecs>;
  }
  | { kind: "serve-help" }
  | { kind: "serve-config"; path: string }
  | { kind: "tool"; tool: Tool; args: string[] };

/** The word in place of a device that stands for several, from a file. */
export const SERVE = "serve";

/** What can be said with it. */
export const SERVE_OPTIONS = {
  "config": {
    type: "string",
    placeholder: "FILE",
    required: true,
    describe: "The file that names the devices and their options",
  },
  "version": COMMON_OPTIONS.version,
  "help": COMMON_OPTIONS.help,
} as const satisfies OptionSpecs;

const TOP_OPTIONS = ["help", "version"];

/** What other programs call our options. */
const HABITS: Readonly<Record<string, string>> = {
  "V": "version",
  "v": "version",
  "?": "help",
};

/** Whether `args` ask for the version, for which no device need be loaded. */
export function asksForVersion(args: string[]): boolean {
  const end = args.indexOf("--");
  return (end === -1 ? args : args.slice(0, end)).includes("--version");
}

/**
 * Reads `args`, the arguments of the program.
 *
 * @throws {UsageError} an argument that is wrong: what is, what was wanted
 */
export function parseCommandLine(args: string[], devices: Registry): Command {
  refuseTopOptions(args, devices);
  const top = parseArgs(args, {
    boolean: TOP_OPTIONS,
    alias: { help: "h" },
    string: "_",
    stopEarly: true,
  });
  refuseSwitchValues(args.slice(0, args.length - top._.length), TOP_OPTIONS);
  if (top.version) return { kind: "version" };
  if (top.help) return { kind: "help", device: null };
  const [name, ...rest] = top._.map(String);
  const names = [...Object.keys(devices), SERVE, ...Object.keys(TOOLS)];
  if (name === undefined) {
    throw new UsageError(
      `There is no device: give one of ${names.join(", ")}, or --help`,
    );
  }
  if (name === SERVE) return parseServe(rest);
  if (Object.hasOwn(TOOLS, name)) {
    return { kind: "tool", tool: TOOLS[name]!, args: rest };
  }
  if (!Object.hasOwn(devices, name)) {
    const near = TOP_OPTIONS.includes(name)
      ? `--${name}`
      : nearest(name, names);
    throw new UsageError(
      `There is no device "${name}": ` +
        `${orNearest(near)}ringside --help lists all`,
    );
  }
  return parseDevice(rest, devices[name]!);
}

function parseDevice(args: string[], device: DeviceDescriptor): Command {
  const specs = { ...device.options, ...COMMON_OPTIONS };
  const given = readOptions(args, specs, device.name);
  if (given["help"]) return { kind: "help", device };
  if (given["version"]) return { kind: "version" };
  if (given["print-capabilities"]) return { kind: "capabilities", device };
  const common = completeOptions(COMMON_OPTIONS, given);
  checkServer(common);
  const options = completeOptions(device.options, given);
  return { kind: "serve", device, common, options };
}

function parseServe(args: string[]): Command {
  const given = readOptions(args, SERVE_OPTIONS, SERVE);
  if (given["help"]) return { kind: "serve-help" };
  if (given["version"]) return { kind: "version" };
  const { config } = completeOptions(SERVE_OPTIONS, given);
  return { kind: "serve-config", path: config };
}

/** Before the device there is not much that can be said. */
function refuseTopOptions(args: string[], devices: Registry): void {
  const specs: OptionSpecs = Object.assign(
    {},
    COMMON_OPTIONS,
    ...Object.values(devices).map(({ options }) => options),
  );
  for (const arg of args) {
    if (!/^-./.test(arg) || arg === "--") return;
    const key = keyOf(arg);
    if (arg === "-h" || (arg.startsWith("--") && TOP_OPTIONS.includes(key))) {
      continue;
    }
    const owner = Object.hasOwn(SERVE_OPTIONS, key)
      ? SERVE
      : Object.hasOwn(specs, key)
      ? "DEVICE"
      : null;
    if (owner === null || TOP_OPTIONS.includes(key)) {
      throw unknownOption(arg, TOP_OPTIONS);
    }
    throw new UsageError(
      `--${key} stands before there is a device: give it behind one, as ` +
        `ringside ${owner} --${key}`,
    );
  }
}

/** The name in `arg`, an option as it is written. */
function keyOf(arg: string): string {
  return arg.replace(/^--?/, "").split("=")[0]!;
}

/**
 * `args`, where a number below 0 is the value of the option before it. Refuses
 * what else starts with one dash, which only -h may.
 *
 * @throws {UsageError} what is, what was wanted
 */
function joinDashes(
  args: string[],
  specs: OptionSpecs,
  device: string,
): string[] {
  const joined: string[] = [];
  for (const [at, arg] of args.entries()) {
    if (arg === "--") return [...joined, ...args.slice(at)];
    if (arg === "-h" || !/^-[^-]/.test(arg)) {
      joined.push(arg);
      continue;
    }
    const before = args[at - 1] ?? "";
    const name = before.slice(2);
    const spec = before.startsWith("--") && Object.hasOwn(specs, name)
      ? specs[name]!
      : null;
    if (spec === null || spec.type === "boolean") {
      throw unknownOption(arg, Object.keys(specs), device);
    }
    const isNumber = spec.type === "number" || spec.type === "size";
    if (!isNumber || !/^-[0-9]/.test(arg)) throw noValue(name, spec);
    joined[joined.length - 1] = `${before}=${arg}`;
  }
  return joined;
}

/**
 * The values that `line` gives to `specs`, the options of `device` (or of what
 * stands in its place). What belongs to no option goes to `words`, and is
 * refused where there are none.
 *
 * @throws {UsageError} what is, what was wanted
 */
export function readOptions(
  line: string[],
  specs: OptionSpecs,
  device: string,
  words?: string[],
): Record<string, string | number | boolean> {
  const args = joinDashes(line, specs, device);
  const names = Object.keys(specs);
  const switches = names.filter((name) => specs[name]!.type === "boolean");
  const parsed = parseArgs(args, {
    boolean: switches,
    string: [...names.filter((name) => !switches.includes(name)), "_"],
    collect: names,
    alias: { help: "h" },
    unknown: (arg, key) => {
      if (key !== undefined) throw unknownOption(arg, names, device);
      return true;
    },
  });
  refuseSwitchValues(args, switches);
  const given: Record<string, string | number | boolean> = {};
  for (const name of names) {
    const values = parsed[name] as (string | boolean)[];
    if (values.length === 0) continue;
    if (values.length > 1) {
      throw new UsageError(
        `--${name} is given ${values.length} times: give it once`,
      );
    }
    given[name] = readValue(name, specs, values[0]!);
  }
  const [extra] = parsed._;
  if (words !== undefined) words.push(...parsed._.map(String));
  else if (extra !== undefined) {
    throw new UsageError(
      `"${extra}" belongs to no option: ringside ${device} --help lists them`,
    );
  }
  return given;
}

function readValue(
  name: string,
  specs: OptionSpecs,
  value: string | boolean,
): string | number | boolean {
  if (typeof value === "boolean") return value;
  const spec = specs[name]!;
  if (value === "") throw noValue(name, spec);
  return parseOptionValue(name, spec, value);
}

function noValue(name: string, spec: OptionSpec): UsageError {
  const example = `--${name} ${placeholderOf(spec)}`;
  const dash = spec.type === "string"
    ? `, or as --${name}=-… where it starts with a dash`
    : "";
  return new UsageError(`--${name} has no value: give it as ${example}${dash}`);
}

/** What stands for the value of an option in usage lines. */
export function placeholderOf(spec: OptionSpec): string {
  if (spec.type === "choice") return "WORD";
  return spec.placeholder ?? "TEXT";
}

/** A switch is on when it is given; `--read-only=no` would surprise. */
function refuseSwitchValues(args: string[], switches: string[]): void {
  for (const arg of args) {
    if (arg === "--") return;
    const name = switches.find((name) => arg.startsWith(`--${name}=`));
    if (name === undefined) continue;
    throw new UsageError(
      `--${name} is a switch and takes no value, got "${
        arg.slice(name.length + 3)
      }": leave the value out`,
    );
  }
}

/** `arg`, as it is written, is none of `names`. */
function unknownOption(
  arg: string,
  names: readonly string[],
  device = "",
): UsageError {
  const key = keyOf(arg);
  const [written] = arg.split("=");
  const program = device === "" ? "ringside" : `ringside ${device}`;
  const habit = HABITS[key];
  const near = habit !== undefined && names.includes(habit)
    ? habit
    : nearest(key, names);
  return new UsageError(
    `There is no option ${written} of ${program}: ` +
      `${orNearest(near && `--${near}`)}${program} --help lists all`,
  );
}

function orNearest(near: string | null): string {
  return near === null ? "" : `the nearest is ${near}, and `;
}
