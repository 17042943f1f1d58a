/**
 * The program as its users run it, and what it answers.
 *
 * @module
 */
const MAIN = new URL("../../main.ts", import.meta.url).pathname;

/** How a run of the program ended. */
export interface Outcome {
  /** The exit code. */
  code: number;
  /** Standard output. */
  out: string;
  /** Standard error. */
  err: string;
}

/** `deno run` of the program, with `permissions` such as `--allow-ffi`. */
export function program(permissions: string[], args: string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", ...permissions, MAIN, ...args],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** Runs the program to its end. */
export async function runProgram(
  permissions: string[],
  args: string[],
): Promise<Outcome> {
  const { code, stdout, stderr } = await program(permissions, args).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

/** A program that is running. */
export class Running implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #said = "";
  #ended = false;

  /** Starts the program. */
  constructor(permissions: string[], args: string[]) {
    this.#child = program(permissions, args).spawn();
    const text = this.#child.stderr.pipeThrough(new TextDecoderStream());
    this.#lines = text[Symbol.asyncIterator]();
  }

  /** The number of its process. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Waits until standard error has `part`; fails when the program ends first. */
  async says(part: string): Promise<void> {
    while (!this.#said.includes(part)) {
      const { done, value } = await this.#lines.next();
      if (done) throw new Error(`It never said "${part}", but ${this.#said}`);
      this.#said += value;
    }
  }

  /** Sends `signal` and waits for the end. */
  async end(signal: Deno.Signal): Promise<Outcome> {
    this.#child.kill(signal);
    return await this.wait();
  }

  /** Waits for the end. */
  async wait(): Promise<Outcome> {
    for (;;) {
      const { done, value } = await this.#lines.next();
      if (done) break;
      this.#said += value;
    }
    const out = await new Response(this.#child.stdout).text();
    const { code } = await this.#child.status;
    this.#ended = true;
    return { code, out, err: this.#said };
  }

  /** Kills what still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#child.kill("SIGKILL");
    await this.wait();
  }
}

/** A directory for one test. */
export class Scratch implements AsyncDisposable {
  /** Its path. */
  readonly path: string = Deno.makeTempDirSync({ prefix: "ringside-" });

  /** The path of `name` in it. */
  file(name: string): string {
    return `${this.path}/${name}`;
  }

  /** A disk image of `size` bytes. */
  async image(size: number): Promise<string> {
    const path = this.file("disk.img");
    await Deno.writeFile(path, new Uint8Array());
    await Deno.truncate(path, size);
    return path;
  }

  /** Removes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}
