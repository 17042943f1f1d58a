/**
 * Hostile drivers of a network card, in a real process: after each the card
 * serves on, in the same session and in the next.
 */
import { asSplit } from "../../src/testing/split_driver.ts";
import { assert, assertEquals } from "@std/assert";
import { VIRTIO_NET_F_MRG_RXBUF } from "../../devices/net/protocol.ts";
import {
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
} from "../../src/device/features.ts";
import { Reactor } from "../../src/io/reactor.ts";
import {
  NetConnection,
  type NetConnectionOptions,
} from "../../src/testing/net_connection.ts";
import type { DriverSegment } from "../../src/testing/ring_driver.ts";
import {
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from "../../src/virtqueue/layout.ts";
import { canMakeNetns, Netns } from "../support/netns.ts";
import { requirement } from "../support/require.ts";
import { Ringside } from "../support/ringside.ts";
import { withDeadline } from "../vm/deadline.ts";
import { IpStack } from "./support/ip_stack.ts";

const canMakeTap = requirement("network namespaces with tap", canMakeNetns);
const PATIENCE_MS = 20_000;
const MIB = 1 << 20;
/** Nobody's memory. */
const HOLE = 0x7000_0000;

/** Does something bad; the rings are as they were afterwards. */
type Act = (net: NetConnection) => Promise<void> | void;

/** Sends `segments` as one frame and takes the chain back. */
async function sendChain(
  { driver, connection }: NetConnection,
  segments: readonly DriverSegment[],
  spoil: (head: number) => void = () => {},
): Promise<void> {
  const ring = driver.transmitRing;
  const head = ring.add(segments);
  spoil(head);
  ring.publish();
  connection.rings[1]!.kick();
  const back = async () => {
    for (;;) {
      const used = ring.nextUsed();
      if (used !== null) return used;
      if (!ring.armInterrupt()) await connection.rings[1]!.called();
    }
  };
  assertEquals(await withDeadline(back(), PATIENCE_MS), { head, written: 0 });
}

/** Bytes of the driver's own for the device to read. */
function bytes(net: NetConnection, size: number, fill = 0): DriverSegment {
  const { memory } = net.connection;
  const address = memory.allocate(size);
  memory.write(address, new Uint8Array(size).fill(fill));
  return { address, size, writable: false };
}

/** A header with the fields of virtio 1.3 §5.1.6, and `size` bytes behind it. */
function frameWith(
  net: NetConnection,
  size: number,
  fields: readonly [flags: number, type: number, ...words: number[]],
): DriverSegment {
  const segment = bytes(net, 12 + size, 2);
  const [flags, type, ...words] = fields;
  const [view, at] = net.connection.memory.view(Number(segment.address));
  view.setUint8(at, flags);
  view.setUint8(at + 1, type);
  for (let i = 0; i < 5; i++) {
    view.setUint16(at + 2 + 2 * i, words[i] ?? 0, true);
  }
  return segment;
}

const SENT: readonly (readonly [what: string, act: Act])[] = [
  ["a chain without a whole header", async (net) => {
    for (const size of [1, 9, 10, 11]) await sendChain(net, [bytes(net, size)]);
  }],
  ["a header only", (net) => sendChain(net, [bytes(net, 12)])],
  ["a frame shorter than an Ethernet header", async (net) => {
    for (const size of [1, 13]) await sendChain(net, [bytes(net, 12 + size)]);
  }],
  [
    "a header in descriptors of one byte, and no frame",
    (net) => sendChain(net, Array.from({ length: 12 }, () => bytes(net, 1))),
  ],
  ["a writable chain to send from", async (net) => {
    await sendChain(net, [{ ...bytes(net, 100), writable: true }]);
    const rest = { ...bytes(net, 100), writable: true };
    await sendChain(net, [bytes(net, 12), rest]);
  }],
  ["a frame of a mebibyte", (net) => sendChain(net, [bytes(net, MIB)])],
  [
    "a frame of just more than 64 KiB",
    (net) => sendChain(net, [bytes(net, 12 + 65554)]),
  ],
  [
    "descriptors of no bytes",
    (net) =>
      sendChain(net, [0, 1, 2].map(() => ({ ...bytes(net, 1), size: 0 }))),
  ],
  ["a frame in no memory", (net) =>
    sendChain(net, [bytes(net, 12), {
      address: HOLE,
      size: 60,
      writable: false,
    }])],
  ["a frame whose length wraps", (net) =>
    sendChain(net, [bytes(net, 12), {
      address: 0xffff_ffff_ffff_f000n,
      size: 0xffff_ffff,
      writable: false,
    }])],
  [
    "an endless chain",
    (net) =>
      sendChain(
        net,
        [bytes(net, 12), bytes(net, 60)],
        (head) =>
          asSplit(net.driver.transmitRing).rawDescriptor(head, {
            address: 0x1_0000,
            size: 12,
            flags: VIRTQ_DESC_F_NEXT,
            next: head,
          }),
      ),
  ],
];

/** Header fields that lie, on a card that negotiated everything. */
const LIES: readonly (readonly [
  what: string,
  size: number,
  fields: readonly [number, number, ...number[]],
])[] = [
  ["a checksum behind the frame", 60, [1, 0, 0, 0, 60, 0]],
  ["a checksum field behind the frame", 60, [1, 0, 0, 0, 34, 25]],
  ["a checksum far away", 60, [1, 0, 0, 0, 0xffff, 0xffff]],
  ["a checksum in the Ethernet header", 60, [1, 0, 0, 0, 0, 0]],
  ["a segment size of 0", 4000, [1, 1, 54, 0, 34, 16]],
  ["segments without a checksum", 4000, [0, 1, 54, 1448, 34, 16]],
  ["a header length behind the frame", 60, [1, 1, 0xffff, 1448, 34, 16]],
  ["a header length of 0", 4000, [1, 1, 0, 1448, 34, 16]],
  ["segments of one byte", 65000, [1, 1, 54, 1, 34, 16]],
  ["segments larger than the frame", 60, [1, 1, 54, 0xffff, 34, 16]],
  ["a type that there is not", 4000, [1, 2, 54, 1448, 34, 16]],
  ["marks of congestion on nothing", 60, [1, 0x80, 0, 0, 34, 16]],
  ["fragments of UDP with marks of TCP", 4000, [1, 0x83, 42, 1480, 34, 6]],
  ["all ones", 1500, [0xff, 0xff, ...new Array(5).fill(0xffff)]],
  ["segments of IPv6 in a frame of nothing", 4000, [1, 4, 74, 1440, 54, 16]],
  ["flags that are for receiving", 60, [0xfe, 0]],
  ["buffers that are for receiving", 60, [0, 0, 0, 0, 0, 0, 0xffff]],
];

async function withLoopback(
  plane: string,
  body: (
    open: (options?: NetConnectionOptions) => Promise<NetConnection>,
  ) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "ringside-net-" });
  const socketPath = `${directory}/net.sock`;
  const args = ["net", "--backend", "loopback", "--data-plane", plane];
  try {
    await using ringside = await Ringside.start([
      ...args,
      "--socket-path",
      socketPath,
    ]);
    await body((options) => NetConnection.open(socketPath, options));
    assertEquals((await ringside.stop()).code, 0, ringside.log);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
  await Reactor.main.idle();
}

