/**
 * The network device with all of its parts, without a kernel: loopback and
 * switch, captures, queue pairs, options.
 */
import {
  assert,
  assertEquals,
  assertGreater,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { net } from "../../devices/net/mod.ts";
import {
  VIRTIO_NET_F_MQ,
  VIRTIO_NET_F_MRG_RXBUF,
} from "../../devices/net/protocol.ts";
import { completeOptions } from "../../src/device/mod.ts";
import { UsageError } from "../../src/errors.ts";
import {
  type GivenOptions,
  type NetDriver,
  RING_KINDS,
  type RingKind,
} from "../../src/testing/mod.ts";
import { hasProgram, requirement } from "../support/require.ts";
import { Card, type CardOptions } from "./card.ts";
import { frameOf } from "./net_rig.ts";

const GROUP = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/** A frame from one address to another. */
function ethernet(
  to: readonly number[],
  from: readonly number[],
  size = 60,
): Uint8Array {
  const frame = frameOf(size, to[5]! * 3 + from[5]!);
  frame.set(to);
  frame.set(from, 6);
  return frame;
}

function mac(last: number): number[] {
  return [0x52, 0x54, 0, 0, 0, last];
}

/** How a test opens its cards. */
interface Opener {
  /** A card whose frames come back. */
  loopback(given?: GivenOptions, options?: CardOptions): Promise<Card>;
  /** So many cards on one segment. */
  segment(count: number, given?: GivenOptions): Promise<Card[]>;
}

/** Registers a test for each kind of ring. */
function each(
  name: string,
  fn: (opener: Opener) => Promise<void>,
  ignore = false,
): void {
  for (const kind of RING_KINDS) {
    const opener: Opener = {
      loopback: (given = {}, options = {}) =>
        Card.open({ backend: "loopback", ...given }, { kind, ...options }),
      segment: (count, given = {}) => openSegment(kind, count, given),
    };
    Deno.test({
      name: `${name} (${kind.name})`,
      ignore,
      fn: () => fn(opener),
    });
  }
}

/** Everything that a driver has received. */
function all(driver: NetDriver): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let got; (got = driver.take()) !== null;) frames.push(got.frame);
  driver.post();
  return frames;
}

