/**
 * Network namespaces for tests, and ringside in one.
 *
 * @module
 */
import { eventually } from "../vm/deadline.ts";
import { hasProgram } from "./require.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const START_TIMEOUT_MS = 30_000;
const SAY_TIMEOUT_MS = 20_000;

/** Whether namespaces with TAP interfaces can be made here. */
export function canMakeNetns(): boolean {
  if (!hasProgram("ip")) return false;
  const name = `rs-probe-${Deno.pid}`;
  const run = (...args: string[]) =>
    new Deno.Command("ip", { args, stdout: "null", stderr: "null" })
      .outputSync().success;
  if (!run("netns", "add", name)) return false;
  const made = run("-n", name, "tuntap", "add", "dev", "probe", "mode", "tap");
  run("netns", "del", name);
  return made;
}

/** A namespace of its own. Disposing removes it, with its interfaces. */
export class Netns implements Disposable {
  /** As `ip netns` knows it. */
  readonly name: string;

  /** Makes one whose loopback is up. */
  constructor() {
    this.name = `rs-${crypto.randomUUID().slice(0, 8)}`;
    capture(["ip", "netns", "add", this.name]);
    this.run("ip", "link", "set", "lo", "up");
  }

  /** The command that runs `words` in it. */
  command(words: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.name, ...words];
  }

  /** Runs a program in it to its end: what it wrote. Throws where it fails. */
  run(...words: string[]): string {
    return capture(this.command(words));
  }

  /** The same, without holding the thread. */
  async start(...words: string[]): Promise<string> {
    const [program, ...args] = this.command(words);
    const { success, stdout, stderr } = await new Deno.Command(program!, {
      args,
    }).output();
    return outcome(words, success, stdout, stderr);
  }

  /** Makes a persistent TAP interface with an address, up. */
  addTap(name: string, address: string, ...more: string[]): void {
    this.run("ip", "tuntap", "add", "dev", name, "mode", "tap", ...more);
    this.run("ip", "address", "add", address, "dev", name);
    this.run("ip", "link", "set", name, "up");
  }

  [Symbol.dispose](): void {
    capture(["ip", "netns", "del", this.name]);
  }
}

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

function capture(words: readonly string[]): string {
  const [program, ...args] = words;
  const { success, stdout, stderr } = new Deno.Command(program!, { args })
    .outputSync();
  return outcome(words, success, stdout, stderr);
}

function outcome(
  words: readonly string[],
  success: boolean,
  stdout: Uint8Array,
  stderr: Uint8Array,
): string {
  const decoder = new TextDecoder();
  const out = decoder.decode(stdout);
  if (success) return out.trim();
  throw new Error(`${words.join(" ")}: ${out}${decoder.decode(stderr)}`);
}
