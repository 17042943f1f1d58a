/**
 * The file that says which devices one process serves.
 *
 * @module
 */
import type { DeviceDescriptor } from "../device/device.ts";
import {
  completeOptions,
  type OptionSpec,
  type OptionSpecs,
  parseOptionValue,
} from "../device/options.ts";
import { UsageError } from "../errors.ts";
import type { LogLevel } from "../log.ts";
import type { Registry } from "./command_line.ts";
import {
  checkServer,
  COMMON_OPTIONS,
  SERVER_OPTIONS,
} from "./common_options.ts";
import { type JsonMember, type JsonValue, parseJsonc } from "./jsonc.ts";
import { nearest } from "./nearest.ts";
import type { ServedDevice } from "./serve.ts";

/** What the file says. */
export interface Config {
  /** What goes to standard error. */
  readonly logLevel: LogLevel;
  /** Where ringside ctl is listened for. */
  readonly controlPath?: string;
  /** At least one, with names and sockets that all differ. */
  readonly devices: readonly ServedDevice[];
}

/** What the file itself may have. */
const TOP_KEYS = ["$schema", "log-level", "control-path", "devices"];
/** What every device has beside its options and those of its server. */
const DEVICE_KEYS = ["device", "name"];
/** What the name of a device may be: it stands in lines of the log. */
export const NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

/**
 * Reads `text`, the content of `file`.
 *
 * @throws {UsageError} file, line and key, what is and what was wanted
 */
export function parseConfig(
  file: string,
  text: string,
  registry: Registry,
): Config {
  return new ConfigReader(file, registry).read(parseJsonc(file, text));
}

class ConfigReader {
  readonly #file: string;
  readonly #registry: Registry;
  /** Names and sockets so far, and the lines they are in. */
  readonly #taken = new Map<string, number>();

  constructor(file: string, registry: Registry) {
    this.#file = file;
    this.#registry = registry;
  }

  read(root: JsonValue): Config {
    const members = this.#members(root, "The file");
    this.#checkKeys(members, TOP_KEYS, "of the file");
    const level = members.find(({ key }) => key === "log-level");
    const spec = COMMON_OPTIONS["log-level"];
    const logLevel = level === undefined
      ? spec.default
      : this.#value(level, spec, `"log-level"`);
    const list = members.find(({ key }) => key === "devices");
    const items = list?.value.kind === "array" ? list.value.items : [];
    if (items.length === 0) {
      this.#fail(
        list?.line ?? root.line,
        'There are no devices: give "devices" as a list of objects like ' +
          '{ "device": "block", "socket-path": "disk.sock", ... }',
      );
    }
    const devices = items.map((item, index) => this.#device(item, index));
    const control = this.#controlPath(members);
    return {
      logLevel: logLevel as LogLevel,
      ...(control === null ? {} : { controlPath: control }),
      devices,
    };
  }

