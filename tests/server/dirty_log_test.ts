/**
 * The log of dirty pages beside all of the memory, page by page: of every
 * device, on both kinds of rings, whoever wrote.
 */
import { assert, assertEquals } from "@std/assert";
import { block } from "../../devices/block/mod.ts";
import { net } from "../../devices/net/mod.ts";
import { rng } from "../../devices/rng/mod.ts";
import type { Device } from "../../src/device/device.ts";
import {
  VHOST_F_LOG_ALL,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
} from "../../src/device/features.ts";
import { completeOptions } from "../../src/device/options.ts";
import { Mapping } from "../../src/ffi/mapping.ts";
import { EventFd } from "../../src/io/event_fd.ts";
import { createMemfd } from "../../src/io/memfd.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import { setLogLevel } from "../../src/log.ts";
import { LOG_PAGE_SIZE, logSizeFor } from "../../src/memory/dirty_log.ts";
import { type DataPlaneKind, Server } from "../../src/server/server.ts";
import { BLOCK_REQUEST, blockHeader } from "../../src/testing/block_driver.ts";
import { Connection } from "../../src/testing/connection.ts";
import type { DriverSegment } from "../../src/testing/ring_driver.ts";
import { Frontend } from "../../src/vhost_user/frontend.ts";
import {
  protocolBits,
  VHOST_USER_PROTOCOL_F,
} from "../../src/vhost_user/protocol.ts";
import { eventually, withDeadline } from "../vm/deadline.ts";

setLogLevel("warn");

const F = VHOST_USER_PROTOCOL_F;
const MIB = 1 << 20;
const QUEUE_SIZE = 32;
const BASE = VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC;
/** Two regions, with a hole between them that the log has bits for. */
const REGIONS = [
  { guestAddress: 0x10_0000, size: 2 * MIB },
  { guestAddress: 0x80_0000, size: 2 * MIB },
];
const LOG_SIZE = logSizeFor(0x80_0000 + 2 * MIB);

/** A device with a guest whose memory is logged. */
class Scene implements AsyncDisposable {
  readonly connection: Connection;
  readonly #served: Promise<void>;
  readonly #fd = createMemfd("dirty-log-test", LOG_SIZE);
  readonly #log = Mapping.shared(this.#fd.number, LOG_SIZE, 0);
  readonly logFd = EventFd.open();

  private constructor(connection: Connection, served: Promise<void>) {
    this.connection = connection;
    this.#served = served;
  }

