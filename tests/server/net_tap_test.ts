/**
 * A card on a TAP interface in a network namespace: our driver on one side, the
 * kernel's network on the other.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  VIRTIO_NET_F_GUEST_CSUM,
  VIRTIO_NET_F_GUEST_TSO4,
  VIRTIO_NET_F_GUEST_TSO6,
  VIRTIO_NET_F_MRG_RXBUF,
} from "../../devices/net/protocol.ts";
import { Reactor } from "../../src/io/reactor.ts";
import {
  NetConnection,
  type NetConnectionOptions,
} from "../../src/testing/net_connection.ts";
import { canMakeNetns, Netns } from "../support/netns.ts";
import { Ringside } from "../support/ringside.ts";
import { hasProgram, requirement } from "../support/require.ts";
import { eventually, withDeadline } from "../vm/deadline.ts";
import { IpStack } from "./support/ip_stack.ts";

const canRun = requirement("network namespaces with tap", canMakeNetns);
const hasPing = requirement("ping", () => hasProgram("ping"));
const hasEthtool = requirement("ethtool", () => hasProgram("ethtool"));

const HOST = "192.0.2.1";
const GUEST = "192.0.2.2";
const MAC = [0x52, 0x54, 0, 0, 0, 2];
const PATIENCE_MS = 30_000;
/** Neither checksums nor segments are left to the other side. */
const PLAIN = VIRTIO_NET_F_MRG_RXBUF;

interface Scene {
  netns: Netns;
  ringside: Ringside;
  socketPath: string;
}

/** Runs `body` with a card on interface `t0` of a new namespace. */
async function withCard(
  args: readonly string[],
  body: (scene: Scene) => Promise<void>,
  tap: readonly string[] = [],
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "ringside-net-" });
  const socketPath = `${directory}/net.sock`;
  try {
    using netns = new Netns();
    netns.addTap("t0", `${HOST}/24`, ...tap);
    await using ringside = await Ringside.start([
      "net",
      "--socket-path",
      socketPath,
      "--ifname",
      "t0",
      ...args,
    ], netns);
    await body({ netns, ringside, socketPath });
    assertEquals((await ringside.stop()).code, 0, ringside.log);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
  await Reactor.main.idle();
}

async function withGuest(
  { socketPath }: Scene,
  body: (stack: IpStack, net: NetConnection) => Promise<void>,
  options: NetConnectionOptions = {},
): Promise<void> {
  using net = await NetConnection.open(socketPath, {
    features: (1n << 32n) | PLAIN,
    ...options,
  });
  await body(new IpStack(net.driver, MAC, GUEST), net);
}

/** The guest asks for echoes of all sizes. */
async function pingsHost(stack: IpStack, sizes: number[]): Promise<void> {
  await withDeadline(stack.resolve(HOST), PATIENCE_MS);
  stack.echoes.length = 0;
  for (const [sequence, size] of sizes.entries()) {
    const payload = crypto.getRandomValues(new Uint8Array(size));
    await stack.ask(HOST, sequence, payload);
    const back = stack.serve(() => stack.echoes.length > sequence);
    await withDeadline(back, PATIENCE_MS);
    assertEquals(stack.echoes[sequence]!.sequence, sequence);
    assertEquals(stack.echoes[sequence]!.payload, payload);
  }
}

/** The host asks for echoes, and one of `stacks` answers. */
async function isPinged(
  { netns }: Scene,
  stacks: IpStack | readonly IpStack[],
  size = 1000,
  count = 3,
): Promise<void> {
  let ended = false;
  // Until so many are answered: an answer may come late on a busy machine.
  const ping = netns.start(
    ...["ping", "-c", String(count), "-w", "30", "-i", "0.01", "-M", "do"],
    ...["-s", String(size), GUEST],
  ).finally(() => ended = true);
  while (!ended) {
    for (const stack of [stacks].flat()) await stack.poll();
    await new Promise((resolve) => setTimeout(resolve));
  }
  const text = await ping;
  const received = Number(/ ([0-9]+) received/.exec(text)?.[1]);
  assert(received >= count, text);
}

for (const plane of ["inline", "worker"]) {
  for (const features of [1n << 32n, (1n << 32n) | PLAIN, -1n]) {
    const kind = features === -1n
      ? "all features"
      : (features & PLAIN) === 0n
      ? "no features"
      : "mergeable";
    Deno.test({
      name: `ping both ways through a tap (${plane}, ${kind})`,
      ignore: !canRun || !hasPing,
      fn: () =>
        withCard(
          ["--data-plane", plane],
          (scene) =>
            withGuest(scene, async (stack) => {
              await pingsHost(stack, [0, 1, 56, 999, 1472]);
              await isPinged(scene, stack);
              await isPinged(scene, stack, 1472);
            }, { features }),
        ),
    });
  }
}

Deno.test({
  name: "packets of 9000 bytes, whatever the MTU was at the start",
  ignore: !canRun || !hasPing,
  fn: () =>
    withCard([], (scene) =>
      withGuest(scene, async (stack) => {
        await isPinged(scene, stack);
        scene.netns.run("ip", "link", "set", "t0", "mtu", "9000");
        await isPinged(scene, stack, 8972);
        await pingsHost(stack, [8972]);
      })),
});

Deno.test({
  name: "the carrier is there while a driver is",
  ignore: !canRun,
  fn: () =>
    withCard([], async (scene) => {
      const { netns, ringside } = scene;
      const link = () => netns.run("ip", "link", "show", "t0");
      assertStringIncludes(link(), "NO-CARRIER");
      for (let i = 1; i <= 2; i++) {
        await withGuest(scene, async (stack) => {
          assert(!link().includes("NO-CARRIER"), link());
          await pingsHost(stack, [100]);
        });
        await ringside.says("the front-end left", PATIENCE_MS, i);
        await eventually(
          () => link().includes("NO-CARRIER"),
          PATIENCE_MS,
          link,
        );
      }
    }),
});

