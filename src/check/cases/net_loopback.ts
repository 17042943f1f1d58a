/**
 * Checks of a network card that sends back what it is sent: its addresses may
 * be swapped, the rest is the same.
 *
 * @module
 */
import { VIRTIO_F_INDIRECT_DESC } from "../../device/features.ts";
import { NET_HEADER_SIZE } from "../../testing/net_driver.ts";
import type { DriverSegment } from "../../testing/ring_driver.ts";
import type { Check } from "../check.ts";
import { expect, expectBytes, expectEqual } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import type { Guest, GuestOptions } from "../guest.ts";
import type { GuestRing } from "../guest_ring.ts";
import { cut, place, UNTOUCHED, untouched } from "../layout.ts";
import { testFrame } from "../workload_net.ts";
import { NET_F } from "./net.ts";

const RECEIVING = "virtio 1.3 §5.1.6.4";
/** Where a frame has what no loopback changes. */
const BEHIND_ADDRESSES = 12;

/** How a {@linkcode Mirror} receives. */
interface MirrorOptions {
  /** Buffers that are posted; 32 by default. */
  readonly count?: number;
  /** Sizes of the descriptors of each; one of 2048 by default. */
  readonly layout?: readonly number[];
  /** In indirect tables, and the frames that are sent too. */
  readonly indirect?: boolean;
}

/** A frame that came back. */
interface Echo {
  readonly header: Uint8Array;
  readonly frame: Uint8Array;
  readonly bufferCount: number;
}

/** A card that sends back. */
class Mirror {
  readonly guest: Guest;
  readonly #receive: GuestRing;
  readonly #transmit: GuestRing;
  readonly #options: MirrorOptions;
  /** By head: where the buffers are. */
  readonly #posted = new Map<number, readonly DriverSegment[]>();

  private constructor(guest: Guest, pair: number, options: MirrorOptions) {
    this.guest = guest;
    this.#receive = guest.rings[2 * pair]!;
    this.#transmit = guest.rings[2 * pair + 1]!;
    this.#options = options;
    this.post(options.count ?? 32);
  }

  static async open(
    run: CheckRun,
    options: MirrorOptions = {},
    guest: GuestOptions = {},
    pair = 0,
  ): Promise<Mirror> {
    if (!run.target.loopsBack) {
      run.skip("the card sends nothing back: --loopback says that it does");
    }
    const opened = await run.guest({ ...guest, receive: false });
    return new Mirror(opened, pair, options);
  }

  /** Posts `count` buffers. */
  post(count: number): void {
    const { layout = [2048], indirect = false } = this.#options;
    const size = layout.reduce((sum, one) => sum + one, 0);
    for (let i = 0; i < count; i++) {
      const at = place(this.guest.memory, untouched(size));
      const segments = cut(at, layout, true);
      const head = this.#receive.driver.add(segments, { indirect });
      this.#posted.set(head, segments);
    }
    this.#receive.publish();
  }

  /** Stages a frame and shows it. */
  send(frame: Uint8Array): void {
    const bytes = new Uint8Array(NET_HEADER_SIZE + frame.length);
    bytes.set(frame, NET_HEADER_SIZE);
    const at = place(this.guest.memory, bytes);
    const pieces = cut(at, [NET_HEADER_SIZE, frame.length], false);
    const { indirect = false } = this.#options;
    this.#transmit.add(pieces, { indirect });
    this.#transmit.publish();
  }

  /** The next frame that came back, or null. */
  take(): Echo | null {
    const first = this.#buffer();
    if (first === null) return null;
    const { length } = first;
    expect(
      length >= NET_HEADER_SIZE,
      `A buffer came back with ${length} bytes`,
    );
    const bufferCount = first[10]! | first[11]! << 8;
    const parts = [...first.subarray(NET_HEADER_SIZE)];
    for (let i = 1; i < bufferCount; i++) {
      // §5.1.6.4: all of them are there at once.
      const part = this.#buffer();
      expect(part !== null, `Buffer ${i} of ${bufferCount} is missing`);
      parts.push(...part);
    }
    const header = first.subarray(0, NET_HEADER_SIZE);
    return { header, frame: Uint8Array.from(parts), bufferCount };
  }

  /** Sends a frame of each size at once; each must come back, in order. */
  async echoes(sizes: readonly number[], perFrame = 1): Promise<void> {
    const frames = sizes.map((size, i) => testFrame(i * 31 + size, size));
    for (const frame of frames) this.send(frame);
    for (const frame of frames) await this.#returns(frame, perFrame);
    await this.#transmit.finishAll();
  }