  static async open(
    device: Device,
    features: bigint,
    dataPlane: DataPlaneKind,
  ): Promise<Scene> {
    const [ours, theirs] = UnixSocket.pair();
    const fd = theirs.fd.release();
    const server = await Server.open("logged", device, { fd, dataPlane });
    const served = server.run();
    const connection = await Connection.open(Frontend.fromSocket(ours), {
      features,
      protocolFeatures: protocolBits([
        F.REPLY_ACK,
        F.LOG_SHMFD,
        F.CONFIG,
        F.MQ,
      ]),
      memory: REGIONS,
      queueCount: device.queueCount,
      queueSize: QUEUE_SIZE,
    });
    const scene = new Scene(connection, served);
    const { migration } = connection.frontend;
    await migration.setLogFd(scene.logFd.fd);
    await migration.setLogBase({ fd: scene.#fd, size: LOG_SIZE });
    return scene;
  }

  /** Switches the log on or off, of memory and used rings alike. */
  async setLog(on: boolean): Promise<void> {
    const { frontend, features, rings } = this.connection;
    await frontend.setFeatures(
      on ? features | VHOST_F_LOG_ALL : features & ~VHOST_F_LOG_ALL,
    );
    for (const { index, ring } of rings) {
      await frontend.setVringAddr({
        index,
        flags: on ? 1 : 0,
        descriptor: this.#userAddress(ring.descriptorArea),
        available: this.#userAddress(ring.driverArea),
        used: this.#userAddress(ring.deviceArea),
        log: ring.deviceArea,
      });
    }
  }

  /** Takes the pages out of the log, as a front-end does. */
  takePages(): Set<number> {
    const bits = new Uint8Array(this.#log.buffer);
    const pages = new Set<number>();
    for (let i = 0; i < bits.length; i++) {
      const byte = Atomics.exchange(bits, i, 0);
      for (let bit = 0; bit < 8; bit++) {
        if ((byte & (1 << bit)) !== 0) pages.add(8 * i + bit);
      }
    }
    return pages;
  }

  /** A copy of all memory. */
  snapshot(): Uint8Array[] {
    const { memory } = this.connection;
    return memory.regions.map(({ guestAddress, size }) =>
      memory.read(guestAddress, size)
    );
  }

  /** The pages that differ from `before`. */
  changedSince(before: readonly Uint8Array[]): Set<number> {
    const pages = new Set<number>();
    for (const [i, now] of this.snapshot().entries()) {
      const first = REGIONS[i]!.guestAddress / LOG_PAGE_SIZE;
      for (let page = 0; page < now.length / LOG_PAGE_SIZE; page++) {
        const at = page * LOG_PAGE_SIZE;
        const one = now.subarray(at, at + LOG_PAGE_SIZE);
        const other = before[i]!.subarray(at, at + LOG_PAGE_SIZE);
        if (one.some((byte, j) => byte !== other[j])) pages.add(first + page);
      }
    }
    return pages;
  }

  /** `size` bytes in region `region`, on pages of their own but for `shift`. */
  allocate(size: number, region: number, shift = 0): number {
    const { memory } = this.connection;
    return memory.allocate(size + shift, LOG_PAGE_SIZE, region) + shift;
  }

  /** A readable segment that holds `bytes`. */
  readable(bytes: Uint8Array): DriverSegment {
    const address = this.allocate(bytes.length, 0);
    this.connection.memory.write(address, bytes);
    return { address, size: bytes.length, writable: false };
  }

  /** A writable segment. */
  writable(size: number, region: number, shift = 0): DriverSegment {
    return {
      address: this.allocate(size, region, shift),
      size,
      writable: true,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.connection[Symbol.dispose]();
    await withDeadline(this.#served, 10_000);
    this.#log[Symbol.dispose]();
    this.#fd.close();
    this.logFd[Symbol.dispose]();
  }

  #userAddress(guestAddress: number): number {
    for (const region of this.connection.memory.regions) {
      const offset = guestAddress - region.guestAddress;
      if (offset >= 0 && offset < region.size) {
        return region.userAddress + offset;
      }
    }
    throw new RangeError(`0x${guestAddress.toString(16)} is in no region`);
  }
}

/** By ring: the requests, and how many of them come back. */
type Requests = (scene: Scene) => [ring: number, DriverSegment[][]][];

interface Case {
  readonly name: string;
  readonly features: bigint;
  open(): Promise<Device>;
  readonly requests: Requests;
  /** Pages at least that have to change, so that the test shows something. */
  readonly pages: number;
}

function blockRequests(scene: Scene): [number, DriverSegment[][]][] {
  const status = (): DriverSegment => scene.writable(1, 1);
  const header = (type: number, sector: number) =>
    scene.readable(blockHeader(type, sector));
  return [[0, [
    [
      header(BLOCK_REQUEST.IN, 0),
      scene.writable(3 * LOG_PAGE_SIZE, 1),
      scene.writable(512, 0, 3840),
      status(),
    ],
    // Over the border of two pages, by a byte.
    [header(BLOCK_REQUEST.IN, 8), scene.writable(512, 1, 3585), status()],
    [header(BLOCK_REQUEST.GET_ID, 0), scene.writable(20, 1), status()],
    // Beyond the end: it fails.
    [header(BLOCK_REQUEST.IN, 2 ** 40), scene.writable(512, 1), status()],
    [
      header(BLOCK_REQUEST.OUT, 0),
      scene.readable(new Uint8Array(512)),
      status(),
    ],
  ]]];
}

function netRequests(scene: Scene): [number, DriverSegment[][]][] {
  const buffers = Array.from({ length: 4 }, (_, i) => [
    scene.writable(2048, i % 2, 3000),
  ]);
  const frames = buffers.map((_, i) => [
    scene.readable(new Uint8Array(12)),
    scene.readable(new Uint8Array(1500).fill(i + 1)),
  ]);
  return [[0, buffers], [1, frames]];
}

function rngRequests(scene: Scene): [number, DriverSegment[][]][] {
  return [[0, [
    [scene.writable(16, 0, 4088)],
    [scene.writable(4096, 1), scene.writable(100, 1)],
    [scene.writable(64, 1)],
  ]]];
}

function diskFile(): string {
  const path = Deno.makeTempFileSync({ prefix: "ringside-log-" });
  Deno.writeFileSync(path, new Uint8Array(MIB).fill(0x5a));
  return path;
}

const CASES: readonly Case[] = [
  ...["io_uring", "sync"].map((engine): Case => ({
    name: `block, ${engine}`,
    features: BASE,
    pages: 10,
    open: async () => {
      const path = diskFile();
      const device = await block.open(
        completeOptions(block.options, {
          "blk-file": path,
          "num-queues": 1,
          "io-engine": engine as "io_uring",
          serial: "of the disk",
        }),
      );
      Deno.removeSync(path);
      return device;
    },
    requests: blockRequests,
  })),
  {
    name: "net",
    features: BASE,
    pages: 8,
    open: () => net.open(completeOptions(net.options, { backend: "loopback" })),
    requests: netRequests,
  },
  {
    name: "rng",
    features: BASE,
    pages: 5,
    open: () => rng.open(completeOptions(rng.options, {})),
    requests: rngRequests,
  },
];

for (const each of CASES) {
  for (const packed of [false, true]) {
    for (const indirect of [false, true]) {
      const kind = packed ? "packed" : "split";
      const layout = indirect ? "indirect" : "direct";
      const plane = indirect ? "worker" : "inline";
      Deno.test(`the log has the pages that are written: ${each.name}, ${kind}, ${layout}, ${plane}`, async () => {
        const features = each.features |
          (packed ? VIRTIO_F_RING_PACKED : 0n);
        await using scene = await Scene.open(
          await each.open(),
          features,
          plane,
        );
        await compare(scene, each, indirect);
      });
    }
  }
}

async function compare(scene: Scene, each: Case, indirect: boolean) {
  const { connection } = scene;
  const { frontend, rings } = connection;
  await scene.setLog(true);
  const requests = each.requests(scene);
  let due = 0;
  for (const [index, chains] of requests) {
    const { ring } = rings[index]!;
    for (const chain of chains) ring.add(chain, { indirect });
    due += chains.length;
  }
  // From here on all that changes is the device's, but for the indexes that
  // show it the requests: they are on pages where it writes too.
  const before = scene.snapshot();
  scene.takePages();
  for (const ring of rings) {
    ring.ring.publish();
    ring.kick();
  }
  await eventually(
    () => {
      for (const { ring } of rings) while (ring.nextUsed() !== null) due--;
      return due === 0;
    },
    10_000,
    () => `${due} requests are not given back`,
  );
  for (const { index } of rings) await frontend.getVringBase(index);
  const changed = scene.changedSince(before);
  const logged = scene.takePages();
  const missing = [...changed].filter((page) => !logged.has(page));
  assertEquals(missing, [], "pages that were written and not logged");
  const allowed = allowedPages(scene, requests);
  const surplus = [...logged].filter((page) => !allowed.has(page));
  assertEquals(surplus, [], "pages that were logged for no reason");
  assert(changed.size >= each.pages, `only ${changed.size} pages changed`);
  assert(scene.logFd.clear(), "nobody was told of the log");
}

/** The pages that the device may write: buffers, and its part of the rings. */
function allowedPages(
  scene: Scene,
  requests: [number, DriverSegment[][]][],
): Set<number> {
  const pages = new Set<number>();
  const allow = (address: number, size: number) => {
    const last = Math.floor((address + size - 1) / LOG_PAGE_SIZE);
    const first = Math.floor(address / LOG_PAGE_SIZE);
    for (let page = first; page <= last; page++) pages.add(page);
  };
  for (const [, chains] of requests) {
    for (const { address, size, writable } of chains.flat()) {
      if (writable) allow(Number(address), size);
    }
  }
  for (const { ring } of scene.connection.rings) {
    allow(ring.descriptorArea, 16 * QUEUE_SIZE);
    allow(ring.deviceArea, 6 + 8 * QUEUE_SIZE);
  }
  return pages;
}

for (const packed of [false, true]) {
  Deno.test(`the log is switched on and off while requests are in flight, ${packed ? "packed" : "split"}`, async () => {
    const disk = CASES[0]!;
    const features = BASE | (packed ? VIRTIO_F_RING_PACKED : 0n);
    await using scene = await Scene.open(
      await disk.open(),
      features,
      "worker",
    );
    const ring = readsOver(scene);
    let logs = false;
    const logged = new Set<number>();
    for (let round = 0; round < 60; round++) {
      if (round % 6 === 0) {
        logs = !logs;
        await scene.setLog(logs);
        // What was in flight then may be logged or not.
        await ring.settle();
        scene.takePages();
        logged.clear();
      }
      const pages = await ring.turn();
      for (const page of scene.takePages()) logged.add(page);
      for (const page of pages) {
        assertEquals(logged.delete(page), logs, `page ${page}, round ${round}`);
      }
      if (!logs) assertEquals([...logged], []);
    }
  });
}

/** Reads that are in flight all the time, over the first ring. */
function readsOver(scene: Scene) {
  const port = scene.connection.rings[0]!;
  const slots = Array.from({ length: 8 }, () => ({
    header: scene.readable(blockHeader(BLOCK_REQUEST.IN, 0)),
    data: scene.writable(LOG_PAGE_SIZE, 1),
    status: scene.writable(1, 0),
  }));
  const inFlight = new Map<number, typeof slots[0]>();
  const submit = (slot: typeof slots[0]) => {
    const { header, data, status } = slot;
    inFlight.set(port.ring.add([header, data, status]), slot);
    if (port.ring.publish()) port.kick();
  };
  const take = async (count: number) => {
    const pages: number[] = [];
    while (count > 0) {
      const used = port.ring.nextUsed();
      if (used === null) {
        if (!port.ring.armInterrupt()) {
          await withDeadline(port.called(), 10_000);
        }
        continue;
      }
      const slot = inFlight.get(used.head)!;
      inFlight.delete(used.head);
      slots.push(slot);
      pages.push(Number(slot.data.address) / LOG_PAGE_SIZE);
      count--;
    }
    return pages;
  };
  return {
    /** Waits for what is in flight. */
    settle: () => take(inFlight.size),
    /** Submits all slots and takes back half of them; their pages. */
    turn: async () => {
      for (const slot of slots.splice(0)) submit(slot);
      return await take(Math.ceil(inFlight.size / 2));
    },
  };
}
