/**
 * Hostile front-ends: memory that goes, sockets that are flooded or dripped on
 * and sessions that end, all of it with requests in flight.
 */
import { asSplit } from "../../src/testing/split_driver.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { SystemError } from "../../src/errors.ts";
import { EAGAIN } from "../../src/ffi/abi.ts";
import type { BlockConnection } from "../../src/testing/block_connection.ts";
import { BLOCK_STATUS } from "../../src/testing/block_driver.ts";
import { Frontend, type SharedRegion } from "../../src/vhost_user/frontend.ts";
import { encodeMessage, u64 } from "../../src/vhost_user/message.ts";
import { VHOST_USER } from "../../src/vhost_user/protocol.ts";
import { withDeadline } from "../vm/deadline.ts";
import {
  assertBytes,
  BLOCK_SIZE,
  blockOf,
  FIRST_SCRATCH_BLOCK,
  PATIENCE_MS,
  PLANES,
  readsRight,
  sectorOf,
  type Target,
  until,
  withTarget,
} from "./support/hostile_target.ts";
import { Load } from "./support/load.ts";
import { RawRing, type ReadRequest, UNTOUCHED } from "./support/raw_ring.ts";

/** Regions of the driver's memory. */
const RINGS = 0;
const PAYLOAD = 1;
const SPARE = 2;

/** Memory for requests of many times its size. */
const HUGE = [
  { guestAddress: 0x1_0000, size: 4 << 20 },
  { guestAddress: 0x1000_0000, size: 16 << 20 },
] as const;

const EMPTY = new Uint8Array(0);

function regionOf(disk: BlockConnection, index: number): SharedRegion {
  const region = disk.memory.regions[index]!;
  return { ...region, fd: region.fd! };
}

/** Load on both rings of `disk`. */
function loadOf(disk: BlockConnection): Load[] {
  return disk.rings.map(({ driver, index }) =>
    new Load(driver, FIRST_SCRATCH_BLOCK + 100 * (1 + index), 8)
  );
}

/** Runs `act` again and again while both rings work. */
async function underLoad(
  disk: BlockConnection,
  rounds: number,
  act: (round: number) => Promise<void>,
): Promise<void> {
  const loads = loadOf(disk);
  for (let round = 0; round < rounds; round++) {
    await act(round);
    await Promise.all(loads.map((load) => load.progress(1)));
  }
  for (const load of loads) await load.stop();
}

/** Publishes reads of the blocks from 0 on into the payload region. */
function publishReads(raw: RawRing, count: number): Map<number, ReadRequest> {
  const requests = new Map<number, ReadRequest>();
  for (let block = 0; block < count; block++) {
    const request = raw.read(block, PAYLOAD);
    const { header, data, status } = request;
    requests.set(raw.ring.add([header, data, status]), request);
  }
  raw.publish();
  return requests;
}

/** Takes all of `requests` back: each was done in full, or not at all. */
async function takeAll(
  raw: RawRing,
  requests: ReadonlyMap<number, ReadRequest>,
): Promise<void> {
  const blocks = [...requests.keys()];
  for (let i = 0; i < requests.size; i++) {
    const { head, written } = await raw.take();
    const { data, status } = requests.get(head)!;
    if (written === 0) {
      assertEquals(raw.byteOf(status), UNTOUCHED);
      continue;
    }
    assertEquals(raw.byteOf(status), BLOCK_STATUS.OK);
    const read = raw.disk.memory.read(Number(data.address), BLOCK_SIZE);
    assertBytes(read, blockOf(blocks.indexOf(head)), "A read in flight");
  }
}

/** The region that requests are working on goes and comes back. */
async function loseRegionInUse(disk: BlockConnection): Promise<void> {
  const { frontend, memory } = disk;
  const payload = regionOf(disk, PAYLOAD);
  const raw = new RawRing(disk);
  const { buffer } = memory.regions[PAYLOAD]!;
  const ours = new Uint8Array(buffer, 0, 20 * 17 * BLOCK_SIZE);
  for (let round = 0; round < 20; round++) {
    const requests = publishReads(raw, 16);
    await frontend.removeMemReg(payload);
    // From here on nobody but us writes there.
    await takeAll(raw, requests);
    ours.fill(0xee);
    const { header, data, status } = raw.read(1, PAYLOAD);
    const { written } = await raw.send([header, data, status]);
    assertEquals([written, raw.byteOf(status)], [0, UNTOUCHED]);
    await readsRight(disk, 1);
    const allowed = [0xee, UNTOUCHED];
    assert(ours.every((byte) => allowed.includes(byte)), "It was written to");
    await frontend.addMemReg(payload);
    await raw.goesOn();
  }
}