/** The card sends and receives. */
async function works({ driver }: NetConnection): Promise<void> {
  for (let size = 60; size < 65; size++) {
    const frame = crypto.getRandomValues(new Uint8Array(size));
    await withDeadline(driver.send(frame), PATIENCE_MS);
    const back = await withDeadline(driver.next(), PATIENCE_MS);
    assertEquals(back.frame.subarray(12), frame.subarray(12));
  }
}

for (const plane of ["inline", "worker"]) {
  Deno.test(`[H28] chains to send that are wrong are dropped, on the ${plane} plane`, () =>
    withLoopback(plane, async (open) => {
      for (const [what, act] of SENT) {
        try {
          using net = await open();
          await act(net);
          await works(net);
        } catch (cause) {
          throw new Error(`After ${what}: ${cause}`, { cause });
        }
      }
      using net = await open();
      await works(net);
    }));

  for (const mergeable of [true, false]) {
    const kind = mergeable ? "mergeable" : "single";
    Deno.test(`[H28] buffers to receive into that are wrong (${kind}), on the ${plane} plane`, () =>
      withLoopback(plane, async (open) => {
        const features = mergeable ? -1n : ~VIRTIO_NET_F_MRG_RXBUF;
        using net = await open({
          features: features & ~VIRTIO_F_INDIRECT_DESC & ~VIRTIO_F_RING_PACKED,
          driver: { bufferCount: 0 },
        });
        const { driver, connection } = net;
        const ring = driver.receiveRing;
        const post = (segments: readonly DriverSegment[]) => {
          const head = ring.add(segments);
          ring.publish();
          connection.rings[0]!.kick();
          return head;
        };
        const good = { ...bytes(net, 2048), writable: true };
        const bad: (readonly DriverSegment[])[] = [
          [{ ...good, writable: false }],
          [{ ...good, size: 1 }],
          [{ ...good, size: 11 }],
          [{ ...good, size: 0 }],
          [{ ...good, address: HOLE }],
          [{ ...good, address: 0xffff_ffff_ffff_fff0n }],
          [{ ...good, size: 12 }, { ...good, address: HOLE }],
        ];
        for (const segments of bad) {
          const head = post(segments);
          const next = post([good]);
          await driver.send(new Uint8Array(100).fill(7));
          const used: number[][] = [];
          while (used.length < 2) {
            const one = ring.nextUsed();
            if (one !== null) used.push([one.head, one.written]);
            else if (!ring.armInterrupt()) await connection.rings[0]!.called();
          }
          assertEquals(used, [[head, 0], [next, 112]]);
        }
        // An endless one, and a frame that finds only room for its header.
        const head = post([good]);
        asSplit(ring).rawDescriptor(head, {
          ...good,
          flags: VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE,
          next: head,
        });
        post([good]);
        await driver.send(new Uint8Array(100).fill(7));
      }));
  }

  Deno.test(`[H28] a buffer too small for a frame, on the ${plane} plane`, () =>
    withLoopback(plane, async (open) => {
      using net = await open({
        features: ~VIRTIO_NET_F_MRG_RXBUF,
        driver: { bufferSize: 100 },
      });
      const { driver } = net;
      for (const size of [89, 65000, 1000]) {
        await driver.send(new Uint8Array(size));
      }
      await driver.send(new Uint8Array(88).fill(1));
      const { frame } = await withDeadline(driver.next(), PATIENCE_MS);
      assertEquals(frame.length, 88);
      assert(frame.every((byte) => byte === 1));
    }));

  Deno.test({
    name: `[H28] headers that lie, on a tap, on the ${plane} plane`,
    ignore: !canMakeTap,
    async fn() {
      const directory = await Deno.makeTempDir({ prefix: "ringside-net-" });
      const socketPath = `${directory}/net.sock`;
      try {
        using netns = new Netns();
        netns.addTap("t0", "192.0.2.1/24");
        await using ringside = await Ringside.start([
          ...["net", "--ifname", "t0", "--data-plane", plane],
          ...["--socket-path", socketPath],
        ], netns);
        for (const features of [-1n, 1n << 32n]) {
          using net = await NetConnection.open(socketPath, { features });
          const mac = [0x52, 0x54, 0, 0, 0, 2];
          const stack = new IpStack(net.driver, mac, "192.0.2.2");
          for (const [what, size, fields] of LIES) {
            try {
              await sendChain(net, [frameWith(net, size, fields)]);
              await withDeadline(stack.resolve("192.0.2.1"), PATIENCE_MS);
            } catch (cause) {
              throw new Error(`After ${what}: ${cause}`, { cause });
            }
          }
        }
        assertEquals((await ringside.stop()).code, 0, ringside.log);
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
      await Reactor.main.idle();
    },
  });
}
