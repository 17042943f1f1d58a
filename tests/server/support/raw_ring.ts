/**
 * A ring to be misused: requests by hand, in any shape.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { Reactor } from "../../../src/io/reactor.ts";
import type {
  BlockConnection,
  ConnectedRing,
} from "../../../src/testing/block_connection.ts";
import {
  BLOCK_STATUS,
  blockHeader,
} from "../../../src/testing/block_driver.ts";
import type {
  AddOptions,
  DriverSegment,
  UsedChain,
} from "../../../src/testing/ring_driver.ts";
import {
  asSplit,
  type SplitDriver,
} from "../../../src/testing/split_driver.ts";
import {
  DESCRIPTOR_SIZE,
  VIRTQ_DESC_F_NEXT,
} from "../../../src/virtqueue/layout.ts";
import { withDeadline } from "../../vm/deadline.ts";
import {
  assertBytes,
  BLOCK_SIZE,
  blockOf,
  PATIENCE_MS,
  sectorOf,
  type Target,
} from "./hostile_target.ts";

/** A status that no device writes. */
export const UNTOUCHED = 0xff;

/** The three parts of a usual read, each with memory of its own. */
export interface ReadRequest {
  readonly header: DriverSegment;
  readonly data: DriverSegment;
  readonly status: DriverSegment;
}

/** The first ring of a connection, with requests made by hand. */
export class RawRing {
  /** Its connection. */
  readonly disk: BlockConnection;
  /** Its memory. */
  readonly ring: SplitDriver;
  readonly #connected: ConnectedRing;

  constructor(disk: BlockConnection, index = 0) {
    this.disk = disk;
    this.#connected = disk.rings[index]!;
    this.ring = asSplit(this.#connected.ring);
  }

  /** A header in memory of its own. */
  header(type: number, sector: number | bigint): DriverSegment {
    const bytes = blockHeader(type, sector);
    const address = this.disk.memory.allocate(bytes.length, 16, 0);
    this.disk.memory.write(address, bytes);
    return { address, size: bytes.length, writable: false };
  }

  /** Bytes of its own for the device to write, not written yet. */
  room(size: number, region = 0): DriverSegment {
    const address = this.disk.memory.allocate(
      size,
      Math.min(size, 512),
      region,
    );
    this.disk.memory.write(address, new Uint8Array(size).fill(UNTOUCHED));
    return { address, size, writable: true };
  }

  /** Bytes of its own for the device to read. */
  bytes(bytes: Uint8Array, region = 0): DriverSegment {
    const { address, size } = this.room(bytes.length, region);
    this.disk.memory.write(Number(address), bytes);
    return { address, size, writable: false };
  }

  /** The parts of a read of block `index`. */
  read(index: number, region = 0): ReadRequest {
    return {
      header: this.header(0, sectorOf(index)),
      data: this.room(BLOCK_SIZE, region),
      status: this.room(1),
    };
  }

  /** The first byte of `segment` now. */
  byteOf(segment: DriverSegment): number {
    return this.disk.memory.read(Number(segment.address), 1)[0]!;
  }

  /** Publishes what is staged, and kicks whether that is asked for or not. */
  publish(): void {
    this.ring.publish();
    this.kick();
  }

  /** Kicks. */
  kick(): void {
    this.#connected.kick.signal();
  }

  /** Sends `segments` as one chain and takes it back. */
  async send(
    segments: readonly DriverSegment[],
    options: AddOptions = {},
  ): Promise<UsedChain> {
    const head = this.ring.add(segments, options);
    this.publish();
    const used = await this.take();
    assertEquals(used.head, head);
    return used;
  }

  /** The descriptors of the direct chain at `head`, as they are in memory. */
  descriptors(head: number): number[] {
    const indexes = [head];
    for (;;) {
      const at = this.ring.descriptorArea + DESCRIPTOR_SIZE * indexes.at(-1)!;
      const [view, offset] = this.disk.memory.view(at);
      if ((view.getUint16(offset + 12, true) & VIRTQ_DESC_F_NEXT) === 0) {
        return indexes;
      }
      indexes.push(view.getUint16(offset + 14, true));
    }
  }

  /**
   * Sends a read of block 0 whose descriptors (header, data, status) `spoil`
   * changed, and takes it back.
   */
  async sendSpoilt(
    spoil: (indexes: readonly number[], request: ReadRequest) => void,
  ): Promise<UsedChain & { request: ReadRequest }> {
    const request = this.read(0);
    const head = this.ring.add([request.header, request.data, request.status]);
    spoil(this.descriptors(head), request);
    this.publish();
    const used = await this.take();
    assertEquals(used.head, head);
    return { ...used, request };
  }

  /** A good read on this ring: it goes on. */
  async goesOn(): Promise<void> {
    const { header, data, status } = this.read(1);
    const { written } = await this.send([header, data, status]);
    assertEquals(written, BLOCK_SIZE + 1);
    assertEquals(this.byteOf(status), BLOCK_STATUS.OK);
    const address = Number(data.address);
    const read = this.disk.memory.read(address, BLOCK_SIZE);
    assertBytes(read, blockOf(1), "Block 1");
  }

  /** The device says that this ring is broken, and the log why. */
  async breaks(target: Target, reason: RegExp): Promise<void> {
    const { err, index } = this.#connected;
    await withDeadline(Reactor.main.readable(err.fd.number), PATIENCE_MS);
    assert(err.clear());
    await target.says(
      new RegExp(`Ring ${index} is broken: .*${reason.source}`),
    );
  }

  /** A ring that is broken can be stopped, mended and started again. */
  async recovers(): Promise<void> {
    const { index } = this.#connected;
    const base = await this.disk.frontend.getVringBase(index);
    assertEquals(base, this.ring.usedIndex, "Chains are lost");
    this.ring.rawAvailableIndex(base);
    await this.disk.restart(index, base);
    await this.goesOn();
  }

  /** The next chain that the device gives back. */
  take(): Promise<UsedChain> {
    const { call } = this.#connected;
    const taken = async () => {
      for (;;) {
        const used = this.ring.nextUsed();
        if (used !== null) return used;
        if (this.ring.armInterrupt()) continue;
        await Reactor.main.readable(call.fd.number);
        call.clear();
      }
    };
    return withDeadline(taken(), PATIENCE_MS);
  }
}
