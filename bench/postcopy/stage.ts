/**
 * Memory whose pages are missing, and a pager for them.
 *
 * @module
 */
import { Mapping } from "../../src/ffi/mapping.ts";
import type { Fd } from "../../src/io/fd.ts";
import { createMemfd } from "../../src/io/memfd.ts";
import type { PagerStart } from "./pager.ts";
import { type FaultMode, openUserfault, PAGE, watch } from "./userfault.ts";

/** `pages` of memory that are missing until they are touched. */
export class MissingMemory implements AsyncDisposable {
  readonly mapping: Mapping;
  readonly view: DataView;
  readonly #memory: Fd;
  readonly #fd: Fd;
  readonly #state = new Int32Array(new SharedArrayBuffer(8));
  readonly #worker: Worker;

  private constructor(memory: Fd, mapping: Mapping, fd: Fd) {
    this.#memory = memory;
    this.mapping = mapping;
    this.view = new DataView(mapping.buffer);
    this.#fd = fd;
    const url = new URL("./pager.ts", import.meta.url);
    this.#worker = new Worker(url, { type: "module" });
  }

  /** Makes it; a page arrives after `delayMs`, or never for -1. */
  static async open(
    pages: number,
    mode: FaultMode,
    delayMs: number,
  ): Promise<MissingMemory> {
    const size = pages * PAGE;
    const memory = createMemfd("postcopy", size);
    const mapping = Mapping.shared(memory.number, size, 0);
    const fd = openUserfault(mode);
    if (typeof fd === "number") {
      throw new Error(`userfaultfd failed with errno ${fd}: run it as root`);
    }
    watch(fd, mapping.address, size);
    const missing = new MissingMemory(memory, mapping, fd);
    await missing.#start(delayMs);
    return missing;
  }

  /** Faults that the pager was told of. */
  get faults(): number {
    return Atomics.load(this.#state, 1);
  }

  /** Where page `index` is. */
  address(index: number): number {
    return this.mapping.address + index * PAGE;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const done = this.#hears();
    Atomics.store(this.#state, 0, 1);
    Atomics.notify(this.#state, 0);
    await done;
    this.#worker.terminate();
    this.#fd.close();
    this.mapping[Symbol.dispose]();
    this.#memory.close();
  }

  async #start(delayMs: number): Promise<void> {
    const ready = this.#hears();
    this.#worker.postMessage(
      {
        fd: this.#fd.number,
        memory: this.#memory.number,
        address: this.mapping.address,
        delayMs,
        state: this.#state,
      } satisfies PagerStart,
    );
    await ready;
  }

  #hears(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#worker.onmessage = () => resolve();
    return promise;
  }
}
