/**
 * An image that one disk at a time writes to.
 *
 * The kernel goes on with the requests of a process that was killed: writes
 * past the page cache by io_uring were seen to arrive seconds after the process
 * was gone. The next one must not run them again before they are over, or an
 * old write would undo a new one. Those requests hold the open file, and the
 * open file holds the lock.
 *
 * @module
 */
import { SystemError, UsageError } from "../../src/errors.ts";
import type { DiskFile } from "../../src/io/file.ts";
import { tryLockFile, unlockFile } from "../../src/io/file_lock.ts";
import { log } from "../../src/log.ts";

/** How long another one may take to be done. Then the front-end is told. */
const PATIENCE_MS = 10_000;
/** How often it is tried, more seldom each time. */
const RETRY_MS = 2;
const RETRY_MAX_MS = 100;

/** The lock on the image, which is had while rings run. */
export class ImageClaim {
  readonly #file: DiskFile;
  readonly #patienceMs: number;

  /** On `file`, which is open for writing. */
  constructor(file: DiskFile, patienceMs: number = PATIENCE_MS) {
    this.#file = file;
    this.#patienceMs = patienceMs;
  }

  /**
   * Resolves once nobody else has the image. Rejects with a UsageError where
   * that takes too long, or with the reason of `signal`.
   */
  async take(signal: AbortSignal): Promise<void> {
    const end = performance.now() + this.#patienceMs;
    let pause = RETRY_MS;
    while (!this.#try()) {
      if (pause === RETRY_MS) {
        log.info(`${this.#file.path} is in use: waiting for the other to end`);
      }
      if (performance.now() > end) throw this.#inUse();
      await new Promise((resolve) => setTimeout(resolve, pause));
      signal.throwIfAborted();
      pause = Math.min(RETRY_MAX_MS, 2 * pause);
    }
  }

  /** Others may have it. Nothing is in flight. */
  release(): void {
    unlockFile(this.#file.fd.number);
  }

  #try(): boolean {
    const { fd, path } = this.#file;
    try {
      return tryLockFile(fd.number, path);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      log.warnOnce(
        `${path} can't be locked (${error.message}): see to it that a server ` +
          "that was killed has ended all its writes before the next one starts",
      );
      return true;
    }
  }

  #inUse(): UsageError {
    return new UsageError(
      `${this.#file.path} is in use by another process, or a killed one still ` +
        "writes to it: stop that one or wait, or give --shared where both are " +
        "to write to it",
    );
  }
}
