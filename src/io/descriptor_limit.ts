/**
 * How many descriptors this process may have.
 *
 * @module
 */
import { RLIMIT_NOFILE } from "../ffi/abi.ts";
import { check } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";

/** The limit of open files as it is now. Throws a SystemError. */
export function descriptorLimit(): number {
  // struct rlimit: what holds, and what it may be raised to.
  const limits = new BigUint64Array(2);
  check(libc.getrlimit(RLIMIT_NOFILE, limits), "getrlimit");
  return Number(limits[0]);
}
