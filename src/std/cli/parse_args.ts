/**
 * The part of `@std/cli/parse-args` that ringside uses, with the same
 * signature. See docs/decisions/0001-std-adapters.md. Not over `node:util`,
 * which takes longer to load than all of the command line.
 *
 * @module
 */

/** What {@linkcode parseArgs} found. */
export interface Args {
  /** The options by name, all aliases included. */
  [name: string]: unknown;
  /** The arguments that belong to no option. */
  _: Array<string | number>;
  /** What stands behind `--`, where that was asked for. */
  "--"?: string[];
}

/** How {@linkcode parseArgs} reads the arguments. */
export interface ParseOptions {
  /** Whether what stands behind `--` goes to `["--"]` instead of `_`. */
  "--"?: boolean;
  /** Other names of an option. */
  alias?: Readonly<Record<string, string | readonly string[]>>;
  /** Options without a value: false unless given. */
  boolean?: string | readonly string[];
  /** Options that may be given several times: arrays, empty unless given. */
  collect?: string | readonly string[];
  /** Values of options that are not given. */
  default?: Readonly<Record<string, unknown>>;
  /** Options that `--no-<name>` sets to false. */
  negatable?: string | readonly string[];
  /** Whether everything from the first argument that is no option goes to `_`. */
  stopEarly?: boolean;
  /** Options whose value is never read as a number; "" where it is missing. */
  string?: string | readonly string[];
  /**
   * Called with each argument that no other setting names: the argument as
   * written, and for an option its name and value. False leaves it out.
   */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

function listOf(names: string | readonly string[] | undefined): string[] {
  if (names === undefined) return [];
  return typeof names === "string" ? [names] : [...names];
}

const NUMBER = /^(?:0x[0-9a-f]+|[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?)$/i;

function numberOr(text: string): string | number {
  return NUMBER.test(text) ? Number(text) : text;
}

/** One parse: the names that are known and the result as it grows. */
class Parse {
  readonly args: Args = { _: [] };
  readonly #aliases = new Map<string, string[]>();
  readonly #boolean: Set<string>;
  readonly #string: Set<string>;
  readonly #collect: Set<string>;
  readonly #negatable: Set<string>;
  readonly #known: Set<string>;
  readonly #options: ParseOptions;
  readonly #given = new Set<string>();

  constructor(options: ParseOptions) {
    this.#options = options;
    for (const [name, others] of Object.entries(options.alias ?? {})) {
      const group = [name, ...listOf(others)];
      for (const member of group) this.#aliases.set(member, group);
    }
    this.#boolean = this.#named(options.boolean);
    this.#string = this.#named(options.string);
    this.#collect = this.#named(options.collect);
    this.#negatable = this.#named(options.negatable);
    this.#known = new Set([
      ...this.#aliases.keys(),
      ...this.#boolean,
      ...this.#string,
      ...this.#collect,
      ...this.#negatable,
    ]);
  }

  /** Takes `rawName`, as `--size`, and `value`, if one stands with it. */
  option(rawName: string, name: string, value: string | undefined): void {
    const positive = name.startsWith("no-") ? name.slice(3) : "";
    if (this.#negatable.has(positive) && value === undefined) {
      return this.#set(positive, false);
    }
    if (!this.#known.has(name) && this.#options.unknown !== undefined) {
      const written = value === undefined ? rawName : `${rawName}=${value}`;
      if (this.#options.unknown(written, name, value ?? true) === false) {
        return;
      }
    }
    this.#set(name, this.#valueOf(name, value));
  }

  /** Whether `text`, the next argument, is the value of the option `name`. */
  takes(name: string, text: string): boolean {
    if (name.startsWith("no-") && this.#negatable.has(name.slice(3))) {
      return false;
    }
    if (this.#boolean.has(name)) return text === "true" || text === "false";
    return !text.startsWith("-");
  }

  /** Takes an argument that belongs to no option. */
  positional(text: string): void {
    if (this.#options.unknown?.(text) === false) return;
    this.args._.push(this.#string.has("_") ? text : numberOr(text));
  }

  /** Fills in what was not given. */
  finish(): Args {
    for (const [name, value] of Object.entries(this.#options.default ?? {})) {
      if (!this.#given.has(name)) this.#setAll(name, value);
    }
    for (const name of this.#boolean) {
      if (!this.#collect.has(name)) this.args[name] ??= false;
    }
    for (const name of this.#collect) this.args[name] ??= [];
    return this.args;
  }

  #valueOf(name: string, value: string | undefined): unknown {
    if (this.#string.has(name)) return value ?? "";
    if (this.#boolean.has(name)) return value !== "false";
    return value === undefined ? true : numberOr(value);
  }

  #set(name: string, value: unknown): void {
    if (!this.#collect.has(name)) return this.#setAll(name, value);
    const before = this.#given.has(name) ? this.args[name] as unknown[] : [];
    this.#setAll(name, [...before, value]);
  }

  #setAll(name: string, value: unknown): void {
    for (const member of this.#aliases.get(name) ?? [name]) {
      this.args[member] = value;
      this.#given.add(member);
    }
  }

  #named(names: string | readonly string[] | undefined): Set<string> {
    const all = new Set<string>();
    for (const name of listOf(names)) {
      for (const member of this.#aliases.get(name) ?? [name]) all.add(member);
    }
    return all;
  }
}

/** One option as it is written: several letters behind a dash are several. */
interface Written {
  rawName: string;
  name: string;
  value: string | undefined;
}

function readWritten(arg: string): Written[] {
  if (!arg.startsWith("--")) {
    return arg.slice(1).split("").map((name) => ({
      rawName: `-${name}`,
      name,
      value: undefined,
    }));
  }
  // A name has a character at least, be it "=".
  const equals = arg.indexOf("=", 3);
  const rawName = equals === -1 ? arg : arg.slice(0, equals);
  const value = equals === -1 ? undefined : arg.slice(equals + 1);
  return [{ rawName, name: rawName.slice(2), value }];
}

const isOption = (arg: string): boolean => arg.length > 1 && arg[0] === "-";

/** Reads the command line `args` as `options` say. Never throws. */
export function parseArgs(args: string[], options: ParseOptions = {}): Args {
  const parse = new Parse(options);
  if (options["--"]) parse.args["--"] = [];
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!;
    if (arg === "--") {
      const rest = args.slice(at + 1);
      if (options["--"]) parse.args["--"] = rest;
      else parse.args._.push(...rest);
      break;
    }
    if (!isOption(arg)) {
      if (options.stopEarly) {
        parse.args._.push(...args.slice(at));
        break;
      }
      parse.positional(arg);
      continue;
    }
    const written = readWritten(arg);
    const last = written.at(-1)!;
    const next = args[at + 1];
    if (
      last.value === undefined && next !== undefined && !isOption(next) &&
      parse.takes(last.name, next)
    ) {
      last.value = next;
      at++;
    }
    for (const { rawName, name, value } of written) {
      parse.option(rawName, name, value);
    }
  }
  return parse.finish();
}
