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

  constructor(directory: string) {
    this.#file = `${directory}/disk.img`;
    Deno.writeFileSync(this.#file, new Uint8Array());
    Deno.truncateSync(this.#file, DISK_SIZE);
    this.options = {
      socketPath: `${directory}/disk.sock`,
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
    if (checks.length === 0) return [];
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

/** Every check. Those that may leave a process in ruins have one each. */
async function checkDaemon(
  daemon: Daemon,
  known: ReadonlyMap<string, Row>,
): Promise<Outcome[]> {
  const ruinous = new Set(HOSTILE_SETUP_CHECKS.map(({ id }) => id));
  const all = selectChecks(daemon.options);
  const tame = all.filter(({ id }) => !ruinous.has(id));
  const outcomes = [
    ...await daemon.check(tame.filter(({ id }) => known.has(id)), KNOWN_MS),
    ...await daemon.check(
      tame.filter(({ id }) => !known.has(id)),
      PATIENCE_MS,
    ),
  ];
  for (const check of all.filter(({ id }) => ruinous.has(id))) {
    outcomes.push(...await daemon.check([check], PATIENCE_MS));
  }
  return outcomes;
}

Deno.test({
  name: "qemu-storage-daemon fails what docs/checking.md says",
  ignore: !canRun,
  async fn() {
    const directory = Deno.makeTempDirSync({ prefix: "ringside-check-" });
    try {
      await using daemon = new Daemon(directory);
      const rows = recorded();
      const outcomes = await checkDaemon(daemon, rows);
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
