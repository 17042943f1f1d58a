/**
 * Hears that a file was written to, or made longer or shorter, by whomever: the
 * next time only, so that a file under load costs nothing.
 *
 * @module
 */
import {
  BTRFS_SUPER_MAGIC,
  EXT4_SUPER_MAGIC,
  IN_CLOEXEC,
  IN_MODIFY,
  IN_NONBLOCK,
  IN_ONESHOT,
  TMPFS_MAGIC,
  XFS_SUPER_MAGIC,
} from "../ffi/abi.ts";
import { libc } from "../ffi/libc.ts";
import { cString } from "../ffi/pointer.ts";
import { Fd } from "./fd.ts";
import type { Reactor } from "./reactor.ts";

/** Of `struct statfs`, in bytes; its first word is the type. */
const STATFS_SIZE = 120;
const ONCE_CHANGED = (IN_MODIFY | IN_ONESHOT) >>> 0;
/** An event without a name takes 16 bytes. */
const EVENTS_SIZE = 256;
/** Where nobody changes a file but this host, which then hears of it. */
const LOCAL = [
  BTRFS_SUPER_MAGIC,
  EXT4_SUPER_MAGIC,
  TMPFS_MAGIC,
  XFS_SUPER_MAGIC,
];

/** Watches one open file. */
export class FileWatch implements Disposable {
  readonly #fd: Fd;
  readonly #path: Uint8Array<ArrayBuffer>;
  readonly #events = new Uint8Array(EVENTS_SIZE);
  readonly #reactor: Reactor;

  private constructor(fd: Fd, file: number, reactor: Reactor) {
    this.#fd = fd;
    // The file that is open, whatever its path leads to by now.
    this.#path = cString(`/proc/self/fd/${file}`);
    this.#reactor = reactor;
  }

  /**
   * Watches the file that `file` is open on, armed; null where the kernel
   * doesn't tell: on another host's file system, or of too many files.
   */
  static tryOpen(file: number, reactor: Reactor): FileWatch | null {
    if (!isLocal(file)) return null;
    const number = libc.inotifyInit1(IN_NONBLOCK | IN_CLOEXEC);
    if (number < 0) return null;
    const watch = new FileWatch(new Fd(number), file, reactor);
    if (watch.arm()) return watch;
    watch[Symbol.dispose]();
    return null;
  }

  /** From now on the next change is heard. False where it will not be. */
  arm(): boolean {
    const { number } = this.#fd;
    while (libc.read(number, this.#events, EVENTS_SIZE) > 0);
    return libc.inotifyAddWatch(number, this.#path, ONCE_CHANGED) >= 0;
  }

  /**
   * Resolves once the file was changed since it was armed. Rejects with a
   * CancelledError when the watch is closed.
   */
  changed(): Promise<void> {
    return this.#reactor.readable(this.#fd.number);
  }

  /** Hears nothing more. */
  [Symbol.dispose](): void {
    this.#reactor.cancel(this.#fd.number);
    this.#fd.close();
  }
}

/** Whether `file` is open on a file system that this host alone has. */
export function isLocal(file: number): boolean {
  const status = new Uint32Array(STATFS_SIZE / 4);
  return libc.fstatfs(file, status) === 0 && LOCAL.includes(status[0]!);
}
