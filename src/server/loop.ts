// Data plane: the loop of a thread that may block.
/**
 * @module
 */
import type { DataPlane } from "./data_plane.ts";
import type { Spinner } from "./spinner.ts";

/** Turns between two looks at a mailbox that only a system call can see. */
const POLL_TURNS = 4;

/** Turns the plane until its mailbox is written to; parks while idle. */
export function runUntilMailbox(plane: DataPlane, spinner: Spinner): void {
  const waiter = plane.waiter;
  let turns = 0;
  while (!waiter.mailboxSignalled) {
    if (plane.turn() > 0) {
      spinner.worked();
      if (++turns % POLL_TURNS === 0) waiter.poll();
      continue;
    }
    if (spinner.again()) continue;
    if (!plane.arm()) {
      // With a ring that has no kicks the thread never comes to wait.
      waiter.poll();
      continue;
    }
    spinner.park();
    waiter.wait();
    plane.disarm();
    spinner.unpark();
  }
}
