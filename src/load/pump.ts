// Data plane: the loop that keeps lanes under load.
/**
 * @module
 */
import { Epoll } from "../io/epoll.ts";
import { clearEventFd } from "../io/event_fd.ts";
import { millisecondsSince, nanoseconds, readClock, seconds } from "./clock.ts";
import { LoadError } from "./errors.ts";
import { Budget, type Lane } from "./lane.ts";

/** Looks in vain between two looks at the clock. */
const PATIENCE = 1 << 14;
/** The longest that epoll is asked to wait, milliseconds: lanes have limits too. */
const WAIT_MAX_MS = 100;

/** When a run ends: at so many requests, or after so many milliseconds. */
export interface RunLimit {
  /** Requests that are begun; no limit by default. */
  readonly requests?: number;
  /** Until when requests are begun; no limit by default. */
  readonly milliseconds?: number;
}

/** What a run of a pump says of itself. */
export interface PumpResult {
  /** From the first request to the last answer. */
  readonly milliseconds: number;
  /** Kicks that were sent. */
  readonly kicks: number;
  /** Calls that the device sent. */
  readonly calls: number;
  /** How often the driver slept. */
  readonly waits: number;
}

/** Drives lanes, by looking at them for ever or by calls. */
export class Pump implements Disposable {
  readonly #lanes: readonly Lane[];
  readonly #polled: boolean;
  readonly #stallMs: number;
  readonly #epoll = Epoll.open();
  readonly #budget = new Budget();
  /** The connection, whose end is seen here; -1 for none. */
  readonly #connectionFd: number;
  #isHungUp = false;
  #waits = 0;
  /** When the run began, and when something moved last. */
  #startSeconds = 0;
  #startNanoseconds = 0;
  #movedSeconds = 0;
  #movedNanoseconds = 0;
  #endMs = 0;

  /**
   * `stallMs`: nothing came back for so long means that nothing will, as the
   * end of the connection `connectionFd` does.
   */
  constructor(
    lanes: readonly Lane[],
    polled: boolean,
    stallMs: number,
    connectionFd = -1,
  ) {
    this.#lanes = lanes;
    this.#polled = polled;
    this.#stallMs = stallMs;
    this.#connectionFd = connectionFd;
    for (const { callFd } of lanes) {
      this.#epoll.add(callFd.fd.number, Epoll.IN | Epoll.EDGE);
    }
    if (connectionFd < 0) return;
    this.#epoll.add(connectionFd, Epoll.READ_HANGUP | Epoll.EDGE);
  }

  /** Keeps every lane busy until `limit`, and then takes back what is out. */
  run(limit: RunLimit): PumpResult {
    const { requests = Infinity, milliseconds = Infinity } = limit;
    for (const lane of this.#lanes) {
      lane.kicks = 0;
      lane.callFd.clear();
      lane.ring.disarm();
    }
    this.#waits = 0;
    this.#endMs = milliseconds;
    this.#budget.left[0] = requests;
    this.#budget.isSpent = requests <= 0 || milliseconds <= 0;
    readClock();
    this.#startSeconds = seconds();
    this.#startNanoseconds = nanoseconds();
    this.#moved();
    if (!this.#budget.isSpent) {
      for (const lane of this.#lanes) lane.begin(this.#budget);
    }
    this.#loop();
    readClock();
    let kicks = 0;
    let calls = 0;
    for (const lane of this.#lanes) {
      kicks += lane.kicks;
      calls += clearEventFd(lane.callFd.fd.number);
    }
    const took = this.#sinceStart();
    return { milliseconds: took, kicks, calls, waits: this.#waits };
  }

  /** Closes what it waits with. */
  [Symbol.dispose](): void {
    this.#epoll[Symbol.dispose]();
  }

  #loop(): void {
    const lanes = this.#lanes;
    while (!this.#isDone()) {
      if (this.#polled) this.#poll();
      readClock();
      if (this.#sinceStart() >= this.#endMs) this.#budget.isSpent = true;
      let moved = 0;
      for (let i = 0; i < lanes.length; i++) moved += lanes[i]!.turn();
      if (moved > 0) this.#moved();
      else this.#rest();
    }
  }

  #isDone(): boolean {
    const lanes = this.#lanes;
    for (let i = 0; i < lanes.length; i++) {
      if (!lanes[i]!.isDone) return false;
    }
    return true;
  }

  /** Looks until there is something, but not for ever. */
  #poll(): void {
    const lanes = this.#lanes;
    for (let looks = 0; looks < PATIENCE; looks++) {
      for (let i = 0; i < lanes.length; i++) {
        if (lanes[i]!.ring.look()) return;
      }
    }
  }

  /** Nothing moved: sleeps until a call, unless it polls. */
  #rest(): void {
    // It was seen before the last turn: there is nothing more in the rings.
    if (this.#isHungUp) this.#giveUp("hung up");
    const stalled = millisecondsSince(
      this.#movedSeconds,
      this.#movedNanoseconds,
    );
    if (stalled >= this.#stallMs) this.#giveUp("stalled");
    if (this.#polled) return this.#wait(0);
    const lanes = this.#lanes;
    let isReady = false;
    for (let i = 0; i < lanes.length; i++) {
      if (lanes[i]!.ring.arm()) isReady = true;
    }
    if (!isReady) {
      const untilEnd = this.#endMs - this.#sinceStart();
      const untilStall = this.#stallMs - stalled;
      const left = untilEnd > 0 ? Math.min(untilEnd, untilStall) : untilStall;
      this.#wait(Math.ceil(Math.min(left, WAIT_MAX_MS)));
      this.#waits++;
    }
    for (let i = 0; i < lanes.length; i++) lanes[i]!.ring.disarm();
  }

  /** Waits for a call, or the end of the connection. */
  #wait(milliseconds: number): void {
    const count = this.#epoll.wait(milliseconds);
    for (let i = 0; i < count; i++) {
      if (this.#epoll.dataAt(i) === this.#connectionFd) this.#isHungUp = true;
    }
  }

  #moved(): void {
    this.#movedSeconds = seconds();
    this.#movedNanoseconds = nanoseconds();
  }

  #sinceStart(): number {
    return millisecondsSince(this.#startSeconds, this.#startNanoseconds);
  }

  #giveUp(why: "hung up" | "stalled"): never {
    let out = 0;
    for (const lane of this.#lanes) out += lane.outCount;
    if (why === "hung up") {
      throw new LoadError(
        `The back-end hung up while it had ${out} buffers: it ended or ` +
          "crashed, and its own messages may say why",
      );
    }
    throw new LoadError(
      `The back-end gave nothing back for ${this.#stallMs / 1000} s while it ` +
        `had ${out} buffers: it hangs or is gone, or --stall-limit is too short`,
    );
  }
}
