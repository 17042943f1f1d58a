/**
 * Memory as a file, to be shared by descriptor.
 *
 * @module
 */
import {
  F_ADD_SEALS,
  F_SEAL_SHRINK,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_HUGE_2MB,
  MFD_HUGETLB,
} from "../ffi/abi.ts";
import { check, errno, systemError } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { cString } from "../ffi/pointer.ts";
import { Fd } from "./fd.ts";

/** Bytes of the huge pages that a memfd can have. */
export const HUGE_PAGE_SIZE: number = 2 << 20;

/** What a memfd may be beyond plain. */
export interface MemfdOptions {
  /**
   * Backed by huge pages of 2 MiB, of which `size` is then a multiple. All are
   * taken at once: where there are too few that is an error here, and not a bus
   * error of whoever touches the first one that is missing.
   */
  hugePages?: boolean;
  /** Huge pages are taken when they are touched: for mappings that never are. */
  lazily?: boolean;
  /** `F_SEAL_*` bits to apply. */
  seals?: number;
}

/** A new memfd of `size` zero bytes. Throws a SystemError. */
export function createMemfd(
  name: string,
  size: number,
  options: MemfdOptions = {},
): Fd {
  let flags = MFD_CLOEXEC;
  if (options.seals !== undefined) flags |= MFD_ALLOW_SEALING;
  if (options.hugePages) flags |= MFD_HUGETLB | MFD_HUGE_2MB;
  const fd = new Fd(
    check(libc.memfdCreate(cString(name), flags), "memfd_create"),
  );
  try {
    check(libc.ftruncate(fd.number, BigInt(size)), "ftruncate");
    if (options.hugePages && !options.lazily) takeHugePages(fd, size);
    if (options.seals !== undefined) {
      check(libc.fcntl(fd.number, F_ADD_SEALS, options.seals), "fcntl");
    }
  } catch (error) {
    fd.close();
    throw error;
  }
  return fd;
}

function takeHugePages(fd: Fd, size: number): void {
  if (libc.fallocate(fd.number, 0, 0n, BigInt(size)) === 0) return;
  const failure = errno();
  const pages = Math.ceil(size / HUGE_PAGE_SIZE);
  throw systemError("fallocate", failure, {
    path: "a memfd of huge pages",
    remedy: `${pages} of 2 MiB are wanted, raise /proc/sys/vm/nr_hugepages`,
  });
}

/**
 * Forbids everybody to make the file of `fd` shorter, where it is a memfd that
 * can be sealed; does nothing otherwise.
 */
export function sealAgainstShrinking(fd: Fd): void {
  libc.fcntl(fd.number, F_ADD_SEALS, F_SEAL_SHRINK);
}