/** The region of the rings themselves goes and comes back. */
async function loseRings(disk: BlockConnection, target: Target): Promise<void> {
  const { frontend, rings } = disk;
  for (const { driver } of rings) {
    // Lost with the ring, or answered just before.
    driver.read(0, BLOCK_SIZE).catch(() => {});
  }
  await frontend.removeMemReg(regionOf(disk, RINGS));
  for (const { index, err } of rings) {
    await target.says(
      new RegExp(
        `block: Ring ${index} is broken: The descriptor table of ring`,
      ),
    );
    await until(() => err.clear(), () => `Ring ${index} has no err`);
  }
  await frontend.addMemReg(regionOf(disk, RINGS));
  for (const { index } of rings) {
    const base = await frontend.getVringBase(index);
    await disk.restart(index, base);
  }
  await readsRight(disk, 0);
}

/** Connects, also where the queue of the listener is full. */
async function connectSoon(target: Target): Promise<Frontend> {
  for (;;) {
    try {
      return Frontend.connect(target.socketPath);
    } catch (error) {
      if (!(error instanceof SystemError) || error.errno !== EAGAIN) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
}

/** A million GET_FEATURES. */
function flood(): Uint8Array<ArrayBuffer> {
  const one = encodeMessage(VHOST_USER.GET_FEATURES, 1, EMPTY);
  const many = new Uint8Array(one.length * 1_000_000);
  for (let at = 0; at < many.length; at += one.length) many.set(one, at);
  return many;
}

for (const plane of PLANES) {
  const options = { dataPlane: plane };

  Deno.test(`[H16] [C59] memory that is shared anew under load loses no byte, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      await target.survives("SET_MEM_TABLE under load", (disk) => {
        const all = [RINGS, PAYLOAD, SPARE].map((i) => regionOf(disk, i));
        return underLoad(
          disk,
          30,
          (round) => disk.frontend.setMemTable(all.slice(0, 2 + round % 2)),
        );
      }, { queueSize: 64 });
      await target.survives("regions that come and go under load", (disk) => {
        const spare = regionOf(disk, SPARE);
        return underLoad(
          disk,
          30,
          (round) =>
            round % 2 === 0
              ? disk.frontend.removeMemReg(spare)
              : disk.frontend.addMemReg(spare),
        );
      }, { queueSize: 64 });
    }));

  Deno.test(`[H16] [C59] a region in use goes once its requests are done, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("REM_MEM_REG of payload", loseRegionInUse, {
          queueSize: 64,
          // Each round takes memory for its requests for good.
          memory: [16, 16, 4].map((mib, i) => ({
            guestAddress: 0x1_0000 + i * 0x1000_0000,
            size: mib << 20,
          })),
        }),
    ));

  Deno.test(`[H16] [C59] rings whose memory goes break and can be started again, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives(
          "REM_MEM_REG of rings",
          (disk) => loseRings(disk, target),
        ),
    ));

  Deno.test(`[H15] SET_FEATURES in mid-I/O is refused and loses nothing, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives(
          "SET_FEATURES under load",
          (disk) =>
            underLoad(disk, 20, async () => {
              const { frontend, features } = disk;
              await assertRejects(() =>
                frontend.setFeatures(features & ~1024n)
              );
              await frontend.setFeatures(features);
            }),
          { queueSize: 64 },
        ),
    ));

  Deno.test(`[H15] [C60] RESET_DEVICE in mid-I/O loses nothing that was answered, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.outlives("RESET_DEVICE under load", async (disk) => {
          const loads = loadOf(disk);
          await Promise.all(loads.map((load) => load.progress(20)));
          await disk.frontend.resetDevice();
          const used = () =>
            disk.rings.map((r) => asSplit(r.ring).publishedUsedIndex);
          const before = used();
          // The rings are stopped, whatever is kicked and asked for.
          for (const { kick } of disk.rings) kick.signal();
          await disk.frontend.getFeatures();
          assertEquals(used(), before);
          for (const load of loads) load.stop().catch(() => {});
        }, { queueSize: 64 }),
    ));

  for (const ioEngine of ["io_uring", "sync"]) {
    Deno.test(`[H16] [H27] a ring full of huge requests does not hold up commands and signals, by ${ioEngine} on the ${plane} plane`, () =>
      withTarget({ ...options, ioEngine, size: 1 << 30 }, async (target) => {
        using disk = await target.connect({ queueSize: 256, memory: HUGE });
        const raw = new RawRing(disk);
        const [, { guestAddress: address, size }] = HUGE;
        const data = { address, size, writable: true };
        const all = new Array(32).fill(data);
        const header = raw.header(0, 0);
        for (let i = 0; i < 256; i++) {
          raw.ring.add([header, ...all, raw.room(1)], { indirect: true });
        }
        raw.publish();
        // All of them take the better part of a minute.
        await disk.frontend.getVringBase(1);
        assert(raw.ring.publishedUsedIndex < 256, "The ring had to be emptied");
        await target.stops();
        assert(raw.ring.publishedUsedIndex < 256, "The ring had to be emptied");
      }));
  }

  Deno.test(`[H17] a message that drips in does not hold up the rings, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      await target.survives("a dripping message", async (disk) => {
        const value = disk.features;
        const bytes = encodeMessage(
          VHOST_USER.SET_FEATURES,
          1 | 8,
          u64.encode({ value }),
        );
        for (let i = 0; i < bytes.length; i++) {
          await disk.frontend.sendRaw(bytes.slice(i, i + 1));
          await readsRight(disk, i % 2);
        }
        const reply = await disk.frontend.receive();
        assertEquals(u64.decode(reply!.payload).value, 0n);
      });
      using disk = await target.connect();
      await disk.frontend.sendRaw(new Uint8Array(7));
      await readsRight(disk, 0);
      await target.stops();
    }));

  Deno.test(`[H17] a flood of requests whose answers nobody reads does not hold up the rings, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      const bytes = flood();
      const flooded = async (disk: BlockConnection) => {
        disk.frontend.sendRaw(bytes).catch(() => {});
        const loads = loadOf(disk);
        await Promise.all(loads.map((load) => load.progress(100)));
        for (const load of loads) await load.stop();
      };
      await target.survives("a flood", flooded, { queueSize: 64 });
      using disk = await target.connect({ queueSize: 64 });
      await flooded(disk);
      await target.stops();
    }));

  Deno.test(`[H18] a front-end that leaves with 128 requests in flight loses none of them by halves, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      const first = FIRST_SCRATCH_BLOCK + 200;
      for (let round = 0; round < 10; round++) {
        await target.outlives("a disconnect in mid-I/O", (disk) => {
          const raw = new RawRing(disk);
          const bytes = new Uint8Array(BLOCK_SIZE).fill(100 + round);
          const data = raw.bytes(bytes, PAYLOAD);
          const status = raw.room(1);
          for (let i = 0; i < 128; i++) {
            const header = raw.header(1, sectorOf(first + i));
            raw.ring.add([header, data, status]);
          }
          raw.publish();
        }, { queueSize: 512 });
        using disk = await target.connect();
        for (let i = 0; i < 128; i++) {
          const sector = sectorOf(first + i);
          const read = await disk.driver.read(sector, BLOCK_SIZE);
          const torn = read.some((byte) => byte !== read[0]);
          assert(!torn, `Block ${i} of round ${round} is half written`);
        }
      }
    }));

  Deno.test(`[H18] a thousand front-ends one after the other leave nothing, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      for (let i = 0; i < 1000; i++) {
        using frontend = await withDeadline(connectSoon(target), PATIENCE_MS);
        if (i % 10 === 0) await frontend.getFeatures();
        else if (i % 10 === 1) await frontend.sendRaw(new Uint8Array(11));
        else if (i % 10 === 2) await frontend.send(VHOST_USER.GET_FEATURES);
      }
      await target.isWell();
    }));
}
