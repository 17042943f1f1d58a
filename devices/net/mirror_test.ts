import { assertEquals } from "@std/assert";
import {
  FakeDriver,
  NetDriver,
  RING_KINDS,
  type RingKind,
} from "../../src/testing/mod.ts";
import { frameOf, HEADER } from "../../tests/devices/net_rig.ts";
import { Counters, RX_BYTES, RX_FRAMES, TX_BYTES } from "./counters.ts";
import { Mirror } from "./mirror.ts";

/** The rings of a pair with nothing but the short way between them. */
class Short implements Disposable {
  readonly counters = new Counters(1).pair(0);
  readonly fake: FakeDriver;
  readonly driver: NetDriver;
  readonly #mirror = new Mirror(this.counters);

  constructor(kind: RingKind, bufferSize: number) {
    this.fake = FakeDriver.over(() => ({ drain() {} }), {
      kind,
      queueCount: 2,
      queueSize: 64,
    });
    const [receive, transmit] = this.fake.rings;
    this.#mirror.receiveQueue = receive!.queue;
    const { memory } = this.fake;
    this.driver = new NetDriver(memory, receive!, transmit!, { bufferSize });
  }

  /** Sends one frame, in one descriptor unless `readable`. */
  stage(frame: Uint8Array, header?: Uint8Array, readable = [1 << 20]): void {
    this.driver.stage(frame, header, { readable });
  }

  /** Brings back what was staged: whether all of it. */
  turn(): boolean {
    this.driver.publishFrames();
    const [receive, transmit] = this.fake.rings;
    const isDone = this.#mirror.drain(transmit!.queue);
    for (const ring of [receive!, transmit!]) ring.flush();
    return isDone;
  }

  /** The frames that came back. */
  frames(): Uint8Array[] {
    const all: Uint8Array[] = [];
    for (let got; (got = this.driver.take()) !== null;) {
      assertEquals([...got.header], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
      all.push(got.frame);
    }
    return all;
  }

  [Symbol.dispose](): void {
    this.fake[Symbol.dispose]();
  }
}

/** `frame` as it comes back. */
function swapped(frame: Uint8Array): Uint8Array {
  const back = frame.slice();
  back.set(frame.subarray(0, 6), 6);
  back.set(frame.subarray(6, 12));
  return back;
}

function eachKind(
  name: string,
  fn: (open: (bufferSize?: number) => Short) => void,
): void {
  for (const kind of RING_KINDS) {
    Deno.test(
      `${name} (${kind.name})`,
      () => fn((bufferSize = 2048) => new Short(kind, bufferSize)),
    );
  }
}

eachKind("short frames of any length go straight back", (open) => {
  using rig = open();
  const header = new Uint8Array(HEADER);
  for (let size = 14; size < 140; size++) {
    rig.driver.post();
    rig.stage(frameOf(size), header);
    assertEquals(rig.turn(), true);
    assertEquals(rig.frames(), [swapped(frameOf(size))]);
    assertEquals(rig.driver.takeSent(), 1);
  }
  assertEquals(rig.counters[RX_FRAMES], 126);
  assertEquals(rig.counters[RX_BYTES], rig.counters[TX_BYTES]);
});

eachKind("fields of a header that mean nothing do not come back", (open) => {
  using rig = open();
  rig.driver.post();
  rig.stage(frameOf(60), Uint8Array.of(6, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9));
  assertEquals(rig.turn(), true);
  assertEquals(rig.frames(), [swapped(frameOf(60))]);
});

eachKind("what is not short and plain is left, and what follows", (open) => {
  const header = new Uint8Array(HEADER);
  const checksum = Uint8Array.of(1, ...header.subarray(1));
  const segments = Uint8Array.of(0, 1, ...header.subarray(2));
  const cases: [frame: Uint8Array, header: Uint8Array, readable?: number[]][] =
    [
      [frameOf(60), checksum],
      [frameOf(60), segments],
      [frameOf(60), header, [HEADER]],
      [frameOf(13), header],
      [new Uint8Array(0), header.subarray(0, 1)],
      [frameOf(4085), header],
    ];
  for (const [frame, before, readable] of cases) {
    using rig = open(8192);
    rig.driver.post();
    rig.stage(frameOf(61), header);
    rig.stage(frame, before, readable);
    rig.stage(frameOf(62), header);
    assertEquals(rig.turn(), false);
    assertEquals(rig.frames(), [swapped(frameOf(61))]);
    const [receive, transmit] = rig.fake.rings;
    assertEquals([receive!.queue.inFlight, transmit!.queue.inFlight], [0, 0]);
    assertEquals(transmit!.queue.pop(), true);
    assertEquals(
      transmit!.queue.chain.reader.size,
      before.length + frame.length,
    );
    transmit!.queue.undoPop();
  }
});

eachKind("no buffer, or one too small: the frame stays", (open) => {
  using rig = open(HEADER + 60);
  rig.stage(frameOf(60));
  assertEquals(rig.turn(), false);
  rig.driver.post(2);
  rig.stage(frameOf(61));
  assertEquals(rig.turn(), false);
  assertEquals(rig.frames(), [swapped(frameOf(60))]);
  const [receive, transmit] = rig.fake.rings;
  assertEquals([receive!.queue.inFlight, transmit!.queue.inFlight], [0, 0]);
  assertEquals(receive!.queue.hasAvailable(), true);
});
