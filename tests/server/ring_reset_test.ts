/**
 * One ring is reset (virtio 1.3 §2.6.1) while the others work, by the requests
 * that there are for it: GET_VRING_BASE, and the set-up of a blank one.
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
  ConnectionRing,
  openRing,
  RING_KINDS,
} from "../../src/testing/mod.ts";
import { NackError } from "../../src/vhost_user/frontend.ts";
import { withDeadline } from "../vm/deadline.ts";
import { Home, Image, MOVING_FEATURES } from "./support/home.ts";

setLogLevel("error");

const MIB = 1 << 20;
const BLOCK = 4096;
const PATIENCE_MS = 30_000;
const FLUSH = 1n << 9n;
const RING_RESET = 1n << 40n;
const BASIC = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC |
  VIRTIO_F_EVENT_IDX | FLUSH;
/** What ring 1 has entries, one time after the other. */
const SIZES = [128, 16, 256, 16, 64, 1024];

/** Writes blocks from `sector` on, and reads them back. */
async function exercise(
  driver: BlockDriver,
  sector: number,
  value: number,
): Promise<void> {
  for (let i = 0; i < 4; i++) {
    const bytes = new Uint8Array(BLOCK).fill(value + i);
    await driver.write(sector + 8 * i, bytes);
    assertEquals(await driver.read(sector + 8 * i, BLOCK), bytes);
  }
}

/** Starts `port` as ring `port.index`, from its very beginning. */
async function start(connection: Connection, port: ConnectionRing) {
  const { ring, kickFd, callFd, errFd } = port;
  const { guestAddress, userAddress } = connection.memory.regions[0]!;
  const place = (address: number) => address - guestAddress + userAddress;
  await connection.frontend.setVring(port.index, {
    size: ring.size,
    base: ring.config().nextAvail,
    descriptor: place(ring.descriptorArea),
    available: place(ring.driverArea),
    used: place(ring.deviceArea),
    kick: kickFd.fd,
    call: callFd.fd,
    err: errFd.fd,
  });
}

for (const [i, { name, features }] of RING_KINDS.entries()) {
  Deno.test(`[C56] a ring is reset to other sizes and places while its sibling works (${name})`, async () => {
    using image = new Image(MIB);
    const { block } = devices;
    const options = { "blk-file": image.path };
    const disk = await block.open(completeOptions(block.options, options));
    const plane = i === 0 ? "worker" : "inline";
    await using home = await Home.open(disk, plane);
    using connection = await Connection.open(home.frontend, {
      features: BASIC | features,
      protocolFeatures: MOVING_FEATURES,
      queueCount: 2,
    });
    const { memory } = connection;
    const [sibling, first] = connection.rings;
    const busy = new BlockDriver(memory, sibling!.ring, sibling!);
    let isOver = false;
    let turns = 0;
    const work = (async () => {
      for (; !isOver; turns++) await exercise(busy, 0, turns % 200);
    })();
    let port = first!;
    const resets: ConnectionRing[] = [];
    for (const [turn, size] of SIZES.entries()) {
      const driver = new BlockDriver(memory, port.ring, port);
      await withDeadline(exercise(driver, 1024, turn), PATIENCE_MS);
      await connection.frontend.getVringBase(1);
      port = new ConnectionRing(
        1,
        openRing(memory, size, connection.features),
      );
      resets.push(port);
      await start(connection, port);
      await withDeadline(
        exercise(new BlockDriver(memory, port.ring, port), 1024, turn + 100),
        PATIENCE_MS,
      );
    }
    isOver = true;
    await withDeadline(work, PATIENCE_MS);
    assertGreater(turns, SIZES.length);
    for (const reset of resets) reset[Symbol.dispose]();
  });
}

Deno.test("RING_RESET is not offered, and refused", async () => {
  const { block } = devices;
  const options = { "blk-null": MIB };
  const device = await block.open(completeOptions(block.options, options));
  await using home = await Home.open(device, "inline");
  const { frontend } = home;
  const { features } = await frontend.negotiate();
  assertEquals(features & RING_RESET, 0n);
  await assertRejects(
    () => frontend.setFeatures(features | RING_RESET),
    NackError,
  );
});
