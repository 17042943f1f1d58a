/**
 * The command `ringside` as a process.
 *
 * @module
 */
import { eventually } from "../vm/deadline.ts";
import type { Netns } from "./netns.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const START_TIMEOUT_MS = 30_000;
const SAY_TIMEOUT_MS = 20_000;

/** `ringside` with some arguments, in a namespace or outside of any. */
export class Ringside implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #read: Promise<void>;
  #log = "";
  #status: Deno.CommandStatus | null = null;

  private constructor(words: readonly string[]) {
    const [program, ...args] = words;
    this.#process = new Deno.Command(program!, {
      args,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    void this.#process.status.then((status) => this.#status = status);
    this.#read = this.#follow();
  }

  /** Starts it; resolves once it listens. */
  static async start(
    args: readonly string[],
    netns: Netns | null = null,
  ): Promise<Ringside> {
    const words = [
      Deno.execPath(),
      "run",
      "--no-prompt",
      "--allow-ffi",
      "--allow-read",
      MAIN,
      ...args,
    ];
    const ringside = new Ringside(netns?.command(words) ?? words);
    try {
      await ringside.says("listens on", START_TIMEOUT_MS);
      return ringside;
    } catch (error) {
      await ringside[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** What it logged so far. */
  get log(): string {
    return this.#log;
  }

  /** The process id. */
  get pid(): number {
    return this.#process.pid;
  }

  /** Waits until the log has `text`, so often. */
  async says(
    text: string,
    timeoutMs = SAY_TIMEOUT_MS,
    count = 1,
  ): Promise<void> {
    await eventually(
      () => {
        if (this.#log.split(text).length > count) return true;
        if (this.#status === null) return false;
        throw new Error(`It ended with ${this.#status.code}:\n${this.#log}`);
      },
      timeoutMs,
      () => `The log does not say "${text}":\n${this.#log}`,
    );
  }

  /** SIGTERM; how it ended. */
  async stop(): Promise<Deno.CommandStatus> {
    this.#process.kill("SIGTERM");
    const status = await this.#process.status;
    await this.#read;
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#process.status;
    await this.#read;
  }

  async #follow(): Promise<void> {
    const text = this.#process.stderr.pipeThrough(new TextDecoderStream());
    for await (const piece of text) this.#log += piece;
  }
}
