/**
 * The data plane on the main thread, next to the sessions.
 *
 * @module
 */
import type { Reactor } from "../io/reactor.ts";
import {
  type Carrier,
  CLOSED,
  type Command,
  type IotlbMiss,
  type RingCounters,
} from "./command.ts";
import type { DataPlane } from "./data_plane.ts";
import { Spinner } from "./spinner.ts";

/** Work for the sessions, timers and signals waits at most this long. */
const BURST_MS = 1;
/**
 * A burst that took longer, because requests block, is followed by a rest. While
 * immediates keep the event loop going it looks only now and then at what other
 * threads tell it (measured: every 25 to 60 turns), which are kicks, messages
 * and signals. Where it has to wait for a timer it looks at once, for 2 ms.
 */
const LONG_MS = 10;

/** Carries commands to a data plane of this thread, and turns it. */
export class InlinePlane implements Carrier {
  onMiss: ((miss: IotlbMiss) => void) | null = null;
  readonly ready: Promise<void> = Promise.resolve();
  readonly #plane: DataPlane;
  readonly #reactor: Reactor;
  readonly #spinner = new Spinner();
  #wake: (() => void) | null = null;
  #watching = false;
  #closed = false;
  readonly failure: Promise<never>;
  #failure: Error | null = null;
  readonly #loop: Promise<void>;

  /** Turns `plane` until it is closed; waits by `reactor`. */
  constructor(plane: DataPlane, reactor: Reactor) {
    this.#plane = plane;
    plane.tellMiss = (miss) => this.onMiss?.(miss);
    this.#reactor = reactor;
    const { promise, reject } = Promise.withResolvers<never>();
    // Who serves awaits it; nobody may yet.
    promise.catch(() => {});
    this.failure = promise;
    this.#loop = this.#run().catch((error) => {
      this.#failure = error as Error;
      reject(error);
    });
  }

  send(command: Command): Promise<number> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.#closed) return Promise.reject(new Error(CLOSED));
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    if (command.kind === "close") {
      // The loop must not touch a plane that is gone.
      this.#closed = true;
      this.#reactor.cancel(this.#plane.waiter.fd);
    }
    this.#plane.run(command, (result, error) => {
      if (error === undefined) resolve(result);
      else reject(error);
    });
    this.#wake?.();
    return promise;
  }

  inspect(): Promise<RingCounters[]> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    return Promise.resolve(this.#closed ? [] : this.#plane.inspect());
  }

  async close(): Promise<void> {
    await this.#loop;
  }

  async #run(): Promise<void> {
    const plane = this.#plane;
    while (!this.#closed) {
      const began = performance.now();
      if (this.#burst(began + BURST_MS) || !plane.arm()) {
        // Sessions, timers and signals get their turn.
        const long = performance.now() - began > LONG_MS;
        await new Promise<void>((resolve) => {
          if (long) setTimeout(resolve);
          else setImmediate(resolve);
        });
        continue;
      }
      this.#spinner.park();
      await this.#parked();
      if (this.#closed) return;
      plane.disarm();
      plane.waiter.poll();
      this.#spinner.unpark();
    }
  }

  /** Turns the plane; true where it is busy still, but others must have a turn. */
  #burst(until: number): boolean {
    const spinner = this.#spinner;
    for (let turns = 1;; turns++) {
      if (this.#plane.turn() > 0) spinner.worked();
      else if (!spinner.again()) return false;
      // The clock is dear, but one turn may have taken a second.
      const look = (turns & 15) === 0 || (turns & (turns - 1)) === 0;
      if (look && performance.now() > until) return true;
    }
  }

  /** Resolves at a kick, a completion, or a command. */
  #parked(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = () => {
      this.#wake = null;
      resolve();
    };
    if (!this.#watching) {
      this.#watching = true;
      const woken = () => {
        this.#watching = false;
        this.#wake?.();
      };
      this.#reactor.readable(this.#plane.waiter.fd).then(woken, woken);
    }
    return promise;
  }
}
