// Data plane: random numbers of the kernel.
/**
 * @module
 */
import { SystemError } from "../errors.ts";
import {
  EAGAIN,
  EINTR,
  GRND_NONBLOCK,
  IOV_MAX,
  O_CLOEXEC,
  O_RDONLY,
  SYS_getrandom,
} from "../ffi/abi.ts";
import { errno, errnoName } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { addressOf, cString } from "../ffi/pointer.ts";
import { Fd } from "./fd.ts";
import type { IovecList } from "./iovec.ts";
import { RandomPool } from "./random_pool.ts";

const TWO_32 = 0x1_0000_0000;
const DEVICE = "/dev/urandom";
/** Bytes up to which a system call of its own is quicker than the pool. */
const SHORT = 256;

/** The random number generator of the kernel. It never waits. */
export class KernelRandom implements Disposable {
  /** The device, or closed where there is none: then only `getrandom` is used. */
  readonly #device: Fd;
  /** The same without a call for each, or null where the kernel has none. */
  readonly #pool: RandomPool | null = RandomPool.open();
  /** An address and a size, of 64 bits each, by either view. */
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #longs: BigInt64Array<ArrayBuffer>;

  private constructor(device: Fd) {
    this.#device = device;
    this.#words = new Int32Array(4);
    this.#longs = new BigInt64Array(this.#words.buffer);
  }

  /** Opens it. Throws a SystemError where the kernel has no entropy yet. */
  static open(): KernelRandom {
    const device = libc.open(cString(DEVICE), O_RDONLY | O_CLOEXEC, 0);
    const random = new KernelRandom(new Fd(device < 0 ? -1 : device));
    const failure = random.#probe();
    if (failure === 0) return random;
    random[Symbol.dispose]();
    const remedy = failure === EAGAIN
      ? "the kernel has no entropy yet, start later"
      : "name a source by --source PATH";
    const code = errnoName(failure);
    throw new SystemError("getrandom", failure, { code, remedy });
  }

  /**
   * Fills `count` elements of `list` from `first`: bytes, which may be fewer
   * than wanted but not 0, or a negative errno, as -EFAULT.
   *
   * One short element is quickest filled by `getrandom`: 0.54 us for 64 bytes,
   * 1.00 us for 256, where the pool takes 0.85 and 1.13. From there on it is the
   * pool: 6.6 us for 4096 bytes against 11.1, 8.3 us for 64 times 64 against
   * 11.8. Without one, several elements take a `readv` of the device.
   */
  fill(list: IovecList, first: number, count: number): number {
    const pool = this.#pool;
    if (pool !== null && (count > 1 || list.size(first) > SHORT)) {
      const done = pool.fill(list, first, count);
      if (done !== 0) return done;
    }
    const device = this.#device.number;
    if (count === 1 || device < 0) return this.#fillOne(list, first);
    const bytes = list.bytes(first);
    const used = count < IOV_MAX ? count : IOV_MAX;
    for (;;) {
      const done = libc.readv(device, bytes, used);
      if (done >= 0) return done;
      const failure = errno();
      if (failure !== EINTR) return -failure;
    }
  }

  /** Closes the device. */
  [Symbol.dispose](): void {
    this.#pool?.[Symbol.dispose]();
    this.#device.close();
  }

  #fillOne(list: IovecList, index: number): number {
    const words = this.#words;
    list.copyTo(index, words, 0);
    const size = words[2]!;
    for (;;) {
      const done = libc.getrandom(SYS_getrandom, this.#longs[0]!, size, 0);
      if (done >= 0) return done;
      const failure = errno();
      if (failure !== EINTR) return -failure;
    }
  }

  /** 0, or why there are no random numbers. */
  #probe(): number {
    const words = this.#words;
    const address = addressOf(words);
    words[0] = address;
    words[1] = address / TWO_32;
    const done = libc.getrandom(
      SYS_getrandom,
      this.#longs[0]!,
      1,
      GRND_NONBLOCK,
    );
    return done === 1 ? 0 : errno();
  }
}
