/**
 * The open files by which one ring flushes its disk.
 *
 * @module
 */
import type { DiskFile } from "../../src/io/file.ts";
import { CALLS } from "./flushes.ts";

/** One for each call that may be under way, while the ring runs. */
export class FlushFiles implements Disposable {
  /** By call: what io_uring is given. */
  readonly fds: number[];
  readonly #file: DiskFile;
  readonly #fd: number;
  readonly #isCached: boolean;
  readonly #opened: DiskFile[] = [];

  /**
   * Those of `file`, which io_uring knows as `fd`: also to flush by where it is
   * not in the page cache or can't be opened again.
   */
  constructor(file: DiskFile, fd: number, isCached: boolean) {
    this.#file = file;
    this.#fd = fd;
    this.#isCached = isCached;
    this.fds = new Array<number>(CALLS).fill(fd);
  }

  /** The ring starts. */
  open(): void {
    if (!this.#isCached) return;
    for (let call = this.#opened.length; call < CALLS; call++) {
      const file = this.#file.openAgain();
      if (file === null) return;
      this.#opened.push(file);
      this.fds[call] = file.fd.number;
    }
  }

  /** Flushes at once: 0 or a negative errno. */
  dataSync(): number {
    return (this.#opened[0] ?? this.#file).dataSync();
  }

  /** The ring has stopped: nothing is in flight. */
  [Symbol.dispose](): void {
    for (const file of this.#opened.splice(0)) file[Symbol.dispose]();
    this.fds.fill(this.#fd);
  }
}
