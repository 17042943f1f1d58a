/**
 * What a ring of either kind is to do, foretold from what is in its memory.
 *
 * @module
 */
import type { ChainModel } from "./chain_model.ts";

/** Each method is called before the one of the ring that it is named after. */
export interface RingModel {
  /** Whether it is broken. */
  readonly broken: boolean;
  /** What was popped and not pushed. */
  readonly inFlight: ReadonlySet<number>;
  /** Chains given back unread. */
  readonly malformed: number;
  /** The chain of the last pop, and what identifies it. */
  readonly chain: ChainModel;
  readonly head: number;

  pop(): boolean;
  /** Whether `undoPop` may be called now. */
  canUndo(): boolean;
  undoPop(): void;
  push(head: number, written: number): void;
  flush(): boolean;
  hasAvailable(): boolean;
  disableKicks(): void;
  enableKicks(): boolean;
  /** After the ring's own call: its memory is as foretold. */
  verify(): void;
}
