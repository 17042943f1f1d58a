/**
 * `ringside check`: named checks of a back-end, as TAP and JSON.
 *
 * @module
 */
import {
  BackEndGone,
  type Check,
  CheckFailure,
  type CheckOptions,
  type CheckReport,
  DEVICE_KINDS,
  type DeviceKind,
  hasFailed,
  type Outcome,
  reportOf,
  runChecks,
  selectChecks,
  tapBailOut,
  tapHeader,
  tapOutcome,
} from "../check/mod.ts";
import {
  completeOptions,
  type OptionSpecs,
  type OptionValues,
} from "../device/options.ts";
import { ProtocolError, UsageError } from "../errors.ts";
import { writeTextFile } from "../io/text_file.ts";
import { NackError } from "../vhost_user/frontend.ts";
import { readOptions } from "./command_line.ts";
import { COMMON_OPTIONS } from "./common_options.ts";
import { optionTable } from "./help.ts";
import { nearest } from "./nearest.ts";
import type { ToolOutput } from "./tools.ts";

const EXIT_OK = 0;
const EXIT_FAILURE = 1;

/** What can be said with it. */
const CHECK_OPTIONS = {
  "socket-path": {
    type: "string",
    placeholder: "PATH",
    describe: "The socket that the back-end listens on; required, but for " +
      "--list",
  },
  "ring": {
    type: "choice",
    choices: ["split", "packed"],
    default: "split",
    describe: "The kind of the rings",
  },
  "only": {
    type: "string",
    placeholder: "TEXT",
    describe: "Only checks whose name or title has this text",
  },
  "list": { type: "boolean", describe: "List the checks and exit" },
  "destructive": {
    type: "boolean",
    describe: "Also run checks that write on the disk: the first 2 MiB and " +
      "the last block are lost",
  },
  "loopback": {
    type: "boolean",
    describe: "The card sends back what it is sent; else that is found out",
  },
  "queues": {
    type: "number",
    placeholder: "N",
    min: 1,
    max: 64,
    default: 4,
    describe: "Rings to use at most",
  },
  "timeout": {
    type: "number",
    placeholder: "SECONDS",
    min: 1,
    max: 3600,
    default: 5,
    describe: "The limit of one check; a few that do more have more",
  },
  "seed": {
    type: "number",
    placeholder: "N",
    max: 2 ** 32 - 1,
    default: 1,
    describe: "What random numbers start from",
  },
  "format": {
    type: "choice",
    choices: ["tap", "json"],
    default: "tap",
    describe: "What goes to standard output",
  },
  "json": {
    type: "string",
    placeholder: "FILE",
    describe: "Write the report into this file, as JSON",
  },
  "help": COMMON_OPTIONS.help,
} as const satisfies OptionSpecs;

type CheckValues = OptionValues<typeof CHECK_OPTIONS>;

/** Runs the tool with the arguments behind its word: the exit code. */
export async function run(
  args: string[],
  output: ToolOutput,
): Promise<number> {
  const words: string[] = [];
  const given = readOptions(args, CHECK_OPTIONS, "check", words);
  if (given["help"]) {
    output.print(help());
    return EXIT_OK;
  }
  const device = deviceOf(words);
  const values = completeOptions(CHECK_OPTIONS, given);
  const { only = "", json } = values;
  const checks = selectChecks({ device, only });
  if (checks.length === 0) {
    throw new UsageError(
      `No check of ${device} has "${only}" in its name: ` +
        `ringside check ${device} --list names all`,
    );
  }
  if (values.list) {
    for (const check of checks) output.print(listed(check));
    return EXIT_OK;
  }
  // Before the run: a report that can't be written is no use after it.
  if (json !== undefined) writeTextFile(json, "");
  const options = checkOptions(device, values);
  const { report, bailOut } = await check(options, checks, values, output);
  const text = JSON.stringify(report, null, 2);
  if (json !== undefined) writeTextFile(json, `${text}\n`);
  if (values.format === "json") output.print(text);
  output.complain(`ringside check: ${summary(report)}`);
  return bailOut || report.counts.failed > 0 ? EXIT_FAILURE : EXIT_OK;
}

