/**
 * What an lcov file says of each source file.
 *
 * @module
 */

/** One source file: how many lines and branches there are, and were run. */
export interface FileCoverage {
  /** As in the lcov file. */
  readonly path: string;
  readonly lines: number;
  readonly linesRun: number;
  readonly branches: number;
  readonly branchesRun: number;
  /** The lines that were not run, as ranges: `3` or `7-9`. */
  readonly missed: readonly string[];
}

/** `part` of `whole` in percent; NaN of nothing. */
export function percent(part: number, whole: number): number {
  return 100 * part / whole;
}

/** The source files of `lcov`, the text of such a file. */
export function coverageOf(lcov: string): FileCoverage[] {
  return lcov.split("end_of_record\n").filter((record) =>
    record.includes("SF:")
  )
    .map(fileOf);
}

function fileOf(record: string): FileCoverage {
  const fields = record.trim().split("\n").map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1)] as const;
  });
  const all = (name: string) =>
    fields.filter(([key]) => key === name).map(([, value]) => value.split(","));
  const lines = all("DA").map(([line, count]) => ({
    line: Number(line),
    run: Number(count) > 0,
  }));
  const branches = all("BRDA").map((values) => Number(values[3]) > 0);
  return {
    path: all("SF")[0]!.join(","),
    lines: lines.length,
    linesRun: lines.filter(({ run }) => run).length,
    branches: branches.length,
    branchesRun: branches.filter((run) => run).length,
    missed: ranges(lines.filter(({ run }) => !run).map(({ line }) => line)),
  };
}

function ranges(lines: readonly number[]): string[] {
  const found: [first: number, last: number][] = [];
  for (const line of lines) {
    const open = found.at(-1);
    if (open !== undefined && open[1] === line - 1) open[1] = line;
    else found.push([line, line]);
  }
  return found.map(([first, last]) =>
    first === last ? `${first}` : `${first}-${last}`
  );
}