  async #returns(frame: Uint8Array, perFrame: number): Promise<void> {
    let echo = this.take();
    await this.guest.run.until(
      () => (echo ??= this.take()) !== null,
      `A frame of ${frame.length} bytes`,
    );
    const { header, frame: back, bufferCount } = echo!;
    expectBytes(
      back.subarray(BEHIND_ADDRESSES),
      frame.subarray(BEHIND_ADDRESSES),
      "what came back, behind its addresses,",
    );
    expect(
      header.subarray(0, 10).every((byte) => byte === 0),
      () => `The header says ${header.subarray(0, 10)}, wanted no offload`,
    );
    const wanted = Math.ceil((NET_HEADER_SIZE + frame.length) / perFrame);
    if (perFrame > 1) expectEqual(bufferCount, wanted, "num_buffers");
    else expectEqual(bufferCount, 1, "num_buffers");
  }

  /** The bytes of the next buffer that was given back, or null. */
  #buffer(): Uint8Array | null {
    const used = this.#receive.driver.nextUsed();
    if (used === null) return null;
    const segments = this.#posted.get(used.head);
    expect(segments !== undefined, `Head ${used.head} was not posted`);
    this.#posted.delete(used.head);
    const size = segments.reduce((sum, segment) => sum + segment.size, 0);
    const bytes = this.guest.memory.read(Number(segments[0]!.address), size);
    const behind = bytes.subarray(used.written);
    expect(
      used.written <= size && behind.every((byte) => byte === UNTOUCHED),
      `More was written than the ${used.written} bytes that were told`,
    );
    this.post(1);
    return bytes.subarray(0, used.written);
  }
}

function loopbackCheck(
  id: string,
  title: string,
  run: (run: CheckRun) => Promise<void>,
  more: Partial<Check> = {},
): Check {
  const devices = ["net"] as const;
  return {
    id,
    title,
    section: RECEIVING,
    level: "MUST",
    devices,
    ...more,
    run,
  };
}

/** Sizes of frames, smallest to largest without offloads. */
const SIZES = [60, 61, 100, 512, 1000, 1513, 1514];

export const NET_LOOPBACK_CHECKS: readonly Check[] = [
  loopbackCheck(
    "net-loopback/frames",
    "frames of 60 to 1514 bytes come back as they were sent",
    async (run) => (await Mirror.open(run)).echoes(SIZES),
  ),
  loopbackCheck(
    "net-loopback/unmerged",
    "without MRG_RXBUF num_buffers is 1",
    async (run) => {
      const options = { without: NET_F.MRG_RXBUF };
      await (await Mirror.open(run, {}, options)).echoes(SIZES);
    },
  ),
  loopbackCheck(
    "net-loopback/merged",
    "with MRG_RXBUF a frame is spread over as many buffers as it needs",
    async (run) => {
      run.needs(NET_F.MRG_RXBUF, "MRG_RXBUF");
      const mirror = await Mirror.open(run, { layout: [256] });
      await mirror.echoes([60, 243, 244, 245, 500, 501, 1000, 1514], 256);
    },
  ),
  loopbackCheck(
    "net-loopback/many",
    "500 frames come back in their order, round and round",
    async (run) => {
      const mirror = await Mirror.open(run);
      for (let round = 0; round < 50; round++) {
        await mirror.echoes(Array.from({ length: 10 }, (_, i) => 60 + i * 100));
      }
    },
  ),
  loopbackCheck(
    "net-loopback/pieces",
    "receive buffers of several descriptors, the header among them",
    async (run) => {
      const layout = [5, 7, 1, 20, 2000];
      const mirror = await Mirror.open(run, { layout, count: 8 });
      await mirror.echoes(SIZES);
    },
    { section: "virtio 1.3 §2.7.4.1" },
  ),
  loopbackCheck(
    "net-loopback/indirect",
    "receive buffers and frames in indirect tables",
    async (run) => {
      run.needs(VIRTIO_F_INDIRECT_DESC, "INDIRECT_DESC");
      const options = { indirect: true, layout: [12, 2000] };
      await (await Mirror.open(run, options)).echoes(SIZES);
    },
    { section: "virtio 1.3 §2.7.5.3.2" },
  ),
  loopbackCheck(
    "net-loopback/starved",
    "without receive buffers frames wait or are dropped, and then go on",
    async (run) => {
      const mirror = await Mirror.open(run, { count: 0 });
      for (let i = 0; i < 20; i++) mirror.send(testFrame(i, 100));
      await run.quiet();
      mirror.post(32);
      // What comes now may be old; the last one is ours.
      const last = testFrame(99, 777);
      mirror.send(last);
      await run.until(() => {
        for (let echo; (echo = mirror.take()) !== null;) {
          if (echo.frame.length === last.length) return true;
        }
        return false;
      }, "A frame after there were buffers again");
    },
  ),
  loopbackCheck(
    "net-loopback/last-pair",
    "a frame that is sent over a later pair comes back",
    async (run) => {
      const { facts, options } = run.target;
      const rings = Math.min(facts.queueCount, options.queueCount ?? 4) & ~1;
      if (rings < 4) run.skip("there is one pair");
      const pair = rings / 2 - 1;
      const mirror = await Mirror.open(run, {}, { ringCount: rings }, pair);
      await mirror.echoes(SIZES);
    },
    { level: "MAY" },
  ),
];
