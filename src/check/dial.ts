/**
 * Connecting to a back-end that may be between two front-ends.
 *
 * @module
 */
import { SystemError } from "../errors.ts";
import { Frontend } from "../vhost_user/frontend.ts";

/**
 * How long nobody may be at the socket: some back-ends listen anew for each
 * front-end.
 */
const ABSENCE_MS = 1000;

/** Nobody is there. */
const ABSENT = ["ECONNREFUSED", "ENOENT"];
/** The queue of those that want to connect is full. */
const BUSY = "EAGAIN";

/**
 * A connection to the back-end at `socketPath`, for which it waits until
 * `givenUp`, which is told the name of the last error.
 *
 * @throws {SystemError} nobody is there, for a while
 */
export async function dial(
  socketPath: string,
  givenUp: (code: string) => boolean = () => false,
): Promise<Frontend> {
  const end = performance.now() + ABSENCE_MS;
  for (;;) {
    try {
      return Frontend.connect(socketPath);
    } catch (error) {
      const code = error instanceof SystemError ? error.code ?? "" : "";
      const passes = code === BUSY ||
        (ABSENT.includes(code) && performance.now() < end);
      if (!passes || givenUp(code)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

/** Whether somebody listens at `socketPath`, be it one that accepts nobody. */
export async function listens(socketPath: string): Promise<boolean> {
  try {
    const frontend = await dial(socketPath, (code) => code === BUSY);
    frontend[Symbol.dispose]();
    return true;
  } catch (error) {
    const code = error instanceof SystemError ? error.code ?? "" : "";
    if (code === BUSY) return true;
    if (ABSENT.includes(code)) return false;
    throw error;
  }
}
