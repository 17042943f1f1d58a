/**
 * Batches that once found something.
 *
 * @module
 */
import type { Batch } from "./batch.ts";
import corpus from "./corpus.json" with { type: "json" };

/** A batch and what it is for. */
export interface CorpusEntry extends Batch {
  /** The name of its target. */
  readonly target: string;
  /** What was wrong. */
  readonly found: string;
  /** The seed that led to it. */
  readonly seed: number;
}

/** Oldest first. */
export const CORPUS = corpus as unknown as readonly CorpusEntry[];