/** Runs the checks, each told as it is done. */
async function check(
  options: CheckOptions,
  checks: readonly Check[],
  { format }: CheckValues,
  output: ToolOutput,
): Promise<{ report: CheckReport; bailOut: boolean }> {
  const tell = (text: string) => format === "tap" && output.print(text);
  const outcomes: Outcome[] = [];
  let bailOut = false;
  tell(tapHeader(checks.length));
  try {
    for await (const outcome of runChecks(options, checks)) {
      outcomes.push(outcome);
      tell(tapOutcome(outcomes.length, outcome));
      if (format === "json" && hasFailed(outcome)) {
        output.complain(`${outcome.id}: ${outcome.message}`);
      }
    }
  } catch (error) {
    tell(tapBailOut(error instanceof Error ? error.message : String(error)));
    if (!isVerdict(error)) throw error;
    bailOut = true;
    output.complain(`ringside check: ${error.message}`);
  }
  return { report: reportOf(options, outcomes), bailOut };
}

/** Whether `error` is the end of a run that the back-end is to blame for. */
function isVerdict(error: unknown): error is Error {
  return error instanceof BackEndGone || error instanceof CheckFailure ||
    error instanceof ProtocolError || error instanceof NackError;
}

function checkOptions(device: DeviceKind, values: CheckValues): CheckOptions {
  const socketPath = values["socket-path"];
  if (socketPath === undefined) {
    throw new UsageError(
      "There is no socket: give --socket-path, where the back-end listens",
    );
  }
  return {
    socketPath,
    device,
    ring: values.ring,
    timeoutMs: 1000 * values.timeout,
    destructive: values.destructive,
    queueCount: values.queues,
    seed: values.seed,
    ...(values.loopback ? { loopback: true } : {}),
  };
}

/** The one word among the options. */
function deviceOf(words: readonly string[]): DeviceKind {
  const known = DEVICE_KINDS.join(", ");
  const [word, extra] = words;
  if (word === undefined) {
    throw new UsageError(`There is no device: give one of ${known}, or --help`);
  }
  const device = DEVICE_KINDS.find((kind) => kind === word);
  if (device === undefined) {
    const near = nearest(word, DEVICE_KINDS);
    throw new UsageError(
      `There are no checks of "${word}": ` +
        (near === null ? "" : `the nearest is ${near}, and `) +
        `there are those of ${known}`,
    );
  }
  if (extra !== undefined) {
    throw new UsageError(
      `"${extra}" belongs to no option: ringside check --help lists them`,
    );
  }
  return device;
}

function listed({ id, title, level, section, destructive }: Check): string {
  const note = destructive ? ", writes on the disk" : "";
  return `${id}: ${title} (${level}, ${section}${note})`;
}

function summary({ counts, seed }: CheckReport): string {
  const { passed, failed, advised, skipped } = counts;
  return `${passed} passed, ${failed} failed, ${advised} recommendations not ` +
    `met, ${skipped} skipped; repeat with --seed ${seed}`;
}

/** The help of the tool. */
function help(): string {
  return [
    "Usage: ringside check DEVICE --socket-path PATH [OPTION]...",
    "",
    `Checks a vhost-user back-end, ours or another: ${
      DEVICE_KINDS.join(", ")
    }.`,
    "Each check is a front-end of its own, and has the section of the",
    "specification that it stands on. Standard output is TAP, version 14; what",
    "is only recommended is marked TODO and fails nothing.",
    "",
    "Options:",
    optionTable(CHECK_OPTIONS),
    "",
    "Exit codes: 0 all passed, 1 something failed, 2 the command line is wrong.",
  ].join("\n");
}
