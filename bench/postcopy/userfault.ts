/**
 * As much of userfaultfd as it takes to measure it: memory whose missing pages
 * somebody else fetches.
 *
 * @module
 */
import { check, errno } from "../../src/ffi/errno.ts";
import { libc } from "../../src/ffi/libc.ts";
import { Fd } from "../../src/io/fd.ts";

export const PAGE = 4096;

const SYS_USERFAULTFD = 323;
const O_CLOEXEC = 0o2000000;
const O_NONBLOCK = 0o4000;
const UFFD_USER_MODE_ONLY = 1;
const UFFD_API = 0xaan;
const UFFD_FEATURE_MISSING_SHMEM = 1n << 5n;
const UFFDIO_API = 0xc018_aa3f;
const UFFDIO_REGISTER = 0xc020_aa00;
const UFFDIO_REGISTER_MODE_MISSING = 1n;
const UFFDIO_WAKE = 0x8010_aa02;

/** Whose faults it tells of: everybody's, or only those outside the kernel. */
export type FaultMode = "all" | "user";

/** A userfaultfd, or the positive errno of the attempt. */
export function openUserfault(mode: FaultMode): Fd | number {
  const flags = O_CLOEXEC | O_NONBLOCK |
    (mode === "user" ? UFFD_USER_MODE_ONLY : 0);
  const number = libc.ioUringSetup(SYS_USERFAULTFD, flags, new Uint8Array(8));
  if (number < 0) return errno();
  const api = BigUint64Array.of(UFFD_API, UFFD_FEATURE_MISSING_SHMEM, 0n);
  check(libc.ioctl(number, UFFDIO_API, api), "UFFDIO_API");
  return new Fd(number);
}

/** Has pages that are missing in the mapping at `address` told to `fd`. */
export function watch(fd: Fd, address: number, size: number): void {
  const register = BigUint64Array.of(
    BigInt(address),
    BigInt(size),
    UFFDIO_REGISTER_MODE_MISSING,
    0n,
  );
  check(libc.ioctl(fd.number, UFFDIO_REGISTER, register), "UFFDIO_REGISTER");
}

/** Wakes who waits for the page at `address`, which is there now. */
export function wake(fd: number, address: number): void {
  const range = BigUint64Array.of(BigInt(address), BigInt(PAGE));
  check(libc.ioctl(fd, UFFDIO_WAKE, range), "UFFDIO_WAKE");
}

const message = new DataView(new ArrayBuffer(32));

/** Waits for a fault, at most `timeoutMs`: the address of its page, or 0. */
export function nextFault(fd: number, timeoutMs: number): number {
  const poll = new Int32Array([fd, 1]);
  if (libc.poll(poll, 1n, timeoutMs) !== 1) return 0;
  if (libc.read(fd, new Uint8Array(message.buffer), 32) !== 32) return 0;
  const address = Number(message.getBigUint64(16, true));
  return address - address % PAGE;
}
