/**
 * The size of a disk while it is served: what may become of it, and a watch on
 * the file, which others may make longer.
 *
 * @module
 */
import { formatSize, type ResizeRequest } from "../../src/device/mod.ts";
import { UsageError } from "../../src/errors.ts";
import type { DiskFile } from "../../src/io/file.ts";
import { FileWatch } from "../../src/io/file_watch.ts";
import { Reactor } from "../../src/io/reactor.ts";
import { log } from "../../src/log.ts";

/** How often a file is looked at that may have grown. */
const LOOK_MS = 1000;
/** The largest disk, in bytes: below it all offsets are exact. */
const SIZE_MAX = 2 ** 52;

/** A disk as it is now. All sizes in bytes. */
export interface PresentDisk {
  /** For messages. */
  readonly name: string;
  /** Its file, or null for one that does nothing. */
  readonly file: DiskFile | null;
  /** What the driver was told. */
  readonly size: number;
  /** The size is a multiple of this. */
  readonly blockSize: number;
}

/**
 * The size in bytes that `disk` is to have by `wanted`.
 *
 * @throws {UsageError} it can't have that: what is, what was wanted
 */
export function chooseSize(disk: PresentDisk, wanted: ResizeRequest): number {
  const { name, file, blockSize } = disk;
  if (wanted.size === null && file === null) {
    throw new UsageError(`${name} has no file to look at: give a size`);
  }
  const size = wanted.size ?? roundDown(file!.refreshSize(), blockSize);
  if (size < blockSize || size > SIZE_MAX || size % blockSize !== 0) {
    throw new UsageError(
      `${name} can't have ${size} bytes: a multiple of its block size ` +
        `${blockSize} up to ${formatSize(SIZE_MAX)} is wanted`,
    );
  }
  if (size < disk.size && !wanted.shrink) {
    throw new UsageError(
      `${name} has ${disk.size} bytes and would lose what is behind ${size}: ` +
        "say that it may shrink (--shrink), after the guest let go of its end",
    );
  }
  if (wanted.size !== null && file !== null) checkMedium(disk, file, size);
  return size;
}

function checkMedium(disk: PresentDisk, file: DiskFile, size: number): void {
  const has = file.refreshSize();
  if (file.isBlockDevice) {
    if (size <= has) return;
    throw new UsageError(
      `${disk.name} is a block device of ${has} bytes, too short for ${size}: ` +
        "make the device larger, then resize without a size",
    );
  }
  if (!file.readOnly || (size >= disk.size && size <= has)) return;
  throw new UsageError(
    `${disk.name} is served read-only, its file can't change: make the file ` +
      "longer by other means, then resize without a size",
  );
}

/** `size` in whole units. */
function roundDown(size: number, unit: number): number {
  return size - size % unit;
}

/**
 * Says when a file became longer. Where the kernel tells of changes, nothing is
 * done until it does; elsewhere the file is looked at now and then.
 */
export class SizeWatch implements Disposable {
  readonly #file: DiskFile;
  readonly #grown: () => Promise<unknown>;
  readonly #watch: FileWatch | null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #seen: number;
  #closed = false;

  /** Looks at `file` from now on; `grown` is not called before it is done. */
  constructor(file: DiskFile, grown: () => Promise<unknown>) {
    this.#file = file;
    this.#grown = grown;
    this.#seen = file.size;
    // A block device changes its size without a word.
    this.#watch = file.isBlockDevice
      ? null
      : FileWatch.tryOpen(file.fd.number, Reactor.main);
    void this.#follow();
  }

  /** No longer looks. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#watch?.[Symbol.dispose]();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  async #follow(): Promise<void> {
    const watch = this.#watch;
    let armed = watch !== null;
    while (!this.#closed) {
      // Rejects where it is closed; or epoll failed, and a look now and then is
      // what is left.
      if (armed) await watch!.changed().catch(() => {});
      if (this.#closed) return;
      await this.#look();
      // Under load the file changes all the time.
      await this.#pause();
      if (this.#closed) return;
      armed = watch?.arm() ?? false;
      // Nobody tells of what came before.
      if (armed) await this.#look();
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#timer = setTimeout(resolve, LOOK_MS);
      // It keeps no process alive that has nothing else to do.
      Deno.unrefTimer(this.#timer as unknown as number);
    });
  }

  /** A file that became shorter is nobody's wish: what was there is gone. */
  async #look(): Promise<void> {
    try {
      const before = this.#seen;
      this.#seen = this.#file.refreshSize();
      if (this.#seen > before) await this.#grown();
    } catch (error) {
      log.warnOnce(`The file of the disk can't be followed: ${error}`);
    }
  }
}