Deno.test({
  name: "the kernel hands over what the driver negotiated, and nothing else",
  ignore: !canRun || !hasEthtool,
  fn: () =>
    withCard([], async (scene) => {
      const { netns, ringside } = scene;
      const offloads = () => {
        const text = netns.run("ethtool", "-k", "t0");
        return ["tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-tcp6"]
          .map((name) => new RegExp(`${name}.*: on`).test(text));
      };
      const cases: [features: bigint, wanted: boolean[]][] = [
        [0n, [false, false, false]],
        [VIRTIO_NET_F_GUEST_CSUM, [true, false, false]],
        [VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4, [
          true,
          true,
          false,
        ]],
        [
          VIRTIO_NET_F_GUEST_CSUM | VIRTIO_NET_F_GUEST_TSO4 |
          VIRTIO_NET_F_GUEST_TSO6,
          [true, true, true],
        ],
      ];
      for (const [i, [bits, wanted]] of cases.entries()) {
        const features = (1n << 32n) | PLAIN | bits;
        await withGuest(scene, () => {
          assertEquals(offloads(), wanted);
          return Promise.resolve();
        }, { features });
        await ringside.says("the front-end left", PATIENCE_MS, i + 1);
      }
    }),
});

Deno.test({
  name: "an interface goes down and up again",
  ignore: !canRun || !hasPing,
  fn: () =>
    withCard([], (scene) =>
      withGuest(scene, async (stack, { driver }) => {
        await pingsHost(stack, [100]);
        scene.netns.run("ip", "link", "set", "t0", "down");
        for (let i = 0; i < 10; i++) await driver.send(new Uint8Array(60));
        scene.netns.run("ip", "link", "set", "t0", "up");
        await pingsHost(stack, [100]);
        await isPinged(scene, stack);
      })),
});

Deno.test({
  name: "an interface is removed underneath, and made again",
  ignore: !canRun || !hasPing,
  fn: () =>
    withCard(
      [],
      (scene) =>
        withGuest(scene, async (stack, { connection, driver }) => {
          const { netns, ringside } = scene;
          const status = async () =>
            (await connection.frontend.getConfig(6, 2))[0];
          await pingsHost(stack, [100]);
          assertEquals(await status(), 1);
          for (let round = 1; round <= 2; round++) {
            netns.run("ip", "link", "del", "t0");
            await driver.send(new Uint8Array(60));
            await ringside.says("was removed", PATIENCE_MS, round);
            await ringside.says("is there again", PATIENCE_MS, round);
            // It makes the interface itself, as it may; without an address.
            netns.run("ip", "address", "add", `${HOST}/24`, "dev", "t0");
            netns.run("ip", "link", "set", "t0", "up");
            await pingsHost(stack, [100, 1400]);
            await isPinged(scene, stack);
            assertEquals(await status(), 1);
          }
        }),
    ),
});

Deno.test({
  name: "two pairs of a multi-queue interface, on a thread each",
  ignore: !canRun || !hasPing,
  fn: () =>
    withCard(
      ["--queue-pairs", "2", "--queue-threads", "2"],
      async (scene) => {
        // A driver that knows one pair gets everything on that.
        await withGuest(scene, async (stack) => {
          await pingsHost(stack, [100]);
          for (let i = 0; i < 5; i++) await isPinged(scene, stack);
        });
        await scene.ringside.says("the front-end left");
        await withGuest(scene, async (_, net) => {
          const stacks = net.drivers.map((driver) =>
            new IpStack(driver, MAC, GUEST)
          );
          // The kernel chooses the queue by the flow.
          await isPinged(scene, stacks, 1000, 20);
          await pingsFromBoth(scene, net);
        }, { pairCount: 2 });
      },
      ["multi_queue"],
    ),
});

/** Frames of both pairs reach the interface. */
async function pingsFromBoth(
  { netns }: Scene,
  { drivers }: NetConnection,
): Promise<void> {
  const received = () => {
    const text = netns.run("ip", "-s", "-j", "link", "show", "t0");
    return JSON.parse(text)[0].stats64.rx.packets as number;
  };
  const before = received();
  const frame = new Uint8Array(60).fill(0xff, 0, 6);
  for (let i = 0; i < 50; i++) {
    for (const driver of drivers) await driver.send(frame);
  }
  assertEquals(received() - before, 100);
}

Deno.test({
  name: "front-ends that vanish under load leave a card for the next",
  ignore: !canRun || !hasPing,
  fn: () =>
    withCard([], async (scene) => {
      for (let round = 1; round <= 5; round++) {
        await withGuest(scene, async (stack, { driver }) => {
          await pingsHost(stack, [100]);
          for (let i = 0; i < 60; i++) driver.stage(new Uint8Array(1000));
          driver.publishFrames();
        });
        await scene.ringside.says("the front-end left", PATIENCE_MS, round);
      }
      await withGuest(scene, (stack) => isPinged(scene, stack));
    }),
});

Deno.test({
  name: "a tap that can't be had says what to do",
  ignore: !canRun,
  async fn() {
    using netns = new Netns();
    netns.addTap("t0", `${HOST}/24`);
    const start = (...args: string[]) =>
      Ringside.start(
        ["net", "--socket-path", "/tmp/never.sock", ...args],
        netns,
      ).then(() => "", (error) => String(error));
    assertStringIncludes(
      await start("--ifname", "t0", "--queue-pairs", "2"),
      "it is of another kind, make it anew: ip tuntap add dev t0 mode tap",
    );
    assertStringIncludes(
      await start("--ifname", "lo"),
      "it is of another kind",
    );
  },
});
