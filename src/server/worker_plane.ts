/**
 * The data plane on workers: each runs some of the rings.
 *
 * @module
 */
import { EventFd } from "../io/event_fd.ts";
import { logLevel } from "../log.ts";
import {
  type Carrier,
  CLOSED,
  type Command,
  type IotlbMiss,
  type RingCounters,
} from "./command.ts";
import { Crowd } from "./crowd.ts";
import {
  type Acknowledgement,
  type DeviceStart,
  type MailboxMessage,
  type MissNotice,
  unpackError,
} from "./mailbox.ts";
import { workerUrl } from "./worker_url.ts";

/** Of all threads of this process: they share its processors. */
const crowd = new Crowd();

/** One worker and what it has not acknowledged yet. */
class WorkerThread {
  readonly #worker: Worker;
  readonly #eventFd = EventFd.open();
  readonly #waiting = new Map<number, {
    resolve: (answer: Acknowledgement) => void;
    reject: (error: Error) => void;
  }>();
  #nextId = 0;
  #failure: Error | null = null;
  readonly #onFailure: (error: Error) => void;

  constructor(
    deviceUrl: string,
    onFailure: (error: Error) => void,
    onMiss: (miss: IotlbMiss) => void,
  ) {
    this.#onFailure = onFailure;
    this.#worker = new Worker(workerUrl(deviceUrl), { type: "module" });
    this.#worker.onmessage = (
      { data }: MessageEvent<Acknowledgement | MissNotice>,
    ) => {
      if ("miss" in data) onMiss(data.miss);
      else this.#acknowledged(data);
    };
    this.#worker.onerror = (event: ErrorEvent) => {
      event.preventDefault();
      this.#failed(
        new Error(`The data plane's thread ended: ${event.message}`),
      );
    };
  }

  /** Loads the device's data module; rejects where it can't. */
  async open(start: DeviceStart, speaks: boolean): Promise<void> {
    const opened = this.#post((id) => ({
      kind: "open",
      id,
      start: {
        ...start,
        crowd: crowd.memory,
        eventFd: this.#eventFd.fd.number,
        logLevel: logLevel(),
        speaks,
      },
    }));
    try {
      await opened;
    } catch (error) {
      this.#reject(error as Error);
      throw error;
    }
  }

  send(command: Command): Promise<Acknowledgement> {
    const answer = this.#post((id) => ({ kind: "command", id, command }));
    // Behind that the thread has no rings to run a command on.
    if (command.kind === "close") this.#failure ??= new Error(CLOSED);
    return answer;
  }

  close(): void {
    this.#worker.terminate();
    this.#eventFd[Symbol.dispose]();
    // Nobody is there to acknowledge anything.
    this.#reject(new Error(CLOSED));
  }

  #post(message: (id: number) => MailboxMessage): Promise<Acknowledgement> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const { promise, resolve, reject } = Promise.withResolvers<
      Acknowledgement
    >();
    const id = this.#nextId++;
    this.#waiting.set(id, { resolve, reject });
    this.#worker.postMessage(message(id));
    this.#eventFd.signal();
    return promise;
  }

  #acknowledged(answer: Acknowledgement): void {
    const waiting = this.#waiting.get(answer.id);
    if (waiting === undefined) return;
    this.#waiting.delete(answer.id);
    if (answer.failure === null) waiting.resolve(answer);
    else waiting.reject(unpackError(answer.failure));
  }

  #failed(error: Error): void {
    this.#reject(error);
    this.#onFailure(error);
  }

  /** Every command fails, from now on. */
  #reject(error: Error): void {
    this.#failure ??= error;
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}

/** Spreads the rings over threads, those that belong together on one. */
export class WorkerPlane implements Carrier {
  onMiss: ((miss: IotlbMiss) => void) | null = null;
  readonly ready: Promise<void>;
  readonly failure: Promise<never>;
  readonly #threads: readonly WorkerThread[];
  readonly #ringsTogether: number;

  /**
   * Starts `count` threads, each with the data side of the device whose module
   * is at `deviceUrl`. Ring `i` runs on thread
   * `floor(i / ringsTogether) mod count`.
   */
  constructor(
    count: number,
    deviceUrl: string,
    start: DeviceStart,
    ringsTogether = 1,
  ) {
    this.#ringsTogether = ringsTogether;
    const { promise, reject } = Promise.withResolvers<never>();
    // Who serves awaits it; nobody may yet.
    promise.catch(() => {});
    this.failure = promise;
    this.#threads = Array.from(
      { length: count },
      () => new WorkerThread(deviceUrl, reject, (miss) => this.onMiss?.(miss)),
    );
    this.ready = this.#open(start);
    this.ready.catch(() => {});
  }

  /** A plane that is ready. Rejects where the module can't be loaded or opened. */
  static async open(
    count: number,
    deviceUrl: string,
    start: DeviceStart,
    ringsTogether = 1,
  ): Promise<WorkerPlane> {
    const plane = new WorkerPlane(count, deviceUrl, start, ringsTogether);
    try {
      await plane.ready;
    } catch (error) {
      await plane.close();
      throw error;
    }
    return plane;
  }

  async send(command: Command): Promise<number> {
    switch (command.kind) {
      // Every thread must have let go of the old before anybody goes on.
      case "setMemory":
      case "updateIotlb":
      case "invalidateIotlb":
      case "refuseIotlb":
      case "update":
      case "close":
        await Promise.all(this.#threads.map((thread) => thread.send(command)));
        return 0;
      case "inspect":
        return 0;
      case "startVring":
        return await this.#sendTo(command.config.index, command);
      default:
        return await this.#sendTo(command.index, command);
    }
  }

  async inspect(): Promise<RingCounters[]> {
    const answers = await Promise.all(
      this.#threads.map((thread) => thread.send({ kind: "inspect" })),
    );
    return answers.flatMap(({ rings }) => rings)
      .sort((one, other) => one.index - other.index);
  }

  close(): Promise<void> {
    for (const thread of this.#threads) thread.close();
    return Promise.resolve();
  }

  async #open(start: DeviceStart): Promise<void> {
    await Promise.all(
      this.#threads.map((thread, i) => thread.open(start, i === 0)),
    );
  }

  async #sendTo(index: number, command: Command): Promise<number> {
    return (await this.#threadOf(index).send(command)).result;
  }

  #threadOf(index: number): WorkerThread {
    const group = Math.floor(index / this.#ringsTogether);
    return this.#threads[group % this.#threads.length]!;
  }
}
