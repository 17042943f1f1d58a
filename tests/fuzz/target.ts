/**
 * What can be fuzzed.
 *
 * @module
 */
import type { BatchSpec, Step } from "./batch.ts";

/** What was done so far, by name. */
export class Tally {
  readonly #counts = new Map<string, number>();

  /** Counts `count` more of `what`. */
  add(what: string, count = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + count);
  }

  /** How many of `what` there were. */
  of(what: string): number {
    return this.#counts.get(what) ?? 0;
  }

  /** All of it, in words. */
  toString(): string {
    return [...this.#counts]
      .map(([what, count]) => `${count.toLocaleString("en-US")} ${what}`)
      .join(", ");
  }
}

/** A world of a target, made for one batch. */
export interface World {
  /** Does a step. Throws where the outcome is not the one foretold. */
  step(step: Step): Promise<void> | void;
  /** After all steps: something sound is asked, and answered right. */
  soundness(): Promise<void> | void;
  /** Frees what the world holds, however far it came. */
  close(): Promise<void> | void;
}

/** One thing to fuzz. */
export interface Target {
  /** As on the command line. */
  readonly name: string;
  /** What is counted that matters: requests, messages, mutations. */
  readonly unit: string;
  /** Which batches there are. */
  readonly spec: BatchSpec;
  /**
   * False where a batch is not the whole story, because threads race: then a
   * failure is not made smaller, and is tried again with luck only.
   */
  readonly deterministic: boolean;
  /** Batches between two looks at what is left behind; 50 where not said. */
  readonly round?: number;
  /** Makes the world of `shape`. */
  open(
    shape: Readonly<Record<string, number>>,
    tally: Tally,
  ): Promise<World> | World;
  /** Frees what its worlds share, once none is open. */
  close?(): void;
}
