/**
 * A served disk whose front-end has an IOMMU: a page table of the test's own.
 *
 * @module
 */
import { assert } from "@std/assert";
import { block } from "../../devices/block/mod.ts";
import { completeOptions } from "../../src/device/mod.ts";
import {
  VIRTIO_F_ACCESS_PLATFORM,
  VIRTIO_F_RING_PACKED,
} from "../../src/device/features.ts";
import { Server } from "../../src/server/server.ts";
import { BlockDriver } from "../../src/testing/block_driver.ts";
import { ConnectionRing } from "../../src/testing/connection.ts";
import { DriverMemory } from "../../src/testing/driver_memory.ts";
import { openRing } from "../../src/testing/open_ring.ts";
import type { RingDriver } from "../../src/testing/ring_driver.ts";
import { Frontend } from "../../src/vhost_user/frontend.ts";
import type { IotlbMessage } from "../../src/vhost_user/message.ts";
import { eventually } from "../vm/deadline.ts";

export const PAGE = 4096;
/** Where the regions are in the guest: apart, and not in the driver's order. */
const GUEST_ADDRESSES = [0x9_0000_0000, 0x5_0000_0000];
/** Of each of the two regions, which touch in the addresses of the driver. */
export const REGION_SIZE = 2 << 20;
/** The first address of the driver. */
export const IOVA = 0x4000_0000;
export const DISK_SIZE = 1 << 20;
const DEADLINE_MS = 20_000;
/** Where memory is scattered: pages of a piece, and where the pieces go. */
const PIECE_PAGES = 3;
const PIECES = [4, 1, 5, 0, 3, 2];

export const READ = 1;
export const WRITE = 2;

/** One ring and what drives it. */
export class VirtualRing extends ConnectionRing {
  readonly driver: BlockDriver;

  constructor(
    index: number,
    ring: RingDriver,
    memory: DriverMemory,
    indirect: boolean,
  ) {
    super(index, ring);
    this.driver = new BlockDriver(memory, ring, this, { indirect });
  }
}

/** Where a region is. */
interface SharedRegion {
  readonly guestAddress: number;
  readonly userAddress: number;
  readonly mmapOffset: number;
  readonly size: number;
}

/** How a {@linkcode VirtualDisk} is set up. */
export interface VirtualDiskOptions {
  dataPlane?: "inline" | "worker";
  queueThreads?: number;
  packed?: boolean;
  indirect?: boolean;
  /** Entries of each ring, 64 where not said. */
  queueSize?: number;
  /** Whether the pages that the rings are in are not adjacent in the guest. */
  scattered?: boolean;
  /** Whether the rings are started. */
  start?: boolean;
}

/** A disk behind an IOMMU, its driver, and the IOMMU. */
export class VirtualDisk implements AsyncDisposable {
  /** What the device asked for, in order. */
  readonly misses: IotlbMessage[] = [];
  /** By page number: what the device may do there. Without: it is refused. */
  readonly allowed = new Map<number, number>();
  /** What every page that is not in `allowed` has; 0: nothing. */
  fallback = READ | WRITE;
  /** Whether misses are answered at all. */
  answers = true;
  readonly rings: VirtualRing[] = [];
  #scattered = false;
  readonly #directory: string;
  readonly #server: Server;
  readonly #running: Promise<void>;

  private constructor(
    directory: string,
    server: Server,
    readonly memory: DriverMemory,
    readonly frontend: Frontend,
  ) {
    this.#directory = directory;
    this.#server = server;
    this.#running = server.run();
  }

  static async open(options: VirtualDiskOptions = {}): Promise<VirtualDisk> {
    const { dataPlane = "worker", queueThreads = 1 } = options;
    const directory = Deno.makeTempDirSync({ prefix: "ringside-iommu-" });
    const file = `${directory}/disk.img`;
    Deno.writeFileSync(file, new Uint8Array(DISK_SIZE));
    const given = { "blk-file": file, "num-queues": 2 };
    const device = await block.open(completeOptions(block.options, given));
    const socketPath = `${directory}/disk.sock`;
    const server = await Server.open("disk", device, {
      socketPath,
      dataPlane,
      queueThreads,
      iommu: true,
    });
    const memory = DriverMemory.shared([0, 1].map((i) => ({
      guestAddress: IOVA + i * REGION_SIZE,
      size: REGION_SIZE,
    })));
    const frontend = Frontend.connect(socketPath);
    const disk = new VirtualDisk(directory, server, memory, frontend);
    await disk.#setUp(options);
    return disk;
  }

