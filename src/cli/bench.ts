/**
 * `ringside bench`: drives a back-end and measures it.
 *
 * @module
 */
import {
  completeOptions,
  type OptionSpecs,
  type OptionValues,
} from "../device/options.ts";
import { ProtocolError, UsageError } from "../errors.ts";
import { readTextFile, writeTextFile } from "../io/text_file.ts";
import {
  type Load,
  LOAD_OPTIONS,
  LoadError,
  type LoadKind,
  LOADS,
  type LoadValues,
  parseReport,
  picture,
  ProcessMeter,
  type Report,
  type ReportHead,
  reportOf,
  reportTable,
} from "../load/mod.ts";
import { NackError } from "../vhost_user/frontend.ts";
import { readOptions } from "./command_line.ts";
import { optionTable } from "./help.ts";
import { nearest } from "./nearest.ts";
import { ToolError, type ToolOutput } from "./tools.ts";

const PLOT = "plot";
const TIME_DEFAULT = 5;
/** The largest report that is read, in bytes. */
const REPORT_MAX = 16 << 20;
const EXIT_OK = 0;
const EXIT_FAILURE = 1;

const PLOT_OPTIONS = {
  "svg": {
    type: "string",
    placeholder: "FILE",
    required: true,
    describe: "Draw the picture into this file",
  },
  "title": {
    type: "string",
    placeholder: "TEXT",
    default: "ringside bench",
    describe: "What stands above it",
  },
  "help": LOAD_OPTIONS.help,
} as const satisfies OptionSpecs;

/** Runs the tool with the arguments behind its word: the exit code. */
export async function run(
  args: string[],
  output: ToolOutput,
): Promise<number> {
  const [word, rest] = takeWord(args);
  if (word === PLOT) return plot(rest, output);
  if (word === null) {
    if (rest.includes("--help") || rest.includes("-h")) {
      output.print(help());
      return EXIT_OK;
    }
    throw new UsageError(
      `There is no load: give one of ${words().join(", ")}, or --help`,
    );
  }
  const kind = Object.hasOwn(LOADS, word) ? LOADS[word]! : null;
  if (kind === null) {
    const near = nearest(word, words());
    throw new UsageError(
      `There is no load "${word}": ` +
        (near === null ? "" : `the nearest is ${near}, and `) +
        "ringside bench --help lists all",
    );
  }
  const specs = { ...LOAD_OPTIONS, ...kind.options };
  const given = readOptions(rest, specs, `bench ${word}`);
  if (given["help"]) {
    output.print(loadHelp(word, kind));
    return EXIT_OK;
  }
  const common = completeOptions(LOAD_OPTIONS, given);
  const own = completeOptions(kind.options, given);
  return await measure(word, kind, common, own, output);
}

/** Measures, and tells: to the terminal, and to files. */
async function measure(
  device: string,
  kind: LoadKind,
  common: LoadValues,
  own: OptionValues<OptionSpecs>,
  output: ToolOutput,
): Promise<number> {
  const open = kind.prepare(common, own);
  const pid = common["backend-pid"];
  const meter = pid === undefined ? null : new ProcessMeter(pid);
  const { json, svg } = common;
  // Before the run: a report that can't be written is no use after it.
  for (const path of [json, svg]) {
    if (path !== undefined) writeTextFile(path, "");
  }
  const { report, failures } = await asToolError(async () => {
    using load = await open();
    return runLoad(device, load, common, own, meter);
  });
  for (const line of reportTable(report)) output.print(line);
  if (json !== undefined) {
    writeTextFile(json, `${JSON.stringify(report)}\n`);
  }
  if (svg !== undefined) draw([report], report.label, svg);
  for (const line of report.complaints) {
    output.complain(`ringside bench: ${line}`);
  }
  return failures === 0 ? EXIT_OK : EXIT_FAILURE;
}

function runLoad(
  device: string,
  load: Load,
  common: LoadValues,
  own: OptionValues<OptionSpecs>,
  meter: ProcessMeter | null,
): { report: Report; failures: number } {
  const { requests } = common;
  const time = common.time ??
    (requests === undefined ? TIME_DEFAULT : undefined);
  const warmUp = common["warm-up"];
  if (warmUp > 0) load.run({ milliseconds: warmUp * 1000 });
  meter?.start();
  const head: ReportHead = {
    label: common.label ?? device,
    device,
    date: new Date().toISOString(),
    settings: settingsOf(common, own, load.facts),
  };
  const result = load.run({
    ...(requests === undefined ? {} : { requests }),
    ...(time === undefined ? {} : { milliseconds: time * 1000 }),
  });
  const usage = meter?.read() ?? null;
  return {
    report: reportOf(head, result, usage),
    failures: result.failures,
  };
}

