/**
 * What was measured last, of each work.
 *
 * @module
 */

/** What the history has of a work. */
export interface Past {
  readonly date: string;
  readonly work: string;
  /** By contender, round after round. */
  readonly samples: Readonly<
    Record<string, readonly Readonly<Record<string, number>>[]>
  >;
}

/**
 * Of each work in `text`, the lines of a history, the last line; in the order in
 * which the works were measured first.
 */
export function lastOf(text: string): Past[] {
  const works = new Map<string, Past>();
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const past = JSON.parse(line) as Past;
    works.set(past.work, past);
  }
  return [...works.values()];
}
