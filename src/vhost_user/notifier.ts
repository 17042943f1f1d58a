/**
 * Descriptors that say that something happened.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import { fileStatus } from "../ffi/status.ts";
import { type Fd, setNonBlocking } from "../io/fd.ts";

/**
 * Refuses, and closes, what can't notify: only eventfds and pipes can be
 * waited for and never block. They are shared with the front-end, which sees
 * them become non-blocking. `name` is whose descriptor it is.
 */
export function checkNotifier(name: string, fd: Fd): void {
  try {
    const { kind } = fileStatus(fd.number);
    if (kind !== "anonymous file" && kind !== "FIFO") {
      throw new ProtocolError(
        `The ${name} is a ${kind}: an eventfd is wanted`,
      );
    }
    setNonBlocking(fd.number);
  } catch (error) {
    fd.close();
    throw error;
  }
}
