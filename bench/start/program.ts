/**
 * A program under observation: when it listens, and what it takes until then
 * and afterwards.
 *
 * @module
 */
import { UnixSocket } from "../../src/io/unix_socket.ts";
import { spawn, tell } from "../programs.ts";

/** How long a program may take to listen, in milliseconds. */
const TIMEOUT_MS = 30_000;
/** After so long it is asked whether it still runs. */
const LATE_MS = 1_000;
/** Between two looks, in milliseconds: a core is left to the program. */
const STEP_MS = 0.2;
const NS_PER_MS = 1e6;
const KIB_PER_MIB = 1024;

/** What a process holds, in MiB. */
export interface Memory {
  /** Resident, shared pages included (VmRSS). */
  readonly resident: number;
  /** The most of that there was (VmHWM). */
  readonly peak: number;
  /** Resident, shared pages by parts. */
  readonly proportional: number;
}

/** A running process. */
export class Program implements AsyncDisposable {
  readonly #startedAt = performance.now();
  readonly #child: Deno.ChildProcess;

  /** Starts program and arguments. */
  constructor(words: readonly string[]) {
    this.#child = spawn(words);
  }

  /** Blocks until all of `sockets` accept: milliseconds since the start. */
  untilListening(sockets: readonly string[]): number {
    const cell = new Int32Array(new SharedArrayBuffer(4));
    for (const socket of sockets) {
      for (;;) {
        const connection = UnixSocket.tryConnect(socket);
        if (connection !== null) {
          connection[Symbol.dispose]();
          break;
        }
        const ms = performance.now() - this.#startedAt;
        if (ms > TIMEOUT_MS || ms > LATE_MS && this.#hasEnded) {
          throw new Error(`Nobody listens at ${socket}`);
        }
        // Blocking is exact where a timer's millisecond is not.
        Atomics.wait(cell, 0, 0, STEP_MS);
      }
    }
    return performance.now() - this.#startedAt;
  }

  /** Waits for its end: milliseconds since the start. */
  async untilEnd(): Promise<number> {
    await this.#child.status;
    return performance.now() - this.#startedAt;
  }

  /** Processor time of its threads so far, in milliseconds. */
  get cpuMs(): number {
    const times = this.#tasks().map((task) =>
      Number(read(`${task}/schedstat`).split(" ")[0])
    );
    return sum(times) / NS_PER_MS;
  }

  /** How often each of its threads went to sleep by itself. */
  get sleeps(): Map<string, number> {
    const counts = this.#tasks().map((task) =>
      [
        task,
        field(read(`${task}/status`), "voluntary_ctxt_switches"),
      ] as const
    );
    return new Map(counts);
  }

  /** What it holds. */
  get memory(): Memory {
    const status = read(`/proc/${this.#child.pid}/status`);
    const rollup = read(`/proc/${this.#child.pid}/smaps_rollup`);
    return {
      resident: field(status, "VmRSS") / KIB_PER_MIB,
      peak: field(status, "VmHWM") / KIB_PER_MIB,
      proportional: field(rollup, "Pss") / KIB_PER_MIB,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    tell(this.#child, "SIGTERM");
    await this.#child.status;
  }

  /** Whether it is gone, but for its status, which nobody took yet. */
  get #hasEnded(): boolean {
    return !/^State:\t[^ZX]/m.test(read(`/proc/${this.#child.pid}/status`));
  }

  #tasks(): string[] {
    const directory = `/proc/${this.#child.pid}/task`;
    return Array.from(
      Deno.readDirSync(directory),
      ({ name }) => `${directory}/${name}`,
    );
  }
}

/** The text of a file, or nothing where a thread has ended. */
function read(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "0";
    throw error;
  }
}

function field(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s*([0-9]+)`, "m").exec(text)?.[1] ?? 0);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
