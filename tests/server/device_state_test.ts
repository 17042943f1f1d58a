/**
 * Guests that move from back-end to back-end with requests under way: the rings
 * go on where they were, and the device is what it was.
 */
import { assertEquals, assertGreater, assertRejects } from "@std/assert";
import { completeOptions, devices } from "../../mod.ts";
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_VERSION_1,
} from "../../src/device/features.ts";
import { setLogLevel } from "../../src/log.ts";
import {
  BlockDriver,
  Connection,
  NetConnection,
  RING_KINDS,
} from "../../src/testing/mod.ts";
import { NackError } from "../../src/vhost_user/frontend.ts";
import {
  protocolBit,
  VHOST_USER_PROTOCOL_F,
} from "../../src/vhost_user/protocol.ts";
import { withDeadline } from "../vm/deadline.ts";
import { Home, Image, MOVING_FEATURES } from "./support/home.ts";

// Refusals and front-ends that leave are what these tests are about.
setLogLevel("error");

const MIB = 1 << 20;
const MOVES = 6;
const PATIENCE_MS = 30_000;
const WORKERS = 8;
/** Where the payload of a frame is. */
const PAYLOAD = 14;
const VIRTIO_BLK_F_FLUSH = 1n << 9n;
const VIRTIO_BLK_F_CONFIG_WCE = 1n << 11n;
const VIRTIO_NET_F_MRG_RXBUF = 1n << 15n;
const BASIC = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
/** Where the mode of the cache is in the configuration of a disk. */
const WRITEBACK = 32;

function openDisk(path: string, more: Record<string, unknown> = {}) {
  const { block } = devices;
  const options = { "blk-file": path, ...more };
  return block.open(completeOptions(block.options, options));
}

function openCard(more: Record<string, unknown>) {
  const { net } = devices;
  const options = { backend: "loopback", ...more };
  return net.open(completeOptions(net.options, options));
}

/** Writes blocks of its own and reads them back, until `isOver`. */
async function work(
  driver: BlockDriver,
  worker: number,
  isOver: () => boolean,
): Promise<number> {
  let turn = 0;
  for (; !isOver(); turn++) {
    const sector = 8 * (WORKERS * (turn % 16) + worker);
    const bytes = new Uint8Array(4096).fill(turn * WORKERS + worker);
    await driver.write(sector, bytes);
    assertEquals(await driver.read(sector, 4096), bytes);
  }
  return turn;
}

for (const kind of RING_KINDS) {
  Deno.test(`[C57] [C56] [C84] a disk moves in mid-I/O, over and over (${kind.name})`, async () => {
    using disk = new Image(MIB);
    let home = await Home.open(await openDisk(disk.path), "inline");
    using connection = await Connection.open(home.frontend, {
      features: BASIC | kind.features | VIRTIO_BLK_F_FLUSH |
        VIRTIO_BLK_F_CONFIG_WCE,
      protocolFeatures: MOVING_FEATURES,
    });
    const [port] = connection.rings;
    const driver = new BlockDriver(connection.memory, port!.ring, port!);
    let isOver = false;
    const working = Array.from(
      { length: WORKERS },
      (_, worker) => work(driver, worker, () => isOver),
    );
    for (let move = 0; move < MOVES; move++) {
      const writeback = move % 2;
      await connection.frontend.setConfig(WRITEBACK, Uint8Array.of(writeback));
      // Requests go on to be made; they wait in the ring.
      const base = await connection.stop(0);
      const state = await connection.frontend.migration.saveDeviceState();
      const plane = move % 2 === 0 ? "worker" : "inline";
      const next = await Home.open(await openDisk(disk.path), plane);
      await connection.reconnect({ frontend: next.frontend });
      await home[Symbol.asyncDispose]();
      home = next;
      await connection.frontend.migration.loadDeviceState(state);
      const [mode] = await connection.frontend.getConfig(WRITEBACK, 1);
      assertEquals(mode, writeback, "the driver's mode of the cache");
      await connection.start(0, base);
      port!.kick();
      await withDeadline(driver.flush(), PATIENCE_MS);
    }
    isOver = true;
    const turns = await withDeadline(Promise.all(working), PATIENCE_MS);
    for (const count of turns) assertGreater(count, MOVES);
    await home[Symbol.asyncDispose]();
  });
}

