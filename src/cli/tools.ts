/**
 * The tools: words in place of a device that stand for something to be done
 * with a back-end, ours or another.
 *
 * @module
 */

/** Where a tool writes. */
export interface ToolOutput {
  /** Writes a line to standard output, or throws. */
  print(line: string): void;
  /** Writes a line to standard error, or throws. */
  complain(line: string): void;
}

/** The module of a tool. */
export interface ToolModule {
  /**
   * Does what `args`, the arguments behind the word, ask for: the exit code.
   * Rejects with a UsageError, a SystemError or a {@linkcode ToolError} for
   * what an operator can mend.
   */
  run(args: string[], output: ToolOutput): Promise<number>;
}

/** A tool, as the help has it. */
export interface Tool {
  /** What it does, in a few words without a full stop. */
  readonly summary: string;
  /** Loads it: a back-end never has it in memory. */
  load(): Promise<ToolModule>;
}

/** The tools by their words: one line each. */
export const TOOLS: Readonly<Record<string, Tool>> = {
  bench: {
    summary: "Drives a back-end and measures it",
    load: () => import("./bench.ts"),
  },
  check: {
    summary: "Checks a back-end against the specifications",
    load: () => import("./check.ts"),
  },
  ctl: {
    summary: "Asks a server of ours how it is, or resizes its disks",
    load: () => import("./ctl.ts"),
  },
};

/** A tool could not do its work, for a reason that takes one line. */
export class ToolError extends Error {
  /** The name of the class, as in a stack. */
  override readonly name = "ToolError";
}
