/**
 * A thread that scribbles, from one race to the next.
 *
 * @module
 */
import type { ScribblerSetup } from "./scribbler.ts";

/**
 * Rewrites memory until it is ended. The thread is kept for the next one: a
 * thread that ends takes its time, and what it holds would look like a leak.
 */
export class Rival {
  /** The one that nobody races with. */
  static #idle: Rival | null = null;

  readonly #worker: Worker;
  readonly #ended = new Int32Array(new SharedArrayBuffer(4));
  /** What it said, and who waits for it to say more. */
  readonly #said: unknown[] = [];
  #heard: (() => void) | null = null;
  #failure: Error | null = null;

  private constructor() {
    const url = import.meta.resolve("./scribbler.ts");
    this.#worker = new Worker(url, { type: "module" });
    this.#worker.onmessage = ({ data }) => {
      this.#said.push(data);
      this.#heard?.();
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#failure = new Error(event.message);
      this.#heard?.();
    };
  }

  /** Starts one; when this resolves it is at work. */
  static async start(
    setup: Omit<ScribblerSetup, "ended">,
  ): Promise<Rival> {
    const rival = Rival.#idle ?? await Rival.#load();
    Rival.#idle = null;
    Atomics.store(rival.#ended, 0, 0);
    rival.#worker.postMessage({ ...setup, ended: rival.#ended });
    await rival.#next();
    return rival;
  }

  /** Ends it: how many changes it made. The memory is left alone then. */
  async end(): Promise<number> {
    Atomics.store(this.#ended, 0, 1);
    try {
      const changes = await this.#next();
      Rival.#idle = this;
      return changes as number;
    } catch (error) {
      this.#worker.terminate();
      throw error;
    }
  }

  /** Ends the thread, once nobody races. */
  static dismiss(): void {
    const rival = Rival.#idle;
    Rival.#idle = null;
    if (rival !== null) rival.#worker.terminate();
  }

  static async #load(): Promise<Rival> {
    const rival = new Rival();
    await rival.#next();
    return rival;
  }

  async #next(): Promise<unknown> {
    while (this.#said.length === 0) {
      if (this.#failure !== null) throw this.#failure;
      await new Promise<void>((resolve) => this.#heard = resolve);
    }
    return this.#said.shift();
  }
}
