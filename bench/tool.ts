/**
 * What the programs of measuring have in common: `--help`, a folder that goes
 * with them, one line for what is wrong, and an end by Ctrl-C.
 *
 * @module
 */
import { UsageError } from "../src/errors.ts";
import {
  EXIT_INTERRUPTED,
  isInterrupted,
  watchSignals,
} from "./interruption.ts";

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;
/** Thrown by defects of ours: these show a stack. */
const DEFECTS = [TypeError, ReferenceError, RangeError];

/**
 * Does `run` with a folder of its own that is removed afterwards, or prints
 * `usage` where that is asked for. Sets the exit code.
 */
export async function tool(
  usage: string,
  run: (directory: string) => Promise<void>,
): Promise<void> {
  if (Deno.args.includes("--help") || Deno.args.includes("-h")) {
    return console.log(usage);
  }
  using _signals = watchSignals();
  const directory = await Deno.makeTempDir({ prefix: "ringside-bench-" });
  try {
    await run(directory);
  } catch (error) {
    if (isInterrupted()) return;
    if (DEFECTS.some((defect) => error instanceof defect)) throw error;
    console.error((error as Error).message.trim());
    Deno.exitCode = error instanceof UsageError ? EXIT_USAGE : EXIT_FAILURE;
  } finally {
    await Deno.remove(directory, { recursive: true });
    if (isInterrupted()) Deno.exitCode = EXIT_INTERRUPTED;
  }
}
