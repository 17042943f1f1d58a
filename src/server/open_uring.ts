import { SystemError } from "../errors.ts";
import { IoUring } from "../io/io_uring.ts";
import { log } from "../log.ts";

/** Submissions that fit before the kernel is entered. */
const ENTRIES = 1024;

/**
 * Opens the io_uring of a thread, or says once why there is none and returns
 * null: then the thread waits with epoll.
 *
 * `singleThread` is for a thread that enters the kernel synchronously only.
 */
export function openUring(singleThread: boolean): IoUring | null {
  try {
    return IoUring.open(ENTRIES, { singleThread });
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    log.warnOnce(`${error.message}; going on with epoll and plain calls`);
    return null;
  }
}
