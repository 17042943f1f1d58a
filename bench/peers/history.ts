/**
 * What was measured, when, on what: a line of JSON each.
 *
 * @module
 */
/** Where that is: bench/history.jsonl. */
export const HISTORY: URL = new URL("../history.jsonl", import.meta.url);

/** Adds a line to bench/history.jsonl: the samples of `work`, by contender. */
export async function remember(
  work: string,
  about: Readonly<Record<string, unknown>>,
  samples: ReadonlyMap<string, readonly Readonly<Record<string, number>>[]>,
): Promise<void> {
  const line = JSON.stringify({
    date: new Date().toISOString(),
    about,
    work,
    samples: Object.fromEntries(samples),
  });
  await Deno.writeTextFile(HISTORY, `${line}\n`, { append: true });
}