/** What was asked for and agreed on, as the report has it. */
function settingsOf(
  common: LoadValues,
  own: OptionValues<OptionSpecs>,
  facts: Load["facts"],
): Report["settings"] {
  const { depth, queues, ring, indirect, polled, seed } = common;
  const settings: Record<string, string | number | boolean> = { depth };
  for (const [name, value] of Object.entries(own)) {
    const isSetting = value !== undefined && name !== "destructive";
    if (isSetting) settings[name] = value;
  }
  Object.assign(settings, { queues, ring, indirect, polled });
  Object.assign(settings, facts, { seed, warmUp: common["warm-up"] });
  return settings;
}

/** Draws the reports in files. */
function plot(args: string[], output: ToolOutput): number {
  const paths: string[] = [];
  const given = readOptions(args, PLOT_OPTIONS, `bench ${PLOT}`, paths);
  if (given["help"]) {
    output.print(plotHelp());
    return EXIT_OK;
  }
  const { svg, title } = completeOptions(PLOT_OPTIONS, given);
  if (paths.length === 0) {
    throw new UsageError(
      "There is no report: name files that ringside bench wrote by --json",
    );
  }
  const reports = paths.map((path) => {
    const report = parseReport(path, readTextFile(path, REPORT_MAX));
    if (report.latency !== null) return report;
    throw new UsageError(`${path} has no latencies to draw: leave it out`);
  });
  draw(reports, title, svg);
  return EXIT_OK;
}

function draw(reports: readonly Report[], title: string, path: string): void {
  if (reports.every(({ latency }) => latency === null)) {
    throw new ToolError(
      `There are no latencies to draw into ${path}: only received frames, ` +
        "or nothing, came back; leave --svg out",
    );
  }
  writeTextFile(path, picture(reports, title));
}

/** What a back-end can do wrong takes one line. */
async function asToolError<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (
      error instanceof LoadError || error instanceof ProtocolError ||
      error instanceof NackError
    ) {
      throw new ToolError(error.message, { cause: error });
    }
    throw error;
  }
}

function words(): string[] {
  return [...Object.keys(LOADS), PLOT];
}

/** The first of `args` that is neither an option nor its value, and the rest. */
function takeWord(args: string[]): [word: string | null, rest: string[]] {
  const specs: OptionSpecs = Object.assign(
    {},
    LOAD_OPTIONS,
    PLOT_OPTIONS,
    ...Object.values(LOADS).map(({ options }) => options),
  );
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!;
    if (arg === "--") break;
    if (!arg.startsWith("-")) return [arg, args.toSpliced(at, 1)];
    const name = arg.slice(2);
    const takesValue = arg.startsWith("--") && Object.hasOwn(specs, name) &&
      specs[name]!.type !== "boolean";
    if (takesValue) at++;
  }
  return [null, args];
}

/** The help of the tool. */
function help(): string {
  return [
    "Usage: ringside bench LOAD --socket-path PATH [OPTION]...",
    `       ringside bench ${PLOT} FILE... --svg FILE`,
    "",
    "Drives any vhost-user back-end and tells requests a second, percentiles of",
    "latency, notifications and, with --backend-pid, what the back-end spent.",
    "",
    "Loads:",
    ...Object.entries(LOADS).map(([name, { summary }]) =>
      `  ${name.padEnd(6)} ${summary}`
    ),
    `  ${PLOT.padEnd(6)} No load: the reports of several, in one picture`,
    "",
    "ringside bench LOAD --help lists the options.",
  ].join("\n");
}

function loadHelp(word: string, kind: LoadKind): string {
  return [
    `Usage: ringside bench ${word} --socket-path PATH [OPTION]...`,
    "",
    `${kind.summary}.`,
    "",
    `Options of ${word}:`,
    optionTable(kind.options),
    "",
    "Options of every load:",
    optionTable(LOAD_OPTIONS),
    "",
    "Exit codes: 0 measured, 1 the back-end failed or gave wrong answers,",
    "2 the command line is wrong.",
  ].join("\n");
}

function plotHelp(): string {
  return [
    `Usage: ringside bench ${PLOT} FILE... --svg FILE [--title TEXT]`,
    "",
    "Draws the latency percentiles of reports, which --json wrote, in one picture.",
    "",
    "Options:",
    optionTable(PLOT_OPTIONS),
  ].join("\n");
}
