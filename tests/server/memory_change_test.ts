/**
 * Memory that comes and goes while requests are under way: one region after
 * the other up to 509, and the whole table anew.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { block } from "../../devices/block/mod.ts";
import { completeOptions } from "../../src/device/mod.ts";
import { setLogLevel } from "../../src/log.ts";
import { Server } from "../../src/server/server.ts";
import {
  BLOCK_REQUEST,
  BlockDriver,
  blockHeader,
} from "../../src/testing/block_driver.ts";
import { ConnectionRing } from "../../src/testing/connection.ts";
import {
  DriverMemory,
  type DriverRegion,
} from "../../src/testing/driver_memory.ts";
import { openRing } from "../../src/testing/open_ring.ts";
import { Frontend, type SharedRegion } from "../../src/vhost_user/frontend.ts";
import { withDeadline } from "../vm/deadline.ts";

setLogLevel("error");

const SECTOR = 512;
const MIB = 1 << 20;
const SLOTS = 509;
const MAIN_SIZE = 4 * MIB;
const SLOT_SIZE = 8192;
const RINGS = 2;
const QUEUE_SIZE = 64;
const DEADLINE_MS = 60_000;
/** Sectors of the disk for each ring, and for each slot. */
const RING_SECTORS = 64;
const SLOTS_SECTOR = RINGS * RING_SECTORS;

/** A served disk, whose driver has more memory than it shares. */
class Rig implements AsyncDisposable {
  readonly ports: ConnectionRing[] = [];
  readonly drivers: BlockDriver[] = [];
  #working = true;

  private constructor(
    readonly directory: string,
    readonly server: Server,
    readonly running: Promise<void>,
    readonly memory: DriverMemory,
    readonly frontend: Frontend,
  ) {}

  static async open(
    dataPlane: "inline" | "worker",
    engine: "sync" | "auto",
    features: bigint,
  ): Promise<Rig> {
    const directory = Deno.makeTempDirSync({ prefix: "ringside-memory-" });
    const file = `${directory}/disk.img`;
    Deno.writeFileSync(file, new Uint8Array(2 * MIB));
    const given = { "blk-file": file, "io-engine": engine };
    const device = await block.open(completeOptions(block.options, given));
    const socketPath = `${directory}/disk.sock`;
    const queueThreads = dataPlane === "worker" ? RINGS : 1;
    const options = { socketPath, dataPlane, queueThreads };
    const server = await Server.open("disk", device, options);
    const memory = DriverMemory.shared([
      { guestAddress: MIB, size: MAIN_SIZE },
      ...Array.from({ length: SLOTS - 1 }, (_, i) => ({
        // With holes, so that no two of them are one piece.
        guestAddress: 0x1000_0000 + i * 2 * SLOT_SIZE,
        size: SLOT_SIZE,
        mmapOffset: i === 0 ? 0 : i * SLOT_SIZE,
      })),
    ]);
    const frontend = Frontend.connect(socketPath);
    const running = server.run();
    const rig = new Rig(directory, server, running, memory, frontend);
    await rig.#start(features);
    return rig;
  }

  /** The region of slot `index`; the one of the rings is 0. */
  region(index: number): DriverRegion & SharedRegion {
    const region = this.memory.regions[index]!;
    return { ...region, fd: region.fd! };
  }

  /** Writes and reads from the memory of slot `index` only. */
  async use(index: number): Promise<void> {
    const address = this.region(index).guestAddress;
    const driver = this.drivers[index % RINGS]!;
    const bytes = pattern(2 * SECTOR, index);
    const sector = SLOTS_SECTOR + 2 * index;
    const header = (type: number) => ({ bytes: blockHeader(type, sector) });
    const room = { room: bytes.length, address: address + SLOT_SIZE / 2 };
    const out = await driver.request([
      header(BLOCK_REQUEST.OUT),
      { bytes, address },
      { room: 1 },
    ]);
    const back = await driver.request([
      header(BLOCK_REQUEST.IN),
      room,
      { room: 1 },
    ]);
    assertEquals([out.status, back.status], [0, 0], `slot ${index}`);
    assertEquals(back.rooms[0], bytes, `slot ${index}`);
  }

