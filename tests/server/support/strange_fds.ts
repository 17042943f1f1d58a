/**
 * Descriptors that a front-end should not send.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import {
  EAGAIN,
  F_GETFL,
  F_SETFL,
  O_CLOEXEC,
  O_NONBLOCK,
} from "../../../src/ffi/abi.ts";
import { check, errno } from "../../../src/ffi/errno.ts";
import { libc } from "../../../src/ffi/libc.ts";
import { cString } from "../../../src/ffi/pointer.ts";
import { Fd } from "../../../src/io/fd.ts";

/** Opens `path` with `flags`. */
export function openFd(path: string, flags: number): Fd {
  return new Fd(check(libc.open(cString(path), flags | O_CLOEXEC, 0), "open"));
}

/** A pipe, both of whose ends block. */
export function openPipe(): [reader: Fd, writer: Fd] {
  const fds = new Int32Array(2);
  check(libc.pipe2(fds, O_CLOEXEC), "pipe2");
  return [new Fd(fds[0]!), new Fd(fds[1]!)];
}

/** Writes to `fd` until it takes no more; it blocks then, as before. */
export function fill(fd: Fd): void {
  const flags = check(libc.fcntl(fd.number, F_GETFL, 0), "fcntl");
  libc.fcntl(fd.number, F_SETFL, flags | O_NONBLOCK);
  const bytes = new Uint8Array(4096);
  for (const size of [4096, 1]) {
    while (libc.write(fd.number, bytes, size) > 0);
    assertEquals(errno(), EAGAIN);
  }
  libc.fcntl(fd.number, F_SETFL, flags & ~O_NONBLOCK);
}
