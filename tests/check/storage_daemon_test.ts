/**
 * The checks on qemu-storage-daemon: it fails what docs/checking.md says, no
 * more and no less.
 */
import { assertEquals } from "@std/assert";
import {
  type Check,
  type CheckOptions,
  type Outcome,
  selectChecks,
} from "../../src/check/mod.ts";
import { HOSTILE_SETUP_CHECKS } from "../../src/check/cases/hostile_setup.ts";
import { Reactor } from "../../src/io/reactor.ts";
import { hasProgram, requirement } from "../support/require.ts";
import { BackEnd, qemuStorageDaemon } from "../vm/back_end.ts";
import { outcomesOf } from "./support/run_checks.ts";

const PAGE = new URL("../../docs/checking.md", import.meta.url);
/** What is known to fail may take so long, */
const KNOWN_MS = 1000;
/** and the rest as long as it takes on a busy machine. */
const PATIENCE_MS = 30_000;
const DISK_SIZE = 8 << 20;
const LANES = 4;
/** In the description of what does not fail each time. */
const SOMETIMES = "Now and then";

const canRun = requirement(
  "qemu-storage-daemon",
  () => hasProgram("qemu-storage-daemon"),
);

/** A row of the page. */
interface Row {
  readonly level: string;
  readonly sometimes: boolean;
}

/** What the page says that fails, by name. */
function recorded(): Map<string, Row> {
  const rows = new Map<string, Row>();
  const [, section] = Deno.readTextFileSync(PAGE).split(
    "\n## qemu-storage-daemon",
  );
  for (const line of section!.split("\n## ")[0]!.split("\n")) {
    const match = /^\| `([^`]+)` +\| (\w+) +\| (.*)\|$/.exec(line);
    if (match === null) continue;
    const sometimes = match[3]!.startsWith(SOMETIMES);
    rows.set(match[1]!, { level: match[2]!, sometimes });
  }
  return rows;
}

/** A daemon that is started again as often as it ends. */
class Daemon implements AsyncDisposable {
  readonly options: CheckOptions;
  readonly #file: string;
  #backEnd: BackEnd | null = null;

  constructor(directory: string, name: string) {
    this.#file = `${directory}/${name}.img`;
    Deno.writeFileSync(this.#file, new Uint8Array());
    Deno.truncateSync(this.#file, DISK_SIZE);
    this.options = {
      socketPath: `${directory}/${name}.sock`,
      device: "block",
      destructive: true,
      timeoutMs: PATIENCE_MS,
    };
  }

  async start(): Promise<void> {
    await this[Symbol.asyncDispose]();
    this.#backEnd = await BackEnd.start(qemuStorageDaemon, {
      socketPath: this.options.socketPath,
      file: this.#file,
    });
  }

  /** Runs `checks` on a new process, and on another where that ended. */
  async check(
    checks: readonly Check[],
    timeoutMs: number,
  ): Promise<Outcome[]> {
    await this.start();
    return await outcomesOf({ ...this.options, timeoutMs }, checks, {
      revive: () => this.start(),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#backEnd?.[Symbol.asyncDispose]();
    this.#backEnd = null;
    try {
      // Where it listened; the next one must not be taken for it.
      Deno.removeSync(this.options.socketPath);
    } catch {
      // It has removed that itself.
    }
  }
}

/** Checks of one process, and the limit of each. */
interface Job {
  readonly checks: readonly Check[];
  readonly timeoutMs: number;
}

/** Every check. Those that fail, or may leave ruins, have a process each. */
function jobsOf(known: ReadonlyMap<string, Row>): Job[] {
  const ruinous = new Set(HOSTILE_SETUP_CHECKS.map(({ id }) => id));
  const all = selectChecks({ device: "block" });
  const alone = all.filter(({ id }) => ruinous.has(id) || known.has(id));
  return [
    {
      checks: all.filter((check) => !alone.includes(check)),
      timeoutMs: PATIENCE_MS,
    },
    ...alone.map((check) => ({
      checks: [check],
      timeoutMs: ruinous.has(check.id) ? PATIENCE_MS : KNOWN_MS,
    })),
  ];
}

/** Does the jobs on several daemons at once: most of the time is waiting. */
async function checkDaemons(
  directory: string,
  jobs: Job[],
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const lane = async (_: unknown, number: number): Promise<void> => {
    await using daemon = new Daemon(directory, `disk-${number}`);
    for (let job; (job = jobs.shift()) !== undefined;) {
      outcomes.push(...await daemon.check(job.checks, job.timeoutMs));
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return outcomes;
}

Deno.test({
  name: "qemu-storage-daemon fails what docs/checking.md says",
  ignore: !canRun,
  async fn() {
    const directory = Deno.makeTempDirSync({ prefix: "ringside-check-" });
    try {
      const rows = recorded();
      const outcomes = await checkDaemons(directory, jobsOf(rows));
      const failed = outcomes.filter(({ status }) => status === "fail");
      const wanted = [...rows].filter(([id, { sometimes }]) =>
        !sometimes || failed.some((outcome) => outcome.id === id)
      ).map(([id, { level }]) => `${id} ${level}`);
      const found = failed.map(({ id, level }) => `${id} ${level}`);
      const messages = failed.map(({ id, message }) => `${id}: ${message}`);
      assertEquals(found.sort(), wanted.sort(), messages.join("\n"));
    } finally {
      Deno.removeSync(directory, { recursive: true });
      await Reactor.main.idle();
    }
  },
});
