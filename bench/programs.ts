/**
 * The programs that take part in a measurement.
 *
 * @module
 */
import { hasProgram } from "../tests/support/require.ts";

/** A program that is not installed. */
export class MissingProgram extends Error {
  /** Of the program called `name`. */
  constructor(name: string) {
    super(`There is no ${name}: docs/benchmarking.md says where it comes from`);
  }
}

/** A program that runs until it is disposed of. */
export class Running implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #signal: Deno.Signal;
  readonly #end: Promise<void>;
  #hasEnded = false;

  /** Starts program and arguments, which `signal` ends. */
  constructor(words: readonly string[], signal: Deno.Signal = "SIGTERM") {
    this.#signal = signal;
    // Its input stays open: a program with a prompt ends when that does.
    this.#child = spawn(words, { stdin: "piped" });
    this.#end = this.#child.status.then(() => {
      this.#hasEnded = true;
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    tell(this.#child, this.#signal);
    await this.#child.stdin.close().catch(() => {});
    await this.#end;
  }
}

/** Sends `signal` to `child`, which may have ended meanwhile. */
export function tell(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch {
    // It has ended.
  }
}

/** Throws where a TAP interface in a namespace is not allowed. */
export function needRoot(): void {
  if (Deno.uid() === 0) return;
  throw new Error("A TAP interface in a namespace takes root: become that");
}

/** Throws a MissingProgram where `program` is not to be found. */
export function need(program: string): void {
  if (program.includes("/") || hasProgram(program)) return;
  throw new MissingProgram(program);
}

/** What `words` wrote. Rejects where they fail, with what they say of it. */
export async function outputOf(...words: string[]): Promise<string> {
  const [program, ...args] = words;
  const command = new Deno.Command(program!, { args, stderr: "piped" });
  const { success, stdout, stderr } = await spawning(
    program!,
    () => command.output(),
  );
  const text = new TextDecoder();
  if (success) return text.decode(stdout);
  const why = text.decode(stderr).trim();
  throw new Error(why === "" ? `${program} failed` : why);
}

/**
 * Starts program and arguments, with nothing to read and nobody to listen to it
 * unless `streams` has something else. Throws a MissingProgram.
 */
export function spawn(
  words: readonly string[],
  streams: Pick<Deno.CommandOptions, "stdin" | "stdout" | "stderr"> = {},
): Deno.ChildProcess {
  const [program, ...args] = words;
  const silent = { stdin: "null", stdout: "null", stderr: "null" } as const;
  const command = new Deno.Command(program!, { args, ...silent, ...streams });
  return spawning(program!, () => command.spawn());
}

/** What `start` makes; throws a MissingProgram where `program` is not there. */
export function spawning<T>(program: string, start: () => T): T {
  try {
    return start();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new MissingProgram(program);
    }
    throw error;
  }
}
