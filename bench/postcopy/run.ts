/**
 * What a page that has not arrived costs whoever touches it, which is what
 * postcopy asks of a back-end: docs/decisions/0014-no-postcopy.md has the
 * figures. As root:
 *
 *     deno run --allow-all bench/postcopy/run.ts
 *
 * @module
 */
import { check, errnoName } from "../../src/ffi/errno.ts";
import { IoUring } from "../../src/io/io_uring.ts";
import { libc } from "../../src/ffi/libc.ts";
import { cString } from "../../src/ffi/pointer.ts";
import { MissingMemory } from "./stage.ts";
import { type FaultMode, openUserfault, PAGE } from "./userfault.ts";

const TOUCHES = 512;
const DEPTH = 32;
const NOBODY = 65534;
const O_DIRECT = 0o40000;
const GRACE_MS = 1_000;

const say = (what: string, figure: string) => {
  console.log(`${what.padEnd(58)} ${figure}`);
};

/** Median and 99th percentile of microseconds. */
function spread(samples: number[]): string {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (part: number) => sorted[Math.floor(part * sorted.length)]!;
  return `${at(0.5).toFixed(1)} us, p99 ${at(0.99).toFixed(1)} us`;
}

function mayOpen(): string {
  return (["all", "user"] as const).map((mode) => {
    const fd = openUserfault(mode);
    if (typeof fd === "number") return `${mode}: ${errnoName(fd)}`;
    fd.close();
    return `${mode}: yes`;
  }).join(", ");
}

/** The same as somebody without rights. */
async function mayNobodyOpen(): Promise<string> {
  const cache = Deno.makeTempDirSync({ prefix: "ringside-postcopy-" });
  Deno.chmodSync(cache, 0o777);
  try {
    const { stdout, stderr } = await new Deno.Command("setpriv", {
      args: [`--reuid=${NOBODY}`, "--clear-groups", Deno.execPath(), "run"]
        .concat("--allow-all", "--no-lock", import.meta.filename!, "may-open"),
      env: { DENO_DIR: cache, HOME: cache },
    }).output();
    const text = new TextDecoder().decode(stdout).trim();
    return text || new TextDecoder().decode(stderr).trim();
  } finally {
    Deno.removeSync(cache, { recursive: true });
  }
}

/** Microseconds of each touch of a page. */
function touch(view: DataView, pages: number): number[] {
  return Array.from({ length: pages }, (_, i) => {
    const began = performance.now();
    view.getUint8(i * PAGE);
    return (performance.now() - began) * 1000;
  });
}

async function touches(): Promise<void> {
  {
    await using memory = await MissingMemory.open(TOUCHES, "all", 0);
    say("touch of a page that is missing, the pager beside", "");
    say("  answers at once", spread(touch(memory.view, TOUCHES)));
    say("  once more, now it is there", spread(touch(memory.view, TOUCHES)));
  }
  await using memory = await MissingMemory.open(64, "all", 1);
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const began = performance.now();
  const samples = touch(memory.view, 64);
  const ms = performance.now() - began;
  clearInterval(timer);
  say("  takes 1 ms", spread(samples));
  say(
    "  64 of them: the thread's timers, of one a millisecond",
    `${turns} in ${ms.toFixed(0)} ms`,
  );
}

/** A file of `DEPTH` pages that are in the page cache. */
function cachedFile(directory: string): string {
  const path = `${directory}/data`;
  Deno.writeFileSync(path, new Uint8Array(DEPTH * PAGE).fill(9));
  Deno.readFileSync(path);
  return path;
}

async function systemCalls(path: string): Promise<void> {
  const fd = openRaw(path, 0);
  for (const mode of ["all", "user"] as const) {
    await using memory = await MissingMemory.open(DEPTH, mode, 1);
    const iovec = BigUint64Array.of(BigInt(memory.address(0)), BigInt(PAGE));
    const began = performance.now();
    const result = libc.preadv2(fd, iovec, 1, 0n, 0);
    const ms = performance.now() - began;
    const outcome = result < 0 ? "EFAULT" : `${result} bytes`;
    say(
      `preadv into a missing page (${mode})`,
      `${outcome}, ${ms.toFixed(2)} ms`,
    );
  }
  libc.close(fd);
}

function openRaw(path: string, flags: number): number {
  return check(libc.open(cString(path), flags, 0), "open");
}

/** How long the submission of `DEPTH` reads takes, and what comes of them. */
async function submission(
  path: string,
  flags: number,
  mode: FaultMode,
  present: boolean,
): Promise<string> {
  const fd = openRaw(path, flags);
  await using memory = await MissingMemory.open(DEPTH, mode, 1);
  if (present) touch(memory.view, DEPTH);
  const uring = IoUring.open(64);
  const results: number[] = [];
  const consumer = uring.addConsumer({
    complete: (_slot, result) => results.push(result),
  });
  for (let i = 0; i < DEPTH; i++) {
    uring.read(consumer, i, fd, memory.address(i), PAGE, i * PAGE);
  }
  const began = performance.now();
  uring.submit();
  const submitted = performance.now() - began;
  while (results.length < DEPTH) {
    uring.submitAndWait(1);
    uring.reap(DEPTH);
  }
  const done = performance.now() - began;
  uring[Symbol.dispose]();
  libc.close(fd);
  const failed = results.filter((result) => result < 0).length;
  return `submit ${submitted.toFixed(1)} ms, all done ${done.toFixed(1)} ms, ` +
    `${failed} failed`;
}

async function submissions(path: string): Promise<void> {
  for (
    const [name, flags] of [["cached", 0], ["O_DIRECT", O_DIRECT]] as const
  ) {
    say(`${DEPTH} io_uring reads, ${name}`, "");
    say("  pages there", await submission(path, flags, "all", true));
    say(
      "  pages missing, 1 ms each",
      await submission(path, flags, "all", false),
    );
    say("  the same (user)", await submission(path, flags, "user", false));
  }
}

/** A process that waits for a page that never comes: which signal ends it. */
async function stuck(): Promise<void> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", import.meta.filename!, "get-stuck"],
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  await new Promise((resolve) => setTimeout(resolve, GRACE_MS));
  let ended = false;
  void child.status.then(() => ended = true);
  child.kill("SIGTERM");
  await new Promise((resolve) => setTimeout(resolve, GRACE_MS));
  say(
    "a page that never comes: SIGTERM, which it handles",
    ended ? "ends it" : "unheard",
  );
  const began = performance.now();
  child.kill("SIGKILL");
  await child.status;
  say(
    "  SIGKILL ends it after",
    `${(performance.now() - began).toFixed(1)} ms`,
  );
  reader.releaseLock();
  await child.stdout.cancel();
}

async function getStuck(): Promise<void> {
  Deno.addSignalListener("SIGTERM", () => Deno.exit(0));
  const memory = await MissingMemory.open(1, "all", -1);
  console.log("stuck");
  setTimeout(() => memory.view.getUint8(0), 1);
}

async function main(): Promise<void> {
  const release = Deno.osRelease();
  console.log(
    `Linux ${release}, ${navigator.hardwareConcurrency} cores, Deno ` +
      Deno.version.deno,
  );
  say("userfaultfd for this user", mayOpen());
  say("userfaultfd for a user without rights", await mayNobodyOpen());
  await touches();
  const directory = Deno.makeTempDirSync({ prefix: "ringside-postcopy-" });
  try {
    const path = cachedFile(directory);
    await systemCalls(path);
    await submissions(path);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
  await stuck();
}

const [command] = Deno.args;
if (command === "may-open") console.log(mayOpen());
else if (command === "get-stuck") await getStuck();
else await main();