for (const kind of RING_KINDS) {
  Deno.test(`[C57] a card moves with its address and its MTU (${kind.name})`, async () => {
    const old = { mac: "52:54:00:00:00:01", mtu: 9000 };
    let home = await Home.open(await openCard(old), "inline");
    using card = await NetConnection.open(home.frontend, {
      features: BASIC | kind.features | VIRTIO_NET_F_MRG_RXBUF,
      protocolFeatures: MOVING_FEATURES,
    });
    const { connection, driver } = card;
    const before = await connection.frontend.getConfig(0, 12);
    for (let move = 0; move < MOVES; move++) {
      for (let i = 0; i < 20; i++) await driver.send(frame(move, i));
      const bases = [await connection.stop(0), await connection.stop(1)];
      const state = await connection.frontend.migration.saveDeviceState();
      const plane = move % 2 === 0 ? "worker" : "inline";
      const other = { mac: "52:54:00:00:00:02", mtu: 1500 };
      const next = await Home.open(await openCard(other), plane);
      await connection.reconnect({ frontend: next.frontend });
      await home[Symbol.asyncDispose]();
      home = next;
      await connection.frontend.migration.loadDeviceState(state);
      assertEquals(await connection.frontend.getConfig(0, 12), before);
      for (const index of [0, 1]) await connection.start(index, bases[index]!);
      for (const ring of connection.rings) ring.kick();
      await driver.send(frame(move, 20));
      // What the old card had taken and not handed back is lost, as on a cable.
      for (let last = false; !last;) {
        const timeoutMs = PATIENCE_MS;
        const { frame: sent } = await driver.next({ timeoutMs });
        assertEquals(sent[PAYLOAD], move);
        last = sent[PAYLOAD + 1] === 20;
      }
    }
    await home[Symbol.asyncDispose]();
  });
}

/** As large as a card with an MTU of 9000 has them. */
function frame(move: number, i: number): Uint8Array {
  const bytes = new Uint8Array(14 + 9000);
  bytes.set([move, i], PAYLOAD);
  return bytes;
}

/** The state of a device that nobody used. */
async function stateOf(device: Promise<Parameters<typeof Home.open>[0]>) {
  await using home = await Home.open(await device, "inline");
  await home.frontend.negotiate({ protocolFeatures: MOVING_FEATURES });
  return await home.frontend.migration.saveDeviceState();
}

Deno.test("[H19] a disk goes on only from a state that it can stand in for", async () => {
  using disk = new Image(MIB);
  using shorter = new Image(MIB / 2);
  const state = await stateOf(openDisk(disk.path));
  const none = new Uint8Array(0);
  const foreign = await stateOf(openCard({}));
  const cut = state.subarray(0, -1);
  const other = state.slice();
  other[10]!++;
  const blocks = await stateOf(openDisk(disk.path, { "block-size": 4096 }));
  const files = [
    [disk.path, {}, [none, foreign, cut, other, blocks]],
    [shorter.path, {}, [state]],
    [disk.path, { "read-only": true }, [state]],
  ] as const;
  for (const [path, options, states] of files) {
    const device = await openDisk(path, options);
    await using home = await Home.open(device, "inline");
    const { frontend } = home;
    await frontend.negotiate({ protocolFeatures: MOVING_FEATURES });
    await frontend.setConfig(WRITEBACK, Uint8Array.of(0));
    const before = await frontend.getConfig(0, 60);
    for (const bad of states) {
      await assertRejects(
        () => frontend.migration.loadDeviceState(bad),
        NackError,
      );
      assertEquals(await frontend.getConfig(0, 60), before);
    }
  }
});

Deno.test("[H19] a card goes on only from a state that it can stand in for", async () => {
  const state = await stateOf(openCard({ "queue-pairs": 2 }));
  const group = state.slice();
  group[32]! |= 1;
  const mtu = state.slice();
  mtu.set([67, 0], 38);
  await using home = await Home.open(await openCard({}), "inline");
  await home.frontend.negotiate({ protocolFeatures: MOVING_FEATURES });
  const before = await home.frontend.getConfig(0, 12);
  for (const bad of [state, group, mtu]) {
    await assertRejects(
      () => home.frontend.migration.loadDeviceState(bad),
      NackError,
    );
    assertEquals(await home.frontend.getConfig(0, 12), before);
  }
});

Deno.test("a disk that is larger where the guest arrives tells it so", async () => {
  using disk = new Image(MIB);
  using longer = new Image(2 * MIB);
  const state = await stateOf(openDisk(disk.path));
  await using home = await Home.open(await openDisk(longer.path), "inline");
  const told = Promise.withResolvers<void>();
  using connection = await Connection.open(home.frontend, {
    protocolFeatures: MOVING_FEATURES,
    handlers: { configChanged: () => told.resolve() },
  });
  const base = await connection.stop(0);
  await connection.frontend.migration.loadDeviceState(state);
  await connection.start(0, base);
  await withDeadline(told.promise, PATIENCE_MS);
});

Deno.test("an entropy device has no state to move", async () => {
  const { rng } = devices;
  const device = await rng.open(completeOptions(rng.options, {}));
  await using home = await Home.open(device, "inline");
  const offered = await home.frontend.getProtocolFeatures();
  const { DEVICE_STATE } = VHOST_USER_PROTOCOL_F;
  assertEquals(offered & protocolBit(DEVICE_STATE), 0n);
});
