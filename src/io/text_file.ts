/**
 * Small files of text, as configurations.
 *
 * @module
 */
import { UsageError } from "../errors.ts";
import {
  EINTR,
  O_CLOEXEC,
  O_CREAT,
  O_RDONLY,
  O_TRUNC,
  O_WRONLY,
} from "../ffi/abi.ts";
import { errno } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { cString } from "../ffi/pointer.ts";
import { fileStatus } from "../ffi/status.ts";
import { Fd } from "./fd.ts";
import { pathError } from "./path_error.ts";

/**
 * The text of the file at `path`, which has `sizeMax` bytes of UTF-8 at most. A
 * pipe or a device is read to its end, which is waited for.
 *
 * @throws {SystemError} it can't be opened or read
 * @throws {UsageError} it is a directory, too large or no text
 */
export function readTextFile(path: string, sizeMax: number): string {
  const number = libc.open(cString(path), O_RDONLY | O_CLOEXEC, 0);
  if (number < 0) throw pathError("open", errno(), path, "read");
  using fd = new Fd(number);
  const { kind } = fileStatus(fd.number);
  if (kind === "directory" || kind === "block device") {
    throw new UsageError(`${path} is a ${kind}, wanted a file: name another`);
  }
  const bytes = new Uint8Array(sizeMax + 1);
  const size = readFully(fd, bytes, path);
  if (size > sizeMax) {
    throw new UsageError(
      `${path} has more than ${sizeMax} bytes, which is the most that is ` +
        "read: name another file",
    );
  }
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true });
    return decoder.decode(bytes.subarray(0, size));
  } catch {
    throw new UsageError(
      `${path} is no text in UTF-8: save it so, or name another file`,
    );
  }
}

/** What a report may be read by: its owner writes, all read. */
const MODE = 0o644;

/**
 * Makes `text` what the file at `path` holds, which is made where it is not
 * there. Throws a SystemError.
 */
export function writeTextFile(path: string, text: string): void {
  const flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
  const number = libc.open(cString(path), flags, MODE);
  if (number < 0) throw pathError("open", errno(), path, "make");
  using fd = new Fd(number);
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) {
    const done = libc.write(fd.number, bytes.subarray(at), bytes.length - at);
    if (done >= 0) at += done;
    else {
      const failure = errno();
      if (failure !== EINTR) throw pathError("write", failure, path, "make");
    }
  }
}

/** Fills `into` up to the end of the file: bytes. */
function readFully(
  fd: Fd,
  into: Uint8Array<ArrayBuffer>,
  path: string,
): number {
  let size = 0;
  while (size < into.length) {
    const done = libc.read(fd.number, into.subarray(size), into.length - size);
    if (done === 0) break;
    if (done > 0) size += done;
    else {
      const failure = errno();
      if (failure !== EINTR) throw pathError("read", failure, path, "read");
    }
  }
  return size;
}
