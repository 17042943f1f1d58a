/**
 * The gate of coverage: of the lines of src/ and devices/, how many the tests
 * ran, in all processes and workers that wrote what they ran to DIRECTORY.
 *
 *     DENO_COVERAGE_DIR=coverage deno task test
 *     deno task coverage coverage
 *
 * Exit code 1 where it is less than 95 of 100.
 *
 * @module
 */
import { coverageOf, type FileCoverage, percent } from "./coverage/lcov.ts";
import { removeTorn } from "./coverage/torn.ts";

/** The least share of the lines, in percent. */
const LINES_WANTED = 95;
/** How many files are named, those with the most lines that were not run. */
const NAMED = 15;
const ROOT = new URL("..", import.meta.url);

async function readLcov(directory: string): Promise<string> {
  const output = await Deno.makeTempFile({ suffix: ".lcov" });
  try {
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "coverage",
        directory,
        `--include=^${ROOT}(src|devices)/`,
        "--exclude=_test\\.ts$",
        "--lcov",
        `--output=${output}`,
      ],
      env: { NO_COLOR: "1" },
    }).output();
    if (!success) {
      throw new Error(
        `Can't read the coverage in ${directory}: ` +
          new TextDecoder().decode(stderr).trim(),
      );
    }
    return await Deno.readTextFile(output);
  } finally {
    await Deno.remove(output);
  }
}

/** The modules of src/ and devices/ that no process loaded at all. */
async function unloaded(
  known: readonly FileCoverage[],
): Promise<string[]> {
  const names = new Set(known.map(({ path }) => path));
  const missing: string[] = [];
  const visit = async (folder: string): Promise<void> => {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      const path = `${folder}/${name}`;
      if (isDirectory) await visit(path);
      else if (!name.endsWith(".ts") || name.endsWith("_test.ts")) continue;
      else if (!names.has(path)) missing.push(path);
    }
  };
  for (const folder of ["src", "devices"]) {
    await visit(`${ROOT.pathname}${folder}`);
  }
  return missing.sort();
}

function shown(path: string): string {
  return path.slice(ROOT.pathname.length);
}

if (import.meta.main) {
  const [directory = "coverage"] = Deno.args;
  const torn = await removeTorn(directory);
  if (torn > 0) {
    console.log(`${torn} processes were killed while they wrote: left out`);
  }
  const files = coverageOf(await readLcov(directory));
  const sum = (of: (file: FileCoverage) => number) =>
    files.reduce((total, file) => total + of(file), 0);
  const lines = percent(sum((f) => f.linesRun), sum((f) => f.lines));
  const branches = percent(sum((f) => f.branchesRun), sum((f) => f.branches));
  const worst = files.toSorted((a, b) => b.missed.length - a.missed.length);
  for (const file of worst.slice(0, NAMED)) {
    const share = percent(file.linesRun, file.lines).toFixed(1);
    console.log(
      `${shown(file.path)}: ${share} %, not ${file.missed.join(" ")}`,
    );
  }
  for (const path of await unloaded(files)) {
    // Types alone leave nothing to run, so that is no failure by itself.
    console.log(`${shown(path)}: never loaded`);
  }
  console.log(
    `Coverage of ${files.length} files: ${lines.toFixed(1)} % of the lines, ` +
      `${branches.toFixed(1)} % of the branches; wanted ${LINES_WANTED} % of ` +
      "the lines",
  );
  if (!(lines >= LINES_WANTED)) Deno.exit(1);
}
