/**
 * System calls, as strace counts them.
 *
 * @module
 */

/** Calls by name in the summary of `strace -c -U name,calls`, the most first. */
export function callsOf(summary: string): [name: string, count: number][] {
  const calls: [string, number][] = [];
  for (const line of summary.split("\n")) {
    const match = /^\s*([a-z_0-9]+)\s+([0-9]+)\s*$/.exec(line);
    if (match === null || match[1] === "total") continue;
    calls.push([match[1]!, Number(match[2])]);
  }
  return calls.sort(([, one], [, other]) => other - one);
}