  /** Writes and reads on all rings until `done` is called; how often. */
  work(): { done(): Promise<number[]> } {
    const counts = this.drivers.map(async (driver, index) => {
      let count = 0;
      for (; this.#working; count++) {
        const bytes = pattern(8 * SECTOR, count + index);
        const sector = index * RING_SECTORS + 8 * (count % 8);
        await driver.write(sector, bytes);
        assertEquals(await driver.read(sector, bytes.length), bytes);
      }
      return count;
    });
    const all = Promise.all(counts);
    return {
      done: () => {
        this.#working = false;
        return withDeadline(all, DEADLINE_MS);
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.frontend[Symbol.dispose]();
    for (const port of this.ports) port[Symbol.dispose]();
    await this.server.stop();
    await this.running;
    this.memory[Symbol.dispose]();
    Deno.removeSync(this.directory, { recursive: true });
  }

  async #start(wanted: bigint): Promise<void> {
    const { frontend, memory } = this;
    const { features } = await frontend.negotiate({ features: wanted });
    await frontend.setMemTable([this.region(0)]);
    const { guestAddress, userAddress } = this.region(0);
    const toUser = (address: number) => address - guestAddress + userAddress;
    for (let index = 0; index < RINGS; index++) {
      const ring = openRing(memory, QUEUE_SIZE, features);
      const port = new ConnectionRing(index, ring);
      this.ports.push(port);
      this.drivers.push(new BlockDriver(memory, ring, port));
      await frontend.setVring(index, {
        size: QUEUE_SIZE,
        base: ring.config().nextAvail,
        descriptor: toUser(ring.descriptorArea),
        available: toUser(ring.driverArea),
        used: toUser(ring.deviceArea),
        kick: port.kickFd.fd,
        call: port.callFd.fd,
      });
    }
  }
}

function pattern(size: number, salt: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => i * 13 + salt);
}

const VERSION_1 = 1n << 32n;
const EVENT_IDX = 1n << 29n;
const INDIRECT = 1n << 28n;
const PACKED = 1n << 34n;
const SPLIT = VERSION_1 | EVENT_IDX | INDIRECT;

/** Each change maps all of the memory anew: one of them shows all slots. */
const VARIANTS = [
  ["inline", "auto", "split", SPLIT, 65],
  ["worker", "auto", "split", SPLIT, 65],
  ["worker", "sync", "packed", SPLIT | PACKED, SLOTS],
] as const;

for (const [plane, engine, kind, features, slots] of VARIANTS) {
  const where = `${kind} rings, ${plane}, io-engine ${engine}`;

  Deno.test(`[C59] ${slots} slots come and go while requests are under way (${where})`, async () => {
    await using rig = await Rig.open(plane, engine, features);
    const work = rig.work();
    for (let index = 1; index < slots; index++) {
      await rig.frontend.addMemReg(rig.region(index));
      if (index % 16 === 1) await rig.use(index);
    }
    const some = [1, slots >> 1, slots - 2, slots - 1];
    await Promise.all(some.map((index) => rig.use(index)));
    for (let index = 1; index < slots; index++) {
      await rig.frontend.removeMemReg(rig.region(index));
    }
    const counts = await work.done();
    for (const count of counts) assertEquals(count > 10, true, `${counts}`);
  });

  Deno.test(`[C59] the memory table is replaced while requests are under way (${where})`, async () => {
    await using rig = await Rig.open(plane, engine, features);
    const work = rig.work();
    for (let round = 0; round < 100; round++) {
      // With other regions each time, and with the one of the rings elsewhere.
      const others = Array.from(
        { length: round % 8 },
        (_, i) => rig.region(1 + (7 * round + i) % (SLOTS - 1)),
      );
      const at = round % (others.length + 1);
      others.splice(at, 0, rig.region(0));
      await rig.frontend.setMemTable(others.slice(0, 8));
      if (round % 50 === 7) await rig.use(1 + (7 * round) % (SLOTS - 1));
    }
    const counts = await work.done();
    for (const count of counts) assertEquals(count > 10, true, `${counts}`);
  });
}
