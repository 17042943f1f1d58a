/**
 * The help, made from the typed options.
 *
 * @module
 */
import type { DeviceDescriptor } from "../device/device.ts";
import {
  formatSize,
  type OptionSpec,
  type OptionSpecs,
} from "../device/options.ts";
import {
  placeholderOf,
  type Registry,
  SERVE,
  SERVE_OPTIONS,
} from "./command_line.ts";
import { COMMON_OPTIONS } from "./common_options.ts";
import { TOOLS } from "./tools.ts";

const COLUMNS = 80;
const GAP = 2;

const EXIT_CODES = table([
  ["0", "it stopped cleanly, or printed what was asked for"],
  ["1", "something failed, as opening a file: one line on stderr says what"],
  ["2", "the command line or the configuration is wrong: one line says what"],
]);

/** The help of the program. */
export function programHelp(devices: Registry): string {
  const list = Object.values(devices).map((
    device,
  ): [string, string] => [device.name, device.summary]);
  return [
    "Usage: ringside DEVICE (--socket-path PATH | --fd N) [OPTION]...",
    `       ringside ${SERVE} --config FILE`,
    "       ringside TOOL [OPTION]...",
    "",
    "Serves virtio devices to guests over vhost-user: one, or those in a file.",
    "",
    "Devices:",
    table(list),
    "",
    "Tools, for any back-end:",
    table(
      Object.entries(TOOLS).map((
        [name, { summary }],
      ): [string, string] => [name, summary]),
    ),
    "",
    "Options:",
    table([
      [
        "--help",
        "Print this help and exit; behind a device or a tool, that of it",
      ],
      ["--version", COMMON_OPTIONS.version.describe],
    ]),
    "",
    "Exit codes:",
    EXIT_CODES,
    "",
    "SIGTERM, SIGINT and SIGHUP drain the virtqueues, flush and exit; a second one",
    "exits at once.",
  ].join("\n");
}

/** The help of serving several devices. */
export function serveHelp(): string {
  return [
    `Usage: ringside ${SERVE} --config FILE`,
    "",
    "Serves the devices that a file names, each on a socket of its own.",
    "",
    "Options:",
    optionTable(SERVE_OPTIONS),
    "",
    "The file is JSON, with comments and trailing commas:",
    "",
    '  { "devices": [',
    '    { "device": "block", "name": "disk0", "socket-path": "disk0.sock",',
    '      "blk-file": "disk0.img", "read-only": true },',
    '    { "device": "rng", "socket-path": "rng.sock" }',
    "  ] }",
    "",
    "Keys are the options of each device (ringside DEVICE --help) without the",
    'dashes, and the socket, data plane and threads of its server. "name" is',
    'for the log and ctl. "log-level", "control-path" stand beside "devices".',
    "docs/ringside.schema.json describes it for editors.",
    "",
    "Exit codes:",
    EXIT_CODES,
  ].join("\n");
}

/** The help of one device. */
export function deviceHelp(device: DeviceDescriptor): string {
  const own = Object.entries(device.options)
    .filter(([, spec]) => spec.required)
    .map(([name, spec]) => ` ${usage(name, spec)}`);
  return [
    `Usage: ringside ${device.name} (--socket-path PATH | --fd N)` +
    `${own.join("")} [OPTION]...`,
    "",
    `${device.summary}.`,
    "",
    `Options of ${device.name}:`,
    optionTable(device.options),
    "",
    "Options of every device:",
    optionTable(COMMON_OPTIONS),
    "",
    "Sizes are in bytes, or with K, M, G or T in powers of 1024.",
    "",
    "Exit codes:",
    EXIT_CODES,
  ].join("\n");
}

/** The options `specs`, a line or more each. */
export function optionTable(specs: OptionSpecs): string {
  return table(
    Object.entries(specs).map((
      [name, spec],
    ): [string, string] => [usage(name, spec), description(spec)]),
  );
}

function usage(name: string, spec: OptionSpec): string {
  if (spec.type === "boolean") return `--${name}`;
  return `--${name} ${placeholderOf(spec)}`;
}

function description(spec: OptionSpec): string {
  const notes: string[] = [];
  if (spec.required) notes.push("required");
  if (spec.type === "choice") notes.push(spec.choices.join(", "));
  if (spec.type === "number" || spec.type === "size") {
    const show = spec.type === "size" ? formatSize : String;
    const min = show(spec.min ?? 0);
    if (spec.max !== undefined) notes.push(`${min} to ${show(spec.max)}`);
    if (spec.powerOfTwo) notes.push("a power of two");
    if (spec.default !== undefined) {
      notes.push(`default ${show(spec.default)}`);
    }
  } else if ("default" in spec && spec.default !== undefined) {
    notes.push(`default ${spec.default}`);
  }
  return notes.length === 0
    ? spec.describe
    : `${spec.describe} (${notes.join("; ")})`;
}

/** Two columns; what is too long for the second one is wrapped. */
function table(rows: [string, string][]): string {
  const left = Math.max(...rows.map(([name]) => name.length));
  const indent = " ".repeat(GAP + left + GAP);
  return rows.map(([name, text]) => {
    const lines = wrap(text, COLUMNS - indent.length);
    return " ".repeat(GAP) + name.padEnd(left + GAP) +
      lines.join(`\n${indent}`);
  }).join("\n");
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  lines.push(line);
  return lines;
}
