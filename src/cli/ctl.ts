/**
 * `ringside ctl`: asks a running server, or has it change something.
 *
 * @module
 */
import {
  completeOptions,
  type OptionSpecs,
  parseOptionValue,
} from "../device/options.ts";
import { SystemError, UsageError } from "../errors.ts";
import { EPIPE } from "../ffi/abi.ts";
import { Reactor } from "../io/reactor.ts";
import { UnixSocket } from "../io/unix_socket.ts";
import { printable } from "../printable.ts";
import { readOptions } from "./command_line.ts";
import { resultOf } from "./control_answer.ts";
import type { ControlRequest, Resized, Status } from "./control_protocol.ts";
import { optionTable } from "./help.ts";
import { LineSocket } from "./line_socket.ts";
import { nearest } from "./nearest.ts";
import { ToolError, type ToolOutput } from "./tools.ts";

const NAME = "ctl";
const COMMANDS = ["status", "resize"];
const EXIT_OK = 0;
const HUNG_UP =
  "The server hung up: it stops, or has too many clients, try again";
/** The longest answer that is read, in bytes. */
const ANSWER_MAX = 16 << 20;

const CTL_OPTIONS = {
  "control-path": {
    type: "string",
    placeholder: "PATH",
    required: true,
    describe: "The socket that the server was given by the same option",
  },
  "shrink": {
    type: "boolean",
    describe: "Of resize: the disk may become smaller, which cuts off its end",
  },
  "timeout": {
    type: "number",
    placeholder: "SECONDS",
    min: 1,
    max: 3600,
    default: 30,
    describe: "How long the server may take to answer",
  },
  "json": {
    type: "boolean",
    describe: "Print the answer as the server gives it",
  },
  "help": { type: "boolean", describe: "Print this help and exit" },
} as const satisfies OptionSpecs;

/** Runs the tool; see `ToolModule`. */
export async function run(
  args: string[],
  output: ToolOutput,
): Promise<number> {
  const { words, options } = split(args);
  const given = readOptions(options, CTL_OPTIONS, NAME);
  if (given["help"]) {
    output.print(help());
    return EXIT_OK;
  }
  const request = requestOf(words, given["shrink"] === true);
  const values = completeOptions(CTL_OPTIONS, given);
  const { timeout } = values;
  const result = await ask(values["control-path"], request, timeout);
  const lines = values.json
    ? [JSON.stringify(result, null, 2)]
    : request.command === "status"
    ? describeStatus(result as Status)
    : [`${request.device} has ${(result as Resized).size} bytes`];
  for (const line of lines) output.print(line);
  return EXIT_OK;
}

/** The words of `args` that are no options and no values of any. */
function split(args: string[]): { words: string[]; options: string[] } {
  const words: string[] = [];
  const options: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (!arg.startsWith("-")) words.push(arg);
    else {
      options.push(arg);
      const spec = (CTL_OPTIONS as OptionSpecs)[arg.slice(2)];
      const hasValue = spec !== undefined && spec.type !== "boolean";
      if (hasValue && i + 1 < args.length) options.push(args[++i]!);
    }
  }
  return { words, options };
}

function requestOf(words: string[], shrink: boolean): ControlRequest {
  const [command, ...rest] = words;
  if (command === undefined) {
    throw new UsageError(
      `There is no command: give one of ${COMMANDS.join(", ")}, or --help`,
    );
  }
  if (command === "status") {
    refuseMore(rest, 0, command);
    return { command };
  }
  if (command !== "resize") {
    const near = nearest(command, COMMANDS);
    throw new UsageError(
      `There is no command "${command}": ` +
        (near === null ? "" : `the nearest is ${near}, and `) +
        "ringside ctl --help lists all",
    );
  }
  refuseMore(rest, 2, command);
  const [device, text] = rest;
  if (device === undefined) {
    throw new UsageError(
      "resize names no device: give it as ringside ctl resize disk0 20G",
    );
  }
  if (text === undefined) return { command, device, shrink };
  const spec = { type: "size", min: 512, max: 2 ** 52, describe: "" } as const;
  const size = Number(parseOptionValue("", spec, text, "The size"));
  return { command, device, size, shrink };
}

function refuseMore(rest: string[], count: number, command: string): void {
  const extra = rest[count];
  if (extra === undefined) return;
  throw new UsageError(
    `"${extra}" belongs to nothing: ${command} takes ${count} words`,
  );
}

/** What the server at `path` answers, within `seconds`. */
async function ask(
  path: string,
  request: ControlRequest,
  seconds: number,
): Promise<Status | Resized> {
  const socket = UnixSocket.connect(path);
  using lines = new LineSocket(socket, Reactor.main, ANSWER_MAX);
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    lines[Symbol.dispose]();
  }, 1000 * seconds);
  try {
    await lines.write(JSON.stringify(request));
    const line = await lines.read();
    if (line === null) throw new ToolError(HUNG_UP);
    return resultOf(request, line);
  } catch (error) {
    if (isLate) {
      throw new ToolError(
        `The server did not answer within ${seconds} s: it hangs, or has much ` +
          "to do; --timeout SECONDS waits longer",
      );
    }
    if (error instanceof UsageError) {
      throw new ToolError(
        `The server's answer can't be read: ${error.message}`,
      );
    }
    if (error instanceof SystemError && error.errno === EPIPE) {
      throw new ToolError(HUNG_UP);
    }
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function describeStatus({ devices }: Status): string[] {
  return devices.flatMap(({ name, device, connected, features, rings }) => {
    const lines = [
      `${printable(name)} (${printable(device)}): ${
        connected ? "a" : "no"
      } front-end` +
      (features === null ? "" : `, ${printable(features.join(" "))}`),
    ];
    for (const ring of rings) {
      const state = ring.started
        ? ring.enabled ? "runs" : "is disabled"
        : "is stopped";
      const counters = ring.calls === undefined
        ? ""
        : `, ${ring.inFlight} in flight, ${ring.calls} calls, ` +
          `${ring.malformed} malformed`;
      const broken = ring.broken ? `, broken: ${printable(ring.broken)}` : "";
      lines.push(
        `  ring ${ring.index} of ${ring.size} ${state}${counters}${broken}`,
      );
    }
    return lines;
  });
}

function help(): string {
  return [
    "Usage: ringside ctl status --control-path PATH",
    "       ringside ctl resize --control-path PATH DEVICE [SIZE] [--shrink]",
    "",
    "Asks a server that was started with --control-path, or resizes one of its",
    "disks, which the guest sees at once. SIZE is a number of bytes, or as 20G;",
    "without it the disk takes the size that its file or device has by now.",
    "",
    "Options:",
    optionTable(CTL_OPTIONS),
    "",
    "What goes over the socket is in docs/control.md.",
  ].join("\n");
}
