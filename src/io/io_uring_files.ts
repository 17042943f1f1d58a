/**
 * Files that an io_uring holds, so that requests need not look them up.
 *
 * @module
 */
import {
  IORING_REGISTER_FILES,
  IORING_REGISTER_FILES_UPDATE,
  SYS_io_uring_register,
} from "../ffi/abi.ts";
import { libc } from "../ffi/libc.ts";
import { addressOf } from "../ffi/pointer.ts";
import { IO_URING_FILES_UPDATE } from "../ffi/struct.ts";
import type { Fd } from "./fd.ts";

/** What requests without a file have for a descriptor. */
export const NO_FILE = -1;
/** What stands for the first registered file; the next ones are below. */
export const FIRST_FILE = -2;
/** Places for files. */
const CAPACITY = 64;
const UPDATE_WORDS = IO_URING_FILES_UPDATE.size / 4;

/** The registered files of one io_uring. */
export class UringFiles {
  readonly #ring: Fd;
  /** By place; -1 where there is room. */
  readonly #fds: Int32Array<ArrayBuffer>;
  #state: "untried" | "usable" | "refused" = "untried";

  /** No files yet. */
  constructor(ring: Fd) {
    this.#ring = ring;
    this.#fds = new Int32Array(CAPACITY).fill(-1);
  }

  /** Registers `fd`: a number of at most FIRST_FILE, or `fd` where that can't be. */
  add(fd: number): number {
    if (fd < 0 || !this.#isUsable()) return fd;
    const place = this.#fds.indexOf(-1);
    if (place < 0 || !this.#update(place, fd)) return fd;
    return FIRST_FILE - place;
  }

  /** Forgets what `add` gave. Harmless for a plain descriptor. */
  remove(file: number): void {
    if (file <= FIRST_FILE) this.#update(FIRST_FILE - file, -1);
  }

  #isUsable(): boolean {
    if (this.#state === "untried") {
      const done = this.#register(IORING_REGISTER_FILES, this.#fds, CAPACITY);
      this.#state = done ? "usable" : "refused";
    }
    return this.#state === "usable";
  }

  #update(place: number, fd: number): boolean {
    const fds = Int32Array.of(fd);
    const words = new Uint32Array(UPDATE_WORDS);
    const address = addressOf(fds);
    words[IO_URING_FILES_UPDATE.at.offset / 4] = place;
    words[IO_URING_FILES_UPDATE.at.fds / 4] = address;
    words[IO_URING_FILES_UPDATE.at.fds / 4 + 1] = address / 2 ** 32;
    const done = this.#register(IORING_REGISTER_FILES_UPDATE, words, 1);
    // Read after the call: so that it is not collected during it.
    if (done) this.#fds[place] = fds[0]!;
    return done;
  }

  #register(
    operation: number,
    argument: Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>,
    count: number,
  ): boolean {
    return libc.ioUringRegister(
      SYS_io_uring_register,
      this.#ring.number,
      operation,
      argument,
      count,
    ) >= 0;
  }
}