for (const mergeable of [true, false]) {
  const features = mergeable ? -1n : ~VIRTIO_NET_F_MRG_RXBUF;

  each(
    `loopback: frames come back swapped (mergeable: ${mergeable})`,
    async ({ loopback }) => {
      await using h = await loopback({}, { features });
      h.driver.post();
      for (let size = 14; size < 2037; size += 61) {
        const frame = ethernet(mac(1), mac(2), size);
        await h.driver.send(frame);
        const { frame: back, header } = await h.driver.next();
        assertEquals([...back.subarray(0, 12)], [...mac(2), ...mac(1)]);
        assertEquals(back.subarray(12), frame.subarray(12));
        assertEquals([...header], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        h.driver.post();
      }
    },
  );
}

each(
  "loopback: frames of all kinds at once, in order",
  async ({ loopback }) => {
    await using h = await loopback({}, { queueSize: 256 });
    const layouts = [[1 << 20], [12], [5, 20], [1 << 20]];
    const frames = [60, 5000, 61, 62, 1500, 63, 6000, 64, 65, 66, 9000, 67]
      .map((size, i) => ethernet(mac(1), mac(i), size));
    for (const early of [0, 2, 4]) {
      for (const [i, frame] of frames.entries()) {
        const readable = layouts[i % layouts.length]!;
        h.driver.stage(frame, undefined, { readable });
      }
      // For some of them there is a buffer at once, for others later.
      h.driver.post(early);
      h.driver.publishFrames();
      h.settle();
      h.driver.post(40);
      h.settle();
      const back: Uint8Array[] = [];
      for (let got; (got = h.driver.take()) !== null;) back.push(got.frame);
      assertEquals(
        back.map(({ length }) => length),
        frames.map((f) => f.length),
      );
      assertEquals(
        back.map((frame) => [...frame.subarray(12)]),
        frames.map((frame) => [...frame.subarray(12)]),
      );
      assertEquals(h.driver.takeSent(), frames.length);
    }
  },
);

each("loopback: no buffers, no loss", async ({ loopback }) => {
  await using h = await loopback({}, { queueSize: 1024 });
  const frames = Array.from({ length: 400 }, (_, i) => frameOf(60 + i, i));
  for (const frame of frames) h.driver.stage(frame);
  h.driver.publishFrames();
  h.settle();
  assertEquals(h.driver.take(), null);
  let got = 0;
  while (got < frames.length) {
    h.driver.post(7);
    h.settle();
    for (let back; (back = h.driver.take()) !== null; got++) {
      assertEquals(back.frame.subarray(12), frames[got]!.subarray(12));
    }
  }
  assertEquals(h.driver.takeSent(), 400);
});

each(
  "loopback: a host without room holds the driver up, in order",
  async ({ loopback }) => {
    await using h = await loopback({}, { queueSize: 1024 });
    // A frame of more than two slots of 2048 bytes, 500 of them: a full host.
    const frames = Array.from({ length: 500 }, (_, i) => frameOf(5000, i));
    for (const frame of frames) h.driver.stage(frame);
    h.driver.publishFrames();
    h.settle();
    assertGreater(frames.length, h.driver.takeSent());
    let got = 0;
    while (got < frames.length) {
      h.driver.post();
      h.settle();
      for (let back; (back = h.driver.take()) !== null; got++) {
        assertEquals(back.frame[100], frames[got]![100]);
        assertEquals(back.frame.length, 5000);
      }
    }
    h.driver.takeSent();
    assertEquals(h.driver.sentCount, 500);
  },
);

each(
  "a disabled pair swallows what is sent, and receives nothing",
  async ({ loopback }) => {
    await using h = await loopback();
    h.driver.post();
    h.enablePair(0, false);
    for (let i = 0; i < 3; i++) h.driver.stage(frameOf(60));
    h.driver.publishFrames();
    h.settle();
    assertEquals(h.driver.takeSent(), 3);
    h.enablePair(0, true);
    h.settle();
    assertEquals(all(h.driver), []);
    await h.driver.send(frameOf(61));
    assertEquals((await h.driver.next()).frame.length, 61);
  },
);

each("a pair that was stopped goes on where it was", async ({ loopback }) => {
  await using h = await loopback();
  h.driver.post();
  for (let i = 0; i < 5; i++) {
    await h.driver.send(frameOf(100 + i));
    assertEquals((await h.driver.next()).frame.length, 100 + i);
    h.restartPair(0);
  }
});

each("two pairs keep to themselves", async ({ loopback }) => {
  await using h = await loopback({ "queue-pairs": 2 });
  assert((h.fake.device.features & VIRTIO_NET_F_MQ) !== 0n);
  assertEquals([h.fake.device.queueCount, h.fake.device.ringsTogether], [4, 2]);
  h.enablePair(1, true);
  for (const driver of h.drivers) driver.post();
  await h.drivers[0]!.send(frameOf(70));
  await h.drivers[1]!.send(frameOf(71));
  h.settle();
  assertEquals(all(h.drivers[0]!).map(({ length }) => length), [70]);
  assertEquals(all(h.drivers[1]!).map(({ length }) => length), [71]);
});

each(
  "the configuration tells address, link, pairs and MTU",
  async ({ loopback }) => {
    await using h = await loopback({
      mac: "52-54-00-ab-cd-ef",
      mtu: 9000,
      "queue-pairs": 3,
    });
    const { config } = h.fake.device;
    assertEquals(
      [...config.bytes],
      [0x52, 0x54, 0, 0xab, 0xcd, 0xef, 1, 0, 3, 0, 0x28, 0x23],
    );
    await h.fake.device.setMtu!(1400);
    assertEquals(config.view.getUint16(10, true), 1400);
  },
);

Deno.test("options that make no sense are refused", async () => {
  const cases: [given: GivenOptions, words: string][] = [
    [{}, "There is no interface to serve"],
    [{ ifname: "a", "tap-fd": "3" }, "leave one of them out"],
    [{ "tap-fd": "x" }, '--tap-fd is "x"'],
    [{ "tap-fd": "3,4" }, "has 2 descriptors"],
    [{ "tap-fd": "0" }, "is no TAP queue"],
    [{ ifname: "sixteen-letters-" }, "wanted 1 to 15"],
    [{ backend: "switch", ifname: "a" }, "are for --backend tap"],
    [{ backend: "loopback", mac: "52:54" }, "six bytes"],
    [{ backend: "loopback", mac: "01:00:00:00:00:00" }, "no address of one"],
    [{ backend: "loopback", pcap: "/dev/null" }, "wanted a regular file"],
  ];
  for (const [given, words] of cases) {
    const error = await assertRejects(
      () => net.open(completeOptions(net.options, given)),
      Error,
    );
    assertStringIncludes(error.message, words);
    assert(error instanceof UsageError, error.message);
  }
});

async function openSegment(
  kind: RingKind,
  count: number,
  given: GivenOptions,
): Promise<Card[]> {
  const segment = crypto.randomUUID();
  const cards: Card[] = [];
  for (let i = 0; i < count; i++) {
    const all = { backend: "switch", segment, ...given };
    const card = await Card.open(all, { kind });
    card.driver.post();
    cards.push(card);
  }
  // Those who came first have learnt of those who came last.
  await Promise.resolve();
  return cards;
}

async function close(cards: readonly Card[]): Promise<void> {
  for (const card of cards) await card[Symbol.asyncDispose]();
}

function send(card: Card, frame: Uint8Array): void {
  card.driver.stage(frame);
  card.driver.publishFrames();
  card.settle();
  assertEquals(card.driver.takeSent(), 1);
}

/** What each card has received since it was asked last. */
function heard(cards: readonly Card[]): string[] {
  return cards.map((card) => {
    card.settle();
    return all(card.driver).map((frame) => `${frame[5]}<${frame[11]}`).join();
  });
}

each(
  "switch: unknown and group addresses go everywhere, known ones there",
  async ({ segment }) => {
    const cards = await segment(3);
    const [a, b, c] = cards as [Card, Card, Card];
    send(a, ethernet(mac(2), mac(1)));
    assertEquals(heard(cards), ["", "2<1", "2<1"]);
    send(b, ethernet(mac(1), mac(2)));
    assertEquals(heard(cards), ["1<2", "", ""]);
    send(a, ethernet(mac(2), mac(1)));
    assertEquals(heard(cards), ["", "2<1", ""]);
    send(c, ethernet(GROUP, mac(3)));
    assertEquals(heard(cards), ["255<3", "255<3", ""]);
    // To an address of its own port, and from a group: nobody hears it.
    send(a, ethernet(mac(1), mac(1)));
    send(a, ethernet(mac(2), GROUP));
    assertEquals(heard(cards), ["", "", ""]);
    // An address that moves.
    send(c, ethernet(GROUP, mac(2)));
    heard(cards);
    send(a, ethernet(mac(2), mac(1)));
    assertEquals(heard(cards), ["", "", "2<1"]);
    await close(cards);
  },
);

each("switch: frames of all sizes, whole and in order", async ({ segment }) => {
  const cards = await segment(2);
  const [a, b] = cards as [Card, Card];
  const sizes: number[] = [];
  for (let size = 14; size < 70_000; size = Math.ceil(size * 1.3)) {
    if (size <= 65553) sizes.push(size);
  }
  for (const size of sizes) {
    const frame = ethernet(mac(2), mac(1), size);
    send(a, frame);
    b.settle();
    const back = b.driver.take()!.frame;
    assertEquals(back.length, size);
    assert(back.every((byte, i) => byte === frame[i]), `${size} bytes`);
    b.driver.post();
  }
  await close(cards);
});

each(
  "switch: a port that is full loses frames, and holds up nobody",
  async ({ segment }) => {
    const cards = await segment(3);
    const [a, b, c] = cards as [Card, Card, Card];
    send(b, ethernet(GROUP, mac(2)));
    heard(cards);
    for (let i = 0; i < 2000; i++) {
      send(a, ethernet(mac(2), mac(1), 60 + i % 1000));
      if (i % 100 === 0) {
        send(a, ethernet(GROUP, mac(1)));
        c.settle();
        assertEquals(all(c.driver).length, 1);
      }
    }
    b.settle();
    let got = 0;
    for (let more = all(b.driver); more.length > 0; more = all(b.driver)) {
      got += more.length;
      b.settle();
    }
    assertEquals(got, 1024);
    await close(cards);
  },
);

each(
  "switch: who leaves is not sent to, and who comes is heard",
  async ({ segment }) => {
    const cards = await segment(2);
    const [a, b] = cards as [Card, Card];
    send(b, ethernet(GROUP, mac(2)));
    assertEquals(heard([a]), ["255<2"]);
    await b[Symbol.asyncDispose]();
    send(a, ethernet(mac(2), mac(1)));
    assertEquals(heard([a]), [""]);
    await a[Symbol.asyncDispose]();
  },
);

each(
  "switch: a disabled card hears nothing, not even later",
  async ({ segment }) => {
    const cards = await segment(2);
    const [a, b] = cards as [Card, Card];
    send(a, ethernet(GROUP, mac(1)));
    b.enablePair(0, false);
    send(a, ethernet(GROUP, mac(1)));
    b.enablePair(0, true);
    assertEquals(heard(cards), ["", ""]);
    send(a, ethernet(GROUP, mac(1)));
    assertEquals(heard(cards), ["", "255<1"]);
    await close(cards);
  },
);

each(
  "switch: pairs talk to pairs, and to the first where one is off",
  async ({ segment }) => {
    const cards = await segment(2, { "queue-pairs": 2 });
    const [a, b] = cards as [Card, Card];
    a.enablePair(1, true);
    b.drivers[1]!.post();
    const frame = ethernet(GROUP, mac(1));
    a.drivers[1]!.stage(frame);
    a.drivers[1]!.publishFrames();
    a.settle();
    b.settle();
    assertEquals(b.drivers.map((d) => all(d).length), [1, 0]);
    b.enablePair(1, true);
    a.drivers[1]!.stage(frame);
    a.drivers[1]!.publishFrames();
    a.settle();
    b.settle();
    assertEquals(b.drivers.map((d) => all(d).length), [0, 1]);
    await close(cards);
  },
);

each(
  "switch: SEND_RARP tells the others where a guest is now",
  async ({ segment }) => {
    const cards = await segment(3);
    const [a, b, c] = cards as [Card, Card, Card];
    send(b, ethernet(GROUP, mac(9)));
    heard(cards);
    await c.fake.device.announce!(Uint8Array.from(mac(9)));
    a.settle();
    const [frame] = all(a.driver);
    assertEquals([...frame!.subarray(0, 14)], [
      ...GROUP,
      ...mac(9),
      0x80,
      0x35,
    ]);
    assertEquals(frame!.length, 60);
    heard(cards);
    send(a, ethernet(mac(9), mac(1)));
    assertEquals(heard(cards), ["", "", "9<1"]);
    await close(cards);
  },
);

const hasTshark = requirement("tshark", () => hasProgram("tshark"));

/** What tshark says of each frame: length, captured, direction, destination. */
async function dissect(path: string): Promise<string[]> {
  const fields = [
    "frame.len",
    "frame.cap_len",
    "frame.packet_flags_direction",
    "eth.dst",
  ];
  const { success, stdout, stderr } = await new Deno.Command("tshark", {
    args: ["-r", path, "-T", "fields", ...fields.flatMap((f) => ["-e", f])],
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trim().split("\n")
    .map((line) => line.split("\t").join(" "));
}

each(
  "a capture has every frame, in both directions, cut where asked for",
  async ({ loopback }) => {
    const directory = await Deno.makeTempDir();
    const pcap = `${directory}/net.pcapng`;
    try {
      {
        await using h = await loopback({ pcap, "pcap-snaplen": 100 });
        h.driver.post();
        for (const size of [60, 61, 62, 63, 1514, 5000]) {
          await h.driver.send(ethernet(mac(1), mac(2), size));
          await h.driver.next();
          h.driver.post();
        }
        // No header: dropped, and noted as such.
        h.driver.stage(new Uint8Array(0), new Uint8Array(5));
        h.driver.publishFrames();
        h.settle();
      }
      const wanted = [60, 61, 62, 63, 1514, 5000].flatMap((size) => {
        const cut = Math.min(size, 100);
        return [
          `${size} ${cut} 0x00000002 52:54:00:00:00:01`,
          `${size} ${cut} 0x00000001 52:54:00:00:00:02`,
        ];
      });
      assertEquals(await dissect(pcap), wanted);
      const bytes = Deno.readFileSync(pcap);
      const view = new DataView(bytes.buffer);
      // The last block ends with the drops, the end of options, the length.
      const end = bytes.length;
      assertEquals(
        view.getUint32(end - view.getUint32(end - 4, true), true),
        5,
      );
      assertEquals(view.getBigUint64(end - 16, true), 1n);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
  !hasTshark,
);
