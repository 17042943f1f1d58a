/**
 * What a process of this host spends.
 *
 * @module
 */
import { SystemError, UsageError } from "../errors.ts";
import { readTextFile, writeTextFile } from "../io/text_file.ts";

/** What the kernel counts processor time in, for whoever reads /proc. */
const TICKS_PER_SECOND = 100;
const SIZE_MAX = 1 << 16;
/** Written to clear_refs: the peak begins anew. */
const RESET_PEAK = "5";
/** utime and stime, counted behind the name of the process. */
const USER_FIELD = 11;
const SYSTEM_FIELD = 12;

/** What a process spent between two looks. */
export interface ProcessUsage {
  /** Its number. */
  readonly pid: number;
  /** Processor time in its own code, seconds; threads included. */
  readonly userSeconds: number;
  /** Processor time in the kernel on its behalf, seconds. */
  readonly systemSeconds: number;
  /** The most memory that was resident (VmHWM), what it shares included. */
  readonly peakMemoryBytes: number;
  /** Whether that is since the first look; else since it started. */
  readonly peakIsOfRun: boolean;
}

/** Looks at a process twice. */
export class ProcessMeter {
  readonly #pid: number;
  #user = 0;
  #system = 0;
  #isReset = false;

  /**
   * Of the process `pid`.
   *
   * @throws {UsageError} there is none
   */
  constructor(pid: number) {
    this.#pid = pid;
    this.start();
  }

  /** The first look. */
  start(): void {
    try {
      writeTextFile(`/proc/${this.#pid}/clear_refs`, RESET_PEAK);
      this.#isReset = true;
    } catch {
      // Another user's: its peak is that of its life.
      this.#isReset = false;
    }
    [this.#user, this.#system] = this.#times();
  }

  /** The second look. Throws a UsageError where the process has ended. */
  read(): ProcessUsage {
    const [user, system] = this.#times();
    const status = this.#file("status");
    const peak = /^VmHWM:\s*([0-9]+) kB$/m.exec(status);
    return {
      pid: this.#pid,
      userSeconds: (user - this.#user) / TICKS_PER_SECOND,
      systemSeconds: (system - this.#system) / TICKS_PER_SECOND,
      peakMemoryBytes: Number(peak?.[1] ?? 0) * 1024,
      peakIsOfRun: this.#isReset,
    };
  }

  #times(): [user: number, system: number] {
    const stat = this.#file("stat");
    // The name before may hold anything, parentheses included.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return [Number(fields[USER_FIELD]), Number(fields[SYSTEM_FIELD])];
  }

  #file(name: string): string {
    try {
      return readTextFile(`/proc/${this.#pid}/${name}`, SIZE_MAX);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      throw new UsageError(
        `There is no process ${this.#pid}: give --backend-pid the number of ` +
          "the back-end while it runs",
      );
    }
  }
}
