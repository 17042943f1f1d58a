/**
 * One check under way.
 *
 * @module
 */
import { CheckSession } from "./check_session.ts";
import { Guest, type GuestOptions } from "./guest.ts";

/** What a check works with, guests among it. */
export class CheckRun extends CheckSession {
  /** A connection with memory and rings, as far as `options` want. */
  async guest(options: GuestOptions = {}): Promise<Guest> {
    this.step = "connecting";
    const frontend = await this.connect();
    const guest = this.own(new Guest(this, frontend, options));
    await guest.setUp();
    return guest;
  }
}
