/**
 * Locks on whole files that belong to the open file, not to the process: one
 * that was killed has its lock for as long as the kernel still works for it.
 *
 * @module
 */
import { EACCES, EAGAIN, F_OFD_SETLK, F_UNLCK, F_WRLCK } from "../ffi/abi.ts";
import { errno, systemError } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { FLOCK } from "../ffi/struct.ts";

/**
 * Locks the whole open file `fd`, which is open for writing, for itself; false
 * where somebody else has a lock on it, QEMU included. It is had until
 * `unlockFile`, and until the last reference to the open file is gone, that of a
 * request in flight too. Throws a SystemError, as where the file system has no
 * locks.
 */
export function tryLockFile(fd: number, path: string): boolean {
  if (libc.fcntlLock(fd, F_OFD_SETLK, wholeFile(F_WRLCK)) === 0) return true;
  const failure = errno();
  if (failure === EAGAIN || failure === EACCES) return false;
  throw systemError("fcntl", failure, { path });
}

/** Gives the lock of the open file `fd` back, where it has one. */
export function unlockFile(fd: number): void {
  libc.fcntlLock(fd, F_OFD_SETLK, wholeFile(F_UNLCK));
}

/** `struct flock` from the first byte on; a length of 0 is up to the end. */
function wholeFile(type: number): Uint8Array<ArrayBuffer> {
  const lock = new Uint8Array(FLOCK.size);
  new DataView(lock.buffer).setUint16(FLOCK.at.type, type, true);
  return lock;
}