  #device(item: JsonValue, index: number): ServedDevice {
    const members = this.#members(item, `Element ${index} of "devices"`);
    const descriptor = this.#descriptor(members, item.line);
    const name = this.#name(members, `${descriptor.name}${index}`);
    this.#claim(`The name "${name.text}"`, name.line ?? item.line);
    const specs = { ...descriptor.options, ...SERVER_OPTIONS };
    this.#checkKeys(
      members,
      [...DEVICE_KEYS, ...Object.keys(specs)],
      `of a ${descriptor.name} device`,
    );
    const label = (key: string) => `"${key}" of ${name.text}`;
    const given: Record<string, string | number | boolean> = {};
    for (const member of members) {
      const spec = (specs as OptionSpecs)[member.key];
      if (spec === undefined) continue;
      given[member.key] = this.#value(member, spec, label(member.key));
    }
    return this.#at(item.line, () => {
      const server = completeOptions(SERVER_OPTIONS, given, label);
      checkServer(server, label);
      const { "socket-path": path, fd } = server;
      if (path !== undefined) this.#claim(`The socket ${path}`, item.line);
      else this.#claim(`The descriptor ${fd}`, item.line);
      return {
        name: name.text,
        origin: `${this.#file}:${item.line}: ${name.text}: `,
        descriptor,
        options: completeOptions(descriptor.options, given, label),
        server,
      };
    });
  }

  #controlPath(members: readonly JsonMember[]): string | null {
    const key = "control-path";
    const member = members.find((member) => member.key === key);
    if (member === undefined) return null;
    const path = this.#value(member, COMMON_OPTIONS[key], `"${key}"`);
    this.#claim(`The socket ${path}`, member.line);
    return String(path);
  }

  #descriptor(members: readonly JsonMember[], line: number): DeviceDescriptor {
    const names = Object.keys(this.#registry);
    const member = members.find(({ key }) => key === "device");
    if (member?.value.kind !== "string") {
      this.#fail(
        member?.line ?? line,
        `There is no "device" that says what it is: give one of ${
          names.map((name) => `"${name}"`).join(", ")
        }`,
      );
    }
    const { value } = member.value;
    if (Object.hasOwn(this.#registry, value)) return this.#registry[value]!;
    const near = nearest(value, names);
    this.#fail(
      member.line,
      `There is no device ${JSON.stringify(value)}: ` +
        (near === null ? "give one of " : `the nearest is "${near}" of `) +
        names.join(", "),
    );
  }

  #name(
    members: readonly JsonMember[],
    fallback: string,
  ): { text: string; line?: number } {
    const member = members.find(({ key }) => key === "name");
    if (member === undefined) return { text: fallback };
    const { value, line } = member;
    if (value.kind === "string" && new RegExp(NAME_PATTERN).test(value.value)) {
      return { text: value.value, line };
    }
    this.#fail(
      line,
      `"name" is ${show(value)}: give it up to 64 letters, digits, dots, ` +
        "dashes and underscores in quotes, the first a letter or a digit",
    );
  }

  /** Fails where `what` was there before. */
  #claim(what: string, line: number): void {
    const before = this.#taken.get(what);
    if (before !== undefined) {
      this.#fail(
        line,
        `${what} is taken by the device in line ${before}: ` +
          "give each device its own",
      );
    }
    this.#taken.set(what, line);
  }

  #members(value: JsonValue, what: string): JsonMember[] {
    if (value.kind === "object") return value.members;
    this.#fail(
      value.line,
      `${what} is ${show(value)}, wanted an object in braces`,
    );
  }

  #checkKeys(
    members: readonly JsonMember[],
    known: readonly string[],
    where: string,
  ): void {
    for (const { key, line } of members) {
      if (known.includes(key)) continue;
      const written = JSON.stringify(key);
      const near = nearest(key, known);
      this.#fail(
        line,
        `There is no key ${written} ${where}: ` +
          (near === null
            ? `give one of ${known.join(", ")}`
            : `the nearest is "${near}"`),
      );
    }
  }

  /** The value of an option, checked as on the command line. */
  #value(
    { line, value }: JsonMember,
    spec: OptionSpec,
    label: string,
  ): string | number | boolean {
    const text = textOf(value, spec);
    if (text === null || text === "") {
      this.#fail(line, `${label} is ${show(value)}: give it ${wanted(spec)}`);
    }
    return this.#at(line, () => parseOptionValue("", spec, text, label));
  }

  /** What `act` gives; its errors say that they are about `line`. */
  #at<T>(line: number, act: () => T): T {
    try {
      return act();
    } catch (error) {
      const isPlain = error instanceof UsageError &&
        !error.message.startsWith(`${this.#file}:`);
      if (isPlain) this.#fail(line, error.message);
      throw error;
    }
  }

  #fail(line: number, message: string): never {
    throw new UsageError(`${this.#file}:${line}: ${message}`);
  }
}

/** What would be on the command line, or null where the type is wrong. */
function textOf(value: JsonValue, spec: OptionSpec): string | null {
  if (spec.type === "boolean") {
    return value.kind === "boolean" ? String(value.value) : null;
  }
  if (value.kind === "number") {
    return spec.type === "number" || spec.type === "size" ? value.text : null;
  }
  if (value.kind !== "string" || spec.type === "number") return null;
  return value.value;
}

function wanted(spec: OptionSpec): string {
  switch (spec.type) {
    case "boolean":
      return "true or false";
    case "number":
      return "a whole number, without quotes";
    case "size":
      return 'a number of bytes, or text as "64K"';
    case "choice":
      return `one of ${spec.choices.map((word) => `"${word}"`).join(", ")}`;
    default:
      return "text in quotes";
  }
}

function show(value: JsonValue): string {
  switch (value.kind) {
    case "string":
      return JSON.stringify(value.value);
    case "number":
      return value.text;
    case "boolean":
      return String(value.value);
    case "null":
      return "null";
    default:
      return value.kind === "array" ? "a list" : "an object";
  }
}