  /** The bytes of the disk, as its file has them. */
  bytes(offset: number, size: number): Uint8Array {
    const file = Deno.readFileSync(`${this.#directory}/disk.img`);
    return file.slice(offset, offset + size);
  }

  /** Where `iova` is in the front-end. */
  userAddress(iova: number): number {
    for (const region of this.memory.regions) {
      const offset = iova - region.guestAddress;
      if (offset >= 0 && offset < region.size) {
        return region.userAddress + offset;
      }
    }
    throw new RangeError(`0x${iova.toString(16)} is no address of the driver`);
  }

  /** Shares the memory, at other addresses than the driver knows. */
  async share(): Promise<void> {
    const shared = this.memory.regions.map((region, i) => ({
      ...region,
      guestAddress: GUEST_ADDRESSES[i]!,
      fd: region.fd!,
    }));
    const [first, ...others] = shared;
    const all = this.#scattered ? [...scatter(first!), ...others] : shared;
    await this.frontend.setMemTable(all);
  }

  /** Starts ring `index` from `base` on. */
  async start(index: number, base: number): Promise<void> {
    const { ring, kickFd, callFd, errFd } = this.rings[index]!;
    await this.frontend.setVring(index, {
      size: ring.size,
      base,
      descriptor: ring.descriptorArea,
      available: ring.driverArea,
      used: ring.deviceArea,
      kick: kickFd.fd,
      call: callFd.fd,
      err: errFd.fd,
    });
  }

  /** Maps the page that `iova` is in. */
  map(iova: number, permissions = READ | WRITE): Promise<void> {
    const page = iova - iova % PAGE;
    const userAddress = this.userAddress(page);
    return this.frontend.iotlb.update({
      iova: page,
      size: PAGE,
      userAddress,
      permissions,
    });
  }

  /** Resolves once the device has asked for what `wanted` looks for. */
  async missed(wanted: (miss: IotlbMessage) => boolean): Promise<void> {
    await eventually(
      () => this.misses.some(wanted),
      DEADLINE_MS,
      () => `The device asked for ${JSON.stringify(this.misses)}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.frontend[Symbol.dispose]();
    for (const ring of this.rings) ring[Symbol.dispose]();
    await this.#server.stop();
    await this.#running;
    this.memory[Symbol.dispose]();
    Deno.removeSync(this.#directory, { recursive: true });
  }

  async #setUp(options: VirtualDiskOptions): Promise<void> {
    const { packed = false, indirect = false, start = true } = options;
    this.#scattered = options.scattered ?? false;
    const { frontend, memory } = this;
    const offered = await frontend.getFeatures();
    assert((offered & VIRTIO_F_ACCESS_PLATFORM) !== 0n, "it is offered");
    const features = offered & ~(packed ? 0n : VIRTIO_F_RING_PACKED) &
      ~(1n << 35n) & ~(1n << 26n);
    await frontend.negotiate({ features });
    await frontend.listenToBackend({ iotlb: (miss) => this.#answer(miss) });
    await this.share();
    for (let index = 0; index < 2; index++) {
      const ring = openRing(memory, options.queueSize ?? 64, features);
      this.rings.push(new VirtualRing(index, ring, memory, indirect));
      if (start) await this.start(index, ring.config().nextAvail);
    }
  }

  /** As an IOMMU: a mapping on the main socket, or a refusal. */
  #answer(miss: IotlbMessage): void {
    this.misses.push(miss);
    if (!this.answers) return;
    const page = Math.floor(miss.iova / PAGE);
    const permissions = this.allowed.get(page) ?? this.fallback;
    if (permissions === 0) throw new Error("There is no such mapping");
    // Not awaited: the device hears of it on the other socket.
    this.map(miss.iova, permissions).catch(() => {});
  }
}

/** `region` in pieces that are not adjacent in the guest, and its rest. */
function scatter<R extends SharedRegion>(region: R): R[] {
  const size = PIECE_PAGES * PAGE;
  const cut = (from: number, to: number, place: number): R => ({
    ...region,
    guestAddress: region.guestAddress + place,
    userAddress: region.userAddress + from,
    mmapOffset: region.mmapOffset + from,
    size: to - from,
  });
  const pieces = PIECES.map((place, i) =>
    cut(i * size, (i + 1) * size, 2 * place * size)
  );
  const rest = PIECES.length * size;
  return [...pieces, cut(rest, region.size, 2 * rest)];
}
