/**
 * Breaks ringside on purpose, in a copy, and shows that the fuzzer finds it:
 * `deno run -A tests/fuzz/breaks/run.ts [WORDS]`, which are in the names of those
 * to make. See docs/fuzzing.md.
 *
 * @module
 */
import { type Break, BREAKS, broken } from "./breaks.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;
/** What the fuzzer is made of. */
const PARTS = ["src", "devices", "tests/fuzz", "tests/session", "tools"];
/** More than any needs on a machine that does nothing else. */
const SECONDS = 180;
const SEED = 1;

/** What became of a break. */
interface Outcome {
  readonly found: boolean;
  readonly seconds: number;
  readonly told: string;
}

/** Copies what is under `from` to `to`. */
async function copy(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copy(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}

/** Fuzzes the copy in `directory`. */
async function fuzz(directory: string, target: string): Promise<Outcome> {
  const start = performance.now();
  const { code, signal, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-check", "--v8-flags=--expose-gc"],
      ...["tools/fuzz.ts", target, "--seed", `${SEED}`],
      ...["--time", `${SECONDS}`],
    ],
    cwd: directory,
    env: { NO_COLOR: "1" },
    stdout: "null",
  }).output();
  const seconds = (performance.now() - start) / 1000;
  const text = new TextDecoder().decode(stderr);
  const [told = ""] = text.split("\n");
  // What ends the process is found as well, if not as kindly.
  const found = signal !== null || text.includes("Repeat with: ");
  if (!found && code !== 0) throw new Error(text);
  return { found, seconds, told: signal ?? told };
}

/** Makes one mistake, fuzzes, and takes it back. */
async function tryBreak(directory: string, mistake: Break): Promise<boolean> {
  const path = `${directory}/${mistake.file}`;
  const text = await Deno.readTextFile(path);
  await Deno.writeTextFile(path, broken(text, mistake));
  try {
    const { found, seconds, told } = await fuzz(directory, mistake.target);
    const verdict = found ? `found in ${seconds.toFixed(1)} s` : "NOT FOUND";
    console.log(`${mistake.target}: ${mistake.what}: ${verdict}\n    ${told}`);
    return found;
  } finally {
    await Deno.writeTextFile(path, text);
  }
}

/** Throws unless all of `breaks` can be made, before the first one is. */
async function checkAll(breaks: readonly Break[]): Promise<void> {
  for (const mistake of breaks) {
    broken(await Deno.readTextFile(ROOT + mistake.file), mistake);
  }
}

async function main(): Promise<number> {
  const words = Deno.args.join(" ");
  const chosen = BREAKS.filter(({ what }) => what.includes(words));
  await checkAll(chosen);
  const directory = await Deno.makeTempDir({ prefix: "ringside-breaks-" });
  let missed = 0;
  try {
    for (const part of PARTS) await copy(ROOT + part, `${directory}/${part}`);
    for (const file of ["deno.json", "deno.lock"]) {
      await Deno.copyFile(ROOT + file, `${directory}/${file}`);
    }
    for (const mistake of chosen) {
      if (!await tryBreak(directory, mistake)) missed++;
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
  console.log(`${chosen.length - missed} of ${chosen.length} found`);
  return missed === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main());
