/**
 * Requests of one ring, sent a burst at a time, each with what is to become of
 * it.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type {
  DriverSegment,
  Prng,
  RingDriver,
} from "../../../src/testing/mod.ts";
import type { Tally } from "../target.ts";
import { Arena } from "./arena.ts";

/** What becomes of a request: the bytes told, and what is in its rooms. */
export interface Outcome {
  /** The bytes that the device says it wrote; or whether it may say so. */
  readonly written: number | ((written: number) => boolean);
  /** What is in the writable bytes then; null where that is looked at here. */
  readonly rooms: Uint8Array | null;
}

/** A request that is out. */
interface Waiting {
  readonly segments: readonly DriverSegment[];
  readonly outcome: Outcome;
  readonly check: ((rooms: Uint8Array, written: number) => void) | undefined;
}

/** Where no memory is. */
const NOWHERE = 2n ** 61n;

/** Sends requests over `ring`, and compares. */
export class Bursts {
  readonly #ring: RingDriver;
  readonly #arena: Arena;
  readonly #indirect: boolean;
  readonly #tally: Tally;
  readonly #waiting = new Map<number, Waiting>();

  /** Over `ring`, with buffers of `arena`. */
  constructor(
    ring: RingDriver,
    arena: Arena,
    indirect: boolean,
    tally: Tally,
  ) {
    this.#ring = ring;
    this.#arena = arena;
    this.#indirect = indirect;
    this.#tally = tally;
  }

  /** Requests that are out. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** How many descriptors a request may have now; 0: none. */
  pieces(prng: Prng): number {
    const free = this.#ring.freeCount;
    if (free === 0) return 0;
    // A table has room for many.
    if (this.#indirect) return prng.oneIn(10) ? 300 : 12;
    return Math.min(free, 12);
  }

  /** Stages a request of `segments`; false where the ring has no room. */
  stage(
    segments: readonly DriverSegment[],
    outcome: Outcome,
    prng: Prng,
    check?: Waiting["check"],
  ): boolean {
    const free = this.#ring.freeCount;
    const inTable = this.#indirect &&
      (segments.length > free || prng.oneIn(2));
    if (free === 0 || (!inTable && segments.length > free)) return false;
    const head = this.#ring.add(segments, { indirect: inTable });
    this.#tally.add("requests");
    this.#waiting.set(head, { segments, outcome, check });
    return true;
  }

  /**
   * The same, but one of its descriptors leads to no memory: it goes back
   * unread, and nothing is written.
   */
  stageBroken(segments: readonly DriverSegment[], prng: Prng): boolean {
    const rooms = segments.filter(({ writable }) => writable)
      .reduce((sum, { size }) => sum + size, 0);
    const outcome = { written: 0, rooms: Arena.blank(rooms) };
    const filled = segments.flatMap(({ size }, i) => size > 0 ? [i] : []);
    if (filled.length === 0) return false;
    const inTable = this.#indirect && prng.oneIn(2);
    if ((inTable ? 1 : segments.length) > this.#ring.freeCount) return false;
    const head = this.#ring.add(segments, { indirect: inTable });
    // A table is a descriptor more, the first one.
    const position = prng.pick(filled) + (inTable ? 1 : 0);
    this.#ring.amend(head, position, { address: NOWHERE });
    this.#tally.add("requests");
    this.#tally.add("broken requests");
    this.#waiting.set(head, { segments, outcome, check: undefined });
    return true;
  }

  /** Shows what is staged. */
  publish(): void {
    this.#ring.publish();
  }

  /** Takes back what the device gave back, and compares. */
  collect(): void {
    for (let used; (used = this.#ring.nextUsed()) !== null;) {
      const waiting = this.#waiting.get(used.head);
      if (waiting === undefined) {
        throw new Error(`Head ${used.head} is given back unasked`);
      }
      this.#waiting.delete(used.head);
      const { outcome, segments, check } = waiting;
      const rooms = this.#arena.read(segments);
      const { written } = outcome;
      if (typeof written === "number") {
        assertEquals(used.written, written, "bytes written");
      } else if (!written(used.written)) {
        throw new Error(`${used.written} bytes are said to be written`);
      }
      if (outcome.rooms !== null) same(rooms, outcome.rooms);
      check?.(rooms, used.written);
    }
  }

  /** The same, of everything that is out. */
  collectAll(): void {
    this.collect();
    assertEquals(this.#waiting.size, 0, "requests are never given back");
  }
}

/** As assertEquals, which takes its time over bytes. */
export function same(bytes: Uint8Array, wanted: Uint8Array): void {
  if (bytes.length === wanted.length) {
    let i = 0;
    while (i < bytes.length && bytes[i] === wanted[i]) i++;
    if (i === bytes.length) return;
  }
  assertEquals(bytes, wanted);
}
