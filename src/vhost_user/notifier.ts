/**
 * Descriptors that say that something happened.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import { fileStatus } from "../ffi/status.ts";
import { type Fd, setNonBlocking } from "../io/fd.ts";
import { isListening } from "../io/unix_socket.ts";

/**
 * Refuses, and closes, what can't notify: only eventfds and pipes can be
 * waited for and never block. They are shared with the front-end, which sees
 * them become non-blocking. `name` is whose descriptor it is.
 *
 * What is only signalled, and not waited for, may be a connected Unix socket
 * (`orSocket`): that is what User Mode Linux calls a pipe.
 */
export function checkNotifier(name: string, fd: Fd, orSocket = false): void {
  try {
    const { kind } = fileStatus(fd.number);
    const isSocket = orSocket && kind === "socket" && isConnected(fd);
    if (kind !== "anonymous file" && kind !== "FIFO" && !isSocket) {
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

/** Whether it is a connected Unix stream socket. */
function isConnected(fd: Fd): boolean {
  try {
    return !isListening(fd);
  } catch {
    return false;
  }
}
