/**
 * The program `ringside`.
 *
 * @module
 */
import { SystemError, UsageError } from "../errors.ts";
import type { LogLevel } from "../log.ts";
import { printable } from "../printable.ts";
import manifest from "../../deno.json" with { type: "json" };
import {
  asksForVersion,
  type Command,
  parseCommandLine,
  type Registry,
} from "./command_line.ts";
import { loadDevices } from "./devices.ts";
import type { ServedDevice } from "./serve.ts";
import { ToolError } from "./tools.ts";

/** What the command line works on. */
export interface House {
  /** The devices by their names. */
  readonly devices: Registry;
  /** Serves some of them; resolves when they stopped cleanly. */
  serve(
    devices: readonly ServedDevice[],
    logLevel: LogLevel,
    controlPath?: string,
  ): Promise<void>;
  /** The text of the file at `path`. Rejects with a SystemError or a UsageError. */
  readText(path: string): Promise<string>;
}

/** Where the program writes, and what it works on. */
export interface Environment {
  /** Writes a line to standard output, or throws. */
  print(line: string): void;
  /** Writes a line to standard error, or throws. */
  complain(line: string): void;
  /**
   * Loads the devices, which need `--allow-ffi`; where `word`, the first
   * argument, asks for one or for none of them, no more than that.
   */
  load(word: string | undefined): Promise<House>;
}

const EXIT_OK = 0;
const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;
/** The largest file of devices that is read, in bytes. */
const CONFIG_SIZE_MAX = 1 << 20;

/** The environment of the program itself. */
const PROGRAM: Environment = {
  print: (line) => console.log(line),
  complain: (line) => console.error(line),
  // Not at the top: opening the C library fails without permission, and then
  // there would be a stack instead of one line.
  async load(word): Promise<House> {
    const devices = await loadDevices(word);
    return {
      devices,
      async serve(...served): Promise<void> {
        const { serveDevices } = await import("./serve.ts");
        return await serveDevices(...served);
      },
      // Through the C library as the devices do: that takes no permission more.
      async readText(path): Promise<string> {
        const { readTextFile } = await import("../io/text_file.ts");
        return readTextFile(path, CONFIG_SIZE_MAX);
      },
    };
  },
};

/**
 * Runs `ringside` with the arguments `args`. Never rejects.
 *
 * @returns the exit code: 0 it stopped cleanly, 1 something failed (a
 * SystemError, or a defect), 2 the command line or the configuration is wrong
 * (a UsageError)
 */
export async function run(
  args: string[],
  environment: Environment = PROGRAM,
): Promise<number> {
  try {
    if (asksForVersion(args)) {
      print(environment, version());
      return EXIT_OK;
    }
    const house = await environment.load(args[0]);
    const command = parseCommandLine(args, house.devices);
    if (command.kind === "tool") {
      const tool = await command.tool.load();
      return await tool.run(command.args, {
        print: (line) => print(environment, line),
        complain: (line) => environment.complain(line),
      });
    }
    await execute(command, house, environment);
    return EXIT_OK;
  } catch (error) {
    try {
      environment.complain(`ringside: ${describeError(error)}`);
    } catch {
      // Nobody can be told; the exit code tells.
    }
    return error instanceof UsageError ? EXIT_USAGE : EXIT_FAILURE;
  }
}

/** Standard output can't be written. */
class OutputError extends Error {}

function print(environment: Environment, text: string): void {
  try {
    environment.print(text);
  } catch (error) {
    throw new OutputError(
      `Standard output can't be written: ${(error as Error).message}; make ` +
        "room, or send it elsewhere",
    );
  }
}

async function execute(
  command: Exclude<Command, { kind: "tool" }>,
  house: House,
  environment: Environment,
): Promise<void> {
  switch (command.kind) {
    case "version":
      return print(environment, version());
    case "help": {
      const { deviceHelp, programHelp } = await import("./help.ts");
      const help = command.device === null
        ? programHelp(house.devices)
        : deviceHelp(command.device);
      return print(environment, help);
    }
    case "capabilities": {
      const { type, capabilities: features } = command.device;
      const answer = { type, features };
      return print(environment, JSON.stringify(answer, null, 2));
    }
    case "serve-help": {
      const { serveHelp } = await import("./help.ts");
      return print(environment, serveHelp());
    }
    case "serve": {
      const { device: descriptor, options, common } = command;
      const { name } = descriptor;
      const served = { name, origin: "", descriptor, options, server: common };
      const { "log-level": level, "control-path": path } = common;
      return await house.serve([served], level, path);
    }
    case "serve-config": {
      const { path } = command;
      const text = await house.readText(path);
      const { parseConfig } = await import("./config.ts");
      const config = parseConfig(path, text, house.devices);
      const { devices, logLevel, controlPath } = config;
      return await house.serve(devices, logLevel, controlPath);
    }
  }
}

function version(): string {
  return `ringside ${manifest.version}`;
}

/** One line for what an operator can mend; a stack for a defect of ours. */
function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (
    error instanceof UsageError || error instanceof SystemError ||
    error instanceof OutputError || error instanceof ToolError
  ) {
    return printable(error.message);
  }
  if (error instanceof Deno.errors.NotCapable) {
    return `A permission is missing: ${oneLine(error.message)}`;
  }
  return error.stack ?? error.message;
}

function oneLine(message: string): string {
  return message.replaceAll(/\s*\n\s*/g, " ");
}
