/**
 * Frames of a driver to an interface `t0`, many at a time, by io_uring; what
 * arrives at `t1`, behind the same bridge, is compared. In a network namespace.
 *
 *     deno run --allow-all tap_sender_run.ts split|packed SEED
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { Mapping } from "../../src/ffi/mapping.ts";
import { IovecList } from "../../src/io/iovec.ts";
import { Tap } from "../../src/io/tap.ts";
import { TapQueue } from "../../src/io/tap_queue.ts";
import { Prng } from "../../src/testing/mod.ts";
import { Card } from "./card.ts";
import { kindNamed } from "./hot_ring.ts";
import { HEADER } from "./net_rig.ts";

const GROUP = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
const SENDER = [2, 0, 0, 0, 0, 1];
/** For experiments: nobody else in the namespace sends it. */
const TYPE = [0x88, 0xb5];
const ETHERNET = 14;
const FRAME_MAX = 1514;
const ROUNDS = 20;
/** Where no memory is. */
const NOWHERE = 2n ** 61n;
/** More than are under way at once. */
const BURST = 150;
/** Longer than the kernel takes to see that an interface has a carrier. */
const PATIENCE_MS = 20_000;

/** The far end of the bridge. */
class Far {
  readonly #tap = Tap.open("t1", 1);
  readonly #queue = new TapQueue(this.#tap.queues[0]!.number);
  readonly #memory = Mapping.anonymous(1 << 17);
  readonly #bytes = new Uint8Array(this.#memory.buffer);
  readonly #list = new IovecList(1);

  constructor() {
    this.#list.set(0, this.#memory.address, this.#bytes.length);
  }

  /** The payload of the next frame of ours; rejects where none comes. */
  async next(): Promise<Uint8Array> {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      const payload = this.take();
      if (payload !== null) return payload;
      if (performance.now() > end) throw new Error("A frame is lost");
      await new Promise((resolve) => setTimeout(resolve));
    }
  }

  /** The same, or null where none is there. */
  take(): Uint8Array | null {
    for (;;) {
      const size = this.#queue.receive(this.#list, 0, 1);
      if (size < 0) return null;
      const frame = this.#bytes.slice(HEADER, size);
      if (frame[12] === TYPE[0] && frame[13] === TYPE[1]) {
        return frame.slice(ETHERNET);
      }
    }
  }
}

function frameOf(payload: Uint8Array): Uint8Array {
  return Uint8Array.from([...GROUP, ...SENDER, ...TYPE, ...payload]);
}

/** Shows what was staged, until the device has taken all of it. */
function sendAll(card: Card): number {
  card.driver.publishFrames();
  card.settle();
  return card.driver.takeSent();
}

/** Sends frames until the first one arrives, and takes all that did. */
async function waitForCarrier(card: Card, far: Far): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (far.take() === null) {
    if (performance.now() > end) throw new Error("The bridge carries nothing");
    card.driver.stage(frameOf(new Uint8Array(46)));
    sendAll(card);
    await new Promise((resolve) => setTimeout(resolve));
  }
  while (far.take() !== null);
}

/** Sizes of descriptors: one, the header by itself, or any. */
function layoutOf(prng: Prng): number[] {
  switch (prng.below(3)) {
    case 0:
      return [1 << 20];
    case 1:
      return [HEADER];
    default:
      return Array.from({ length: prng.below(40) }, () => 1 + prng.below(40));
  }
}

/** Stages a chain that leads to no memory: it comes back unread. */
function stageBroken(card: Card): void {
  const { transmit } = card.driver;
  const { head } = transmit.stage([{ bytes: frameOf(new Uint8Array(60)) }]);
  transmit.ring.amend(head, 0, { address: NOWHERE });
}

/**
 * Stages a burst, of which some headers lie and some chains are broken: the
 * payloads that are to arrive.
 */
function stageBurst(card: Card, prng: Prng): Uint8Array[] {
  const payloads: Uint8Array[] = [];
  for (let i = 0; i < BURST; i++) {
    if (prng.oneIn(12)) {
      stageBroken(card);
      continue;
    }
    const most = prng.oneIn(2) ? 120 : FRAME_MAX - ETHERNET;
    const payload = prng.fill(new Uint8Array(1 + prng.below(most)));
    const header = new Uint8Array(HEADER);
    const lies = prng.oneIn(10);
    // A checksum behind the end of the frame.
    if (lies) header.set([1, 0, 0, 0, 0, 0, 0xff, 0xff]);
    else payloads.push(payload);
    const readable = layoutOf(prng);
    card.driver.stage(frameOf(payload), header, { readable });
  }
  return payloads;
}

/** Both rings are stopped, mostly while frames are under way, and go on. */
function restartBetween(card: Card): void {
  const transmit = card.fake.rings[1]!;
  card.driver.publishFrames();
  card.fake.data.drain(transmit.queue);
  card.restartPair(0);
}

if (import.meta.main) {
  const [kind, seed] = Deno.args;
  const prng = new Prng(Number(seed));
  const far = new Far();
  await using card = await Card.open({ backend: "tap", ifname: "t0" }, {
    kind: kindNamed(kind),
    uring: true,
    queueSize: 8192,
  });
  await waitForCarrier(card, far);
  for (let round = 0; round < ROUNDS; round++) {
    const payloads = stageBurst(card, prng);
    if (prng.oneIn(3)) restartBetween(card);
    assertEquals(sendAll(card), BURST);
    for (const payload of payloads) assertEquals(await far.next(), payload);
  }
  // Refused by the kernel, one by one: all chains come back.
  for (const how of [["set", "t0", "down"], ["del", "t0"]]) {
    await new Deno.Command("ip", { args: ["link", ...how] }).output();
    stageBurst(card, prng);
    assertEquals(sendAll(card), BURST);
    assertEquals(far.take(), null);
  }
}
