/**
 * The state of a device on its way out of a back-end, or into one
 * (specification, "Migrating back-end state"). It goes over a pipe or a socket
 * of the front-end, beside the messages: none of them waits for it.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import { ByteChunks, ByteStream } from "../io/byte_stream.ts";
import type { Fd } from "../io/fd.ts";
import type { Reactor } from "../io/reactor.ts";
import { log } from "../log.ts";
import type { Backend } from "./backend.ts";
import {
  DEVICE_STATE_DIRECTION,
  DEVICE_STATE_PHASE_STOPPED,
  MAX_DEVICE_STATE_SIZE,
} from "./protocol.ts";

/** A state that is under way. */
interface Transfer extends Disposable {
  /** Whether it changes the device. */
  readonly loads: boolean;
  /** Resolves once the whole state went over and was taken in; rejects if not. */
  finish(): Promise<void>;
}

/** What SET_DEVICE_STATE_FD asks for. */
interface Wanted {
  readonly direction: number;
  readonly phase: number;
}

/** The transfers of one session, of which one at most is under way. */
export class DeviceState implements Disposable {
  readonly #backend: Backend;
  readonly #reactor: Reactor;
  #transfer: Transfer | null = null;

  /** Of `backend`; waits by `reactor`. */
  constructor(backend: Backend, reactor: Reactor) {
    this.#backend = backend;
    this.#reactor = reactor;
  }

  /**
   * SET_DEVICE_STATE_FD: begins a transfer in place of one that is under way.
   * `running`: whether rings are started. Takes `fd` over.
   */
  async begin(wanted: Wanted, fd: Fd, running: boolean): Promise<void> {
    try {
      checkWanted(wanted);
      checkStopped(running);
      const stream = openStream(fd, this.#reactor);
      const transfer = wanted.direction === DEVICE_STATE_DIRECTION.LOAD
        ? new Load(stream, this.#backend)
        : new Save(stream, await this.#stateToSave());
      this[Symbol.dispose]();
      this.#transfer = transfer;
    } catch (error) {
      fd.close();
      throw error;
    }
  }

  /**
   * CHECK_DEVICE_STATE: resolves where the transfer was a success. A state that
   * is loaded takes effect here, in the order of the messages.
   */
  async check(running: boolean): Promise<void> {
    const transfer = this.#transfer;
    if (transfer === null) {
      throw new ProtocolError(
        "There is no device state to check: send SET_DEVICE_STATE_FD first",
      );
    }
    try {
      if (transfer.loads) checkStopped(running);
      await transfer.finish();
    } finally {
      this[Symbol.dispose]();
    }
  }

  async #stateToSave(): Promise<Uint8Array<ArrayBuffer>> {
    const state = new Uint8Array(await this.#backend.saveState!());
    if (state.length <= MAX_DEVICE_STATE_SIZE) return state;
    throw new ProtocolError(
      `The device state has ${state.length} bytes, at most ` +
        `${MAX_DEVICE_STATE_SIZE} can be moved`,
    );
  }

  /** Gives up what is under way. */
  [Symbol.dispose](): void {
    this.#transfer?.[Symbol.dispose]();
    this.#transfer = null;
  }
}

/** A state that is written, as fast as the front-end reads. */
class Save implements Transfer {
  readonly loads = false;
  readonly #stream: ByteStream;
  #outcome: "under way" | "done" | Error = "under way";

  constructor(stream: ByteStream, state: Uint8Array<ArrayBuffer>) {
    this.#stream = stream;
    void this.#write(state);
  }

  // The front-end asks once it has read the end, which is behind us then.
  finish(): Promise<void> {
    if (this.#outcome === "done") return Promise.resolve();
    if (this.#outcome !== "under way") return Promise.reject(this.#outcome);
    return Promise.reject(
      new ProtocolError(
        "The device state was not read to its end: read all of it first",
      ),
    );
  }

  [Symbol.dispose](): void {
    this.#stream[Symbol.dispose]();
  }

  async #write(state: Uint8Array<ArrayBuffer>): Promise<void> {
    try {
      await this.#stream.writeAll(state);
      this.#outcome = "done";
    } catch (error) {
      this.#outcome = error as Error;
    }
    this.#stream[Symbol.dispose]();
  }
}

/** A state that is read, as fast as the front-end writes. */
class Load implements Transfer {
  readonly loads = true;
  readonly #stream: ByteStream;
  readonly #backend: Backend;
  readonly #chunks = new ByteChunks(MAX_DEVICE_STATE_SIZE);
  #ended = false;
  #failure: Error | null = null;

  constructor(stream: ByteStream, backend: Backend) {
    this.#stream = stream;
    this.#backend = backend;
    void this.#read();
  }

  // The front-end asks once it has closed its end: all that comes is there.
  async finish(): Promise<void> {
    while (this.#take());
    if (this.#failure !== null) throw this.#failure;
    if (!this.#ended) {
      throw new ProtocolError(
        "The device state has no end yet: close the writing end first",
      );
    }
    await this.#backend.loadState!(this.#chunks.join());
  }

  [Symbol.dispose](): void {
    this.#stream[Symbol.dispose]();
  }

  async #read(): Promise<void> {
    try {
      while (!this.#isOver) {
        await this.#stream.readable();
        if (!this.#isOver) this.#take();
      }
    } catch (error) {
      this.#failure ??= error as Error;
    }
  }

  get #isOver(): boolean {
    return this.#ended || this.#failure !== null;
  }

  /** Takes what is there, a piece at a time; false where there is none. */
  #take(): boolean {
    if (this.#isOver) return false;
    try {
      const chunk = this.#stream.readNow();
      if (chunk === null) return false;
      if (chunk.length > 0) {
        this.#chunks.add(chunk);
        return true;
      }
      this.#ended = true;
    } catch (error) {
      this.#failure = error as Error;
      log.debug(`The device state is not read on: ${error}`);
    }
    this.#stream[Symbol.dispose]();
    return false;
  }
}

function checkWanted({ direction, phase }: Wanted): void {
  const { SAVE, LOAD } = DEVICE_STATE_DIRECTION;
  if (direction !== SAVE && direction !== LOAD) {
    throw new ProtocolError(
      `The direction of the device state is ${direction}, wanted 0 (save) or ` +
        "1 (load)",
    );
  }
  if (phase !== DEVICE_STATE_PHASE_STOPPED) {
    throw new ProtocolError(
      `The phase of the migration is ${phase}, wanted 0: all rings are stopped`,
    );
  }
}

function checkStopped(running: boolean): void {
  if (!running) return;
  throw new ProtocolError(
    "Rings run, the device state can't be had: send GET_VRING_BASE for each " +
      "ring first",
  );
}

function openStream(fd: Fd, reactor: Reactor): ByteStream {
  try {
    return new ByteStream(fd, reactor);
  } catch (cause) {
    throw new ProtocolError(
      `The device state has no channel: ${(cause as Error).message}`,
      { cause },
    );
  }
}
