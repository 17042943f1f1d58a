// Data plane: where the bytes of the entropy device come from.
/**
 * @module
 */
import type {
  DataPlaneServices,
  ReadySource,
} from "../../src/device/device.ts";
import { EAGAIN, EFAULT } from "../../src/ffi/abi.ts";
import { errnoName } from "../../src/ffi/errno.ts";
import { ByteSource } from "../../src/io/byte_source.ts";
import { duplicateFd } from "../../src/io/fd.ts";
import type { IovecList } from "../../src/io/iovec.ts";
import { KernelRandom } from "../../src/io/random.ts";
import { TimerFd } from "../../src/io/timer_fd.ts";
import { log } from "../../src/log.ts";

/** A source that has nothing and can't be watched is looked at as often. */
const RETRY_MS = 10;

/** Bytes for guests. */
export interface Source extends Disposable {
  /** Requests that may be read for at once: 1 where a read may find nothing. */
  readonly batch: number;
  /** Whether there is nothing to be had for now. */
  readonly isDry: boolean;
  /**
   * Fills `count` elements of `list` from `first`: bytes, 0 where there is
   * nothing for now, or -1 where the first of the elements can't be written.
   */
  read(list: IovecList, first: number, count: number): number;
  /** The driver starts anew: so does what had ended. */
  restart(): void;
}

/** An open file to read from. */
export interface SourceFile {
  /** Its descriptor, which the control side owns. */
  readonly fd: number;
  /** For messages. */
  readonly path: string;
  /** Whether something says when there is something to read. */
  readonly isWatchable: boolean;
}

/** The kernel's generator: always there. */
export class KernelSource implements Source {
  readonly batch = 32768;
  readonly isDry = false;
  readonly #random: KernelRandom = KernelRandom.open();

  read(list: IovecList, first: number, count: number): number {
    const done = this.#random.fill(list, first, count);
    return done > 0 ? done : -1;
  }

  restart(): void {}

  [Symbol.dispose](): void {
    this.#random[Symbol.dispose]();
  }
}

/** A file, FIFO or device, which may have nothing yet or come to its end. */
export class FileSource implements Source, ReadySource {
  readonly batch = 1;
  isDry = false;
  readonly #source: ByteSource;
  readonly #path: string;
  readonly #services: DataPlaneServices;
  /** What is watched instead of a source that can't be. */
  readonly #timer: TimerFd | null;
  #ended = false;

  /** Reads from a duplicate of `file`. Throws a SystemError. */
  constructor(file: SourceFile, services: DataPlaneServices) {
    this.#path = file.path;
    this.#services = services;
    this.#timer = file.isWatchable ? null : TimerFd.open();
    this.#source = new ByteSource(duplicateFd(file.fd));
    services.watch(this.#watched, this);
  }

  read(list: IovecList, first: number, count: number): number {
    const done = this.#source.read(list, first, count);
    if (done > 0) return done;
    if (done === -EFAULT) return -1;
    this.isDry = true;
    if (done === -EAGAIN) this.#timer?.start(RETRY_MS, 0);
    else this.#end(done);
    return 0;
  }

  /** There may be something again. */
  ready(): void {
    if (this.#timer !== null) this.#timer.expirations();
    this.isDry = this.#ended;
  }

  restart(): void {
    this.#ended = false;
    this.isDry = false;
  }

  [Symbol.dispose](): void {
    this.#services.unwatch(this.#watched);
    this.#timer?.[Symbol.dispose]();
    this.#source[Symbol.dispose]();
  }

  get #watched(): number {
    return (this.#timer ?? this.#source).fd.number;
  }

  /** Says why nothing more is read. */
  #end(result: number): void {
    this.#ended = true;
    const what = result === 0
      ? "is at its end"
      : `can't be read (${errnoName(-result)})`;
    log.warn(
      `The source ${this.#path} ${what}: the guest's requests wait, ` +
        "until its driver starts anew; name a source that goes on",
    );
  }
}
