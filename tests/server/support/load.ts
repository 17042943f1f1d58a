/**
 * Requests that are under way all the time, and whose data is compared.
 *
 * @module
 */
import type { BlockDriver } from "../../../src/testing/block_driver.ts";
import { withDeadline } from "../../vm/deadline.ts";
import {
  assertBytes,
  BLOCK_SIZE,
  PATIENCE_MS,
  sectorOf,
} from "./hostile_target.ts";

/** Writes and reads back, several blocks at a time, until it is told to stop. */
export class Load {
  /** Blocks that were written and compared so far. */
  rounds = 0;
  readonly #driver: BlockDriver;
  readonly #done: Promise<unknown>;
  #stopped = false;

  /** Works on the `depth` blocks from `firstBlock` on, through `driver`. */
  constructor(driver: BlockDriver, firstBlock: number, depth: number) {
    this.#driver = driver;
    const work: Promise<void>[] = [];
    for (let i = 0; i < depth; i++) work.push(this.#work(firstBlock + i));
    this.#done = Promise.all(work);
    // Told by `stop`.
    this.#done.catch(() => {});
  }

  /** Resolves once `rounds` more blocks were compared, or rejects as `stop`. */
  async progress(rounds: number): Promise<void> {
    const end = this.rounds + rounds;
    const reached = async () => {
      while (this.rounds < end) {
        await Promise.race([
          this.#done,
          new Promise((resolve) => setTimeout(resolve)),
        ]);
      }
    };
    await withDeadline(reached(), PATIENCE_MS);
  }

  /** Ends it; rejects where a block was not what was written. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await withDeadline(this.#done, PATIENCE_MS);
  }

  async #work(block: number): Promise<void> {
    for (let round = 0; !this.#stopped; round++) {
      const bytes = new Uint8Array(BLOCK_SIZE).fill(block + round);
      new DataView(bytes.buffer).setUint32(0, round, true);
      await this.#driver.write(sectorOf(block), bytes);
      const read = await this.#driver.read(sectorOf(block), BLOCK_SIZE);
      assertBytes(read, bytes, `Block ${block} in round ${round}`);
      this.rounds++;
    }
  }
}
