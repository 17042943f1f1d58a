/**
 * Samples as figures of a table.
 *
 * @module
 */

/** The one in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

/** The median, with the smallest and the largest in brackets. */
export function spread(values: readonly number[], digits = 0): string {
  const show = (value: number) => value.toFixed(digits);
  const low = show(Math.min(...values));
  const high = show(Math.max(...values));
  return `${show(median(values))} (${low}-${high})`;
}

/** The head of a table, and the line below it. */
export function headOf(cells: readonly string[]): string {
  return `${row(cells)}\n${row(cells.map(() => "---"))}`;
}

/** A row of a table. */
export function row(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}
