/**
 * Frames of any layout to a card that is a mirror: what is sent comes back,
 * whole, once and in order.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { net } from "../../../devices/net/mod.ts";
import {
  type DriverSegment,
  FakeDriver,
  Prng,
  RING_KINDS,
} from "../../../src/testing/mod.ts";
import type { Step } from "../batch.ts";
import type { Tally, Target, World } from "../target.ts";
import { Arena, END, REGIONS, RING_REGION, START } from "./arena.ts";
import { Bursts, same } from "./bursts.ts";

const HEADER = 12;
const ETHERNET = 14;
const FRAME_MAX = 1600;
/** What one frame or buffer takes in an arena, gaps between pieces included. */
const ROOM = 2 * FRAME_MAX + 8 * 300;
/** Buffers that are posted at once: half of their arena. */
const BUFFERS_MAX = 8;
/** Between what is sent and what is received into. */
const BORDER = START + 0xc000;
const MERGEABLE = 1n << 15n;
const MAC = 1n << 5n;

type Shape = Readonly<Record<string, number>>;

/** A frame that is on its way back. */
interface Expected {
  readonly frame: Uint8Array;
  /** It need not come: no buffer may have been large enough for it. */
  readonly optional: boolean;
}

class Mirror implements World {
  readonly #fake: FakeDriver;
  /** What is sent, and what is received into. */
  readonly #out: Arena;
  readonly #in: Arena;
  readonly #receive: Bursts;
  readonly #transmit: Bursts;
  readonly #tally: Tally;
  readonly #mergeable: boolean;
  /** No buffer is smaller than the largest frame. */
  readonly #roomy: boolean;
  #expected: Expected[] = [];
  /** Of the frame that comes in several buffers: what is there of it. */
  #parts: Uint8Array[] = [];
  #missing = 0;
  /** Frames that were sent. */
  #sent = 0;

  private constructor(fake: FakeDriver, shape: Shape, tally: Tally) {
    this.#fake = fake;
    this.#tally = tally;
    this.#out = new Arena(fake.memory, START, BORDER);
    this.#in = new Arena(fake.memory, BORDER, END);
    const indirect = shape.indirect === 1;
    const [receive, transmit] = fake.rings;
    this.#receive = new Bursts(receive!.ring, this.#in, indirect, tally);
    this.#transmit = new Bursts(transmit!.ring, this.#out, indirect, tally);
    this.#mergeable = shape.mergeable === 1;
    this.#roomy = shape.roomy === 1;
  }

  static async open(shape: Shape, tally: Tally): Promise<Mirror> {
    const options = { "backend": "loopback", "mac": "02:00:00:00:00:01" };
    const fake = await FakeDriver.open(net, options, {
      kind: RING_KINDS[shape.packed!]!,
      indirect: shape.indirect === 1,
      eventIndex: shape.eventIndex === 1,
      queueSize: 4 << shape.sizeBits!,
      memory: REGIONS,
      ringRegion: RING_REGION,
      features: MAC | (shape.mergeable === 1 ? MERGEABLE : 0n),
    });
    return new Mirror(fake, shape, tally);
  }

