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

/**
 * A connection to the back-end at `socketPath`.
 *
 * @throws {SystemError} nobody is there, for a while
 */
export async function dial(
  socketPath: string,
  givenUp: () => boolean = () => false,
): Promise<Frontend> {
  const end = performance.now() + ABSENCE_MS;
  for (;;) {
    try {
      return Frontend.connect(socketPath);
    } catch (error) {
      const code = error instanceof SystemError ? error.code ?? "" : "";
      // EAGAIN: the queue of those that want to connect is full.
      const passes = code === "EAGAIN" ||
        (ABSENT.includes(code) && performance.now() < end);
      if (!passes || givenUp()) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

/** Whether somebody listens at `socketPath`. */
export async function listens(socketPath: string): Promise<boolean> {
  try {
    (await dial(socketPath))[Symbol.dispose]();
    return true;
  } catch (error) {
    if (error instanceof SystemError && ABSENT.includes(error.code ?? "")) {
      return false;
    }
    throw error;
  }
}
