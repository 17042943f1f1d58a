/**
 * What a check has to work with, and what it opened.
 *
 * @module
 */
import { Prng } from "../testing/prng.ts";
import type { Frontend } from "../vhost_user/frontend.ts";
import { CheckFailure, Skip } from "./verdict.ts";
import { dial } from "./dial.ts";
import type { Target } from "./target.ts";

/** Turns without a pause before waiting in pauses of a millisecond. */
const QUICK_TURNS = 64;
/** How long something is given to happen that must not happen. */
const QUIET_MS = 20;

/** What a check works with. Everything it opens is closed when it ends. */
export class CheckSession implements Disposable {
  /** The back-end. */
  readonly target: Target;
  /** The same numbers in every run with the same seed. */
  readonly prng: Prng;
  /** What was done last, for whoever wonders why nothing happens. */
  step = "connecting";
  readonly #deadline: number;
  readonly #opened: Disposable[] = [];
  #ended = false;

  /** A check of `target` that may take `limitMs`. */
  constructor(target: Target, limitMs: number) {
    this.target = target;
    this.prng = new Prng(target.options.seed ?? 1);
    this.#deadline = performance.now() + limitMs;
  }

  /** A connection on which nothing was said yet. */
  async connect(): Promise<Frontend> {
    const { socketPath } = this.target.options;
    return this.own(await dial(socketPath, () => this.#ended));
  }

  /** Closes `thing` at the end. */
  own<T extends Disposable>(thing: T): T {
    this.#opened.push(thing);
    return thing;
  }

  /** Closes `thing` now: most back-ends serve one front-end at a time. */
  hangUp(thing: Disposable): void {
    const at = this.#opened.indexOf(thing);
    if (at >= 0) this.#opened.splice(at, 1);
    thing[Symbol.dispose]();
  }

  /** Ends the check: there is nothing to look at. */
  skip(reason: string): never {
    throw new Skip(reason);
  }

  /** Skips unless virtio feature `bit` is offered. */
  needs(bit: bigint, name: string): void {
    if (!this.target.offers(bit)) this.skip(`${name} is not offered`);
  }

  /** Skips unless protocol feature number `feature` is offered. */
  needsProtocol(feature: number, name: string): void {
    if (!this.target.offersProtocol(feature)) {
      this.skip(`${name} is not offered`);
    }
  }

  /** Skips unless the rings are split: the check writes their fields itself. */
  needsSplit(): void {
    if (this.target.packed) this.skip("it is about split rings");
  }

  /** Waits until `done`; fails where `what` does not come in time. */
  async until(done: () => boolean, what: string): Promise<void> {
    const start = performance.now();
    // Before the limit of the whole check, which can't say what is missing.
    const end = start + (this.#deadline - start) * 0.9;
    for (let turn = 0; !done(); turn++) {
      if (this.#ended) throw new CheckFailure("The check was given up");
      const now = performance.now();
      if (now > end) {
        const seconds = ((now - start) / 1000).toFixed(1);
        throw new CheckFailure(`${what} did not come within ${seconds} s`);
      }
      await turns(turn < QUICK_TURNS ? 0 : 1);
    }
  }

  /** Gives something that must not happen the time to happen. */
  async quiet(): Promise<void> {
    const end = performance.now() + QUIET_MS;
    while (performance.now() < end && !this.#ended) await turns(1);
  }

  /** Closes what was opened; what still waits fails. */
  [Symbol.dispose](): void {
    this.#ended = true;
    for (const thing of this.#opened.splice(0).reverse()) {
      thing[Symbol.dispose]();
    }
  }
}

/** Lets everybody else on this thread have a turn. */
function turns(ms: number): Promise<void> {
  return new Promise((resolve) => {
    if (ms === 0) setImmediate(resolve);
    else setTimeout(resolve, ms);
  });
}