  step([kind, count, seed]: Step): void {
    const prng = new Prng(seed);
    if (kind === "restart") {
      // What was on its way is lost: the mirror is emptied.
      this.#run();
      this.#lose();
      return this.#fake.rings[prng.below(2)]!.restart();
    }
    for (let i = 0; i < count; i++) {
      if (!this.#act(kind, prng)) this.#run();
    }
    this.#run();
  }

  soundness(): void {
    this.#run();
    for (const { queue } of this.#fake.rings) assertEquals(queue.broken, "");
    // Small buffers can be in the way of all frames for as long as they are there.
    if (!this.#roomy) return;
    // Frames that wait for buffers get them, and then it is a new one's turn.
    for (let left = Infinity; this.#pending < left;) {
      left = this.#pending;
      while (this.#post(FRAME_MAX + HEADER, 1, new Prng(left)));
      this.#run();
    }
    this.#expected = this.#expected.filter(({ optional }) => !optional);
    const frame = new Prng(5).fill(new Uint8Array(64));
    assert(this.#send(new Uint8Array(HEADER), frame, new Prng(1), 1));
    this.#run();
    assertEquals(this.#expected.length, 0, "a frame is lost");
  }

  async close(): Promise<void> {
    await this.#fake[Symbol.asyncDispose]();
  }

  /** Frames that are under way, on either ring or between the two. */
  get #pending(): number {
    return this.#expected.length + this.#transmit.waiting;
  }

  #lose(): void {
    this.#expected = this.#expected.map((each) => ({
      ...each,
      optional: true,
    }));
  }

  #run(): void {
    this.#receive.publish();
    this.#transmit.publish();
    this.#fake.settle();
    this.#transmit.collect();
    this.#receive.collect();
    assertEquals(this.#missing, 0, "a frame is there in part");
    if (this.#transmit.waiting === 0) this.#out.reset();
  }

  #act(kind: string, prng: Prng): boolean {
    switch (kind) {
      case "post": {
        const size = this.#roomy
          ? FRAME_MAX + HEADER + prng.below(99)
          : prng.below(prng.oneIn(3) ? 2000 : 300);
        return this.#post(size, this.#receive.pieces(prng), prng);
      }
      case "broken": {
        const pieces = this.#transmit.pieces(prng);
        if (pieces === 0 || this.#out.room < ROOM) return false;
        const bytes = prng.fill(new Uint8Array(1 + prng.below(99)));
        const segments = this.#out.readable(bytes, prng, pieces);
        return this.#transmit.stageBroken(segments, prng);
      }
      case "odd": {
        // A header that asks for what was not agreed on, or no whole header.
        const header = prng.fill(new Uint8Array(prng.below(HEADER + 1)));
        const frame = prng.fill(new Uint8Array(prng.below(60)));
        const pieces = this.#transmit.pieces(prng);
        return this.#send(header, frame, prng, pieces);
      }
      default: {
        const size = prng.oneIn(3)
          ? prng.below(FRAME_MAX)
          : ETHERNET + prng.below(200);
        const frame = prng.fill(new Uint8Array(size));
        const header = new Uint8Array(HEADER);
        // These mean nothing without a flag that makes them mean something.
        if (prng.oneIn(3)) prng.fill(header.subarray(2));
        if (prng.oneIn(3)) header[0] = prng.next() & 0xfe;
        const pieces = this.#transmit.pieces(prng);
        return this.#send(header, frame, prng, pieces);
      }
    }
  }

  /** Posts a buffer; false where there is no room for it. */
  #post(size: number, pieces: number, prng: Prng): boolean {
    if (pieces === 0 || this.#receive.waiting >= BUFFERS_MAX) return false;
    // Buffers come back in order: those at the start are long free again.
    if (this.#in.room < ROOM) this.#in.reset();
    const segments = this.#in.writable(size, prng, pieces);
    return this.#receive.stage(
      segments,
      { written: (written) => written <= size, rooms: null },
      prng,
      (rooms, written) => this.#take(rooms, written),
    );
  }

  /** Sends a frame; false where there is no room for it. */
  #send(
    header: Uint8Array,
    frame: Uint8Array,
    prng: Prng,
    pieces: number,
  ): boolean {
    if (pieces === 0 || this.#out.room < ROOM) return false;
    const bytes = new Uint8Array(header.length + frame.length);
    bytes.set(header);
    bytes.set(frame, header.length);
    if (isSent(bytes)) {
      // No two are the same, so that each is known again.
      new DataView(bytes.buffer).setUint32(HEADER, ++this.#sent);
    }
    const segments: readonly DriverSegment[] = this.#out
      .readable(bytes, prng, pieces);
    const nothing = { written: 0, rooms: new Uint8Array(0) };
    if (!this.#transmit.stage(segments, nothing, prng)) return false;
    if (!isSent(bytes)) return true;
    const back = bytes.slice(HEADER);
    back.copyWithin(0, 6, 12);
    back.set(bytes.subarray(HEADER, HEADER + 6), 6);
    this.#expected.push({ frame: back, optional: !this.#roomy });
    return true;
  }

  /** A buffer came back with `written` bytes. */
  #take(rooms: Uint8Array, written: number): void {
    // Else there may be a part of a frame that was dropped.
    if (this.#roomy) this.#in.untouchedBehind(rooms, written);
    // Of no use to any frame, or next to one that is.
    if (written === 0) return assert(!this.#roomy, "a buffer is not used");
    let part = rooms.subarray(0, written);
    if (this.#missing === 0) {
      assert(written >= HEADER, "a header is whole");
      this.#missing = part[10]! | part[11]! << 8;
      assert(this.#missing >= 1 && (this.#mergeable || this.#missing === 1));
      part = part.subarray(HEADER);
    }
    this.#parts.push(part.slice());
    if (--this.#missing > 0) return;
    const frame = new Uint8Array(this.#parts.flatMap((bytes) => [...bytes]));
    this.#tally.add("frames received");
    if (this.#parts.length > 1) this.#tally.add("frames in parts");
    this.#parts = [];
    this.#arrived(frame);
  }

  /** The next frame that was sent, but for those that no buffer could hold. */
  #arrived(frame: Uint8Array): void {
    for (;;) {
      const next = this.#expected.shift();
      assert(next !== undefined, "a frame comes that was not sent");
      if (next.frame.join() === frame.join()) return;
      if (!next.optional) same(frame, next.frame);
    }
  }
}

/** Whether the card takes a frame with its header, without any offload. */
function isSent(bytes: Uint8Array): boolean {
  if (bytes.length < HEADER + ETHERNET) return false;
  return (bytes[0]! & 1) === 0 && bytes[1] === 0;
}

/** A mirror on either kind of ring. */
export const netTarget: Target = {
  name: "net",
  unit: "requests",
  deterministic: true,
  spec: {
    shape: {
      packed: 1,
      mergeable: 1,
      roomy: 1,
      eventIndex: 1,
      indirect: 1,
      sizeBits: 5,
    },
    kinds: ["post", "post", "send", "send", "odd", "broken", "restart"],
    steps: 30,
    count: 24,
  },
  open: (shape, tally) => Mirror.open(shape, tally),
};
