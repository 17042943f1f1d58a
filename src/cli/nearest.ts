/**
 * Edit distances between names, for "did you mean".
 *
 * @module
 */

/**
 * How many insertions, deletions, replacements and swaps of neighbours make
 * `a` into `b`.
 */
export function editDistance(a: string, b: string): number {
  let older: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let least = Math.min(row[j]! + 1, next[j - 1]! + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, older[j - 2]! + 1);
      }
      next.push(least);
    }
    older = row;
    row = next;
  }
  return row[b.length]!;
}

/**
 * The one of `names` that was probably meant by `name`: one that is a few typos
 * away, else one that `name` is a part of. Null where there is none.
 */
export function nearest(name: string, names: readonly string[]): string | null {
  const written = name.toLowerCase();
  let best: string | null = null;
  let least = Math.max(1, Math.floor(written.length / 3)) + 1;
  for (const candidate of names) {
    const distance = editDistance(written, candidate);
    if (distance >= least) continue;
    least = distance;
    best = candidate;
  }
  if (best !== null || written.length < 3) return best;
  return names.find((candidate) => candidate.includes(written)) ?? null;
}
