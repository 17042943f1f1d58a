/**
 * A pretended guest that outlives its back-ends: it keeps its memory, its rings
 * and the record of its requests in flight, and looks closely at what each of
 * them gives back.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { EventFd } from "../../../src/io/event_fd.ts";
import { Reactor } from "../../../src/io/reactor.ts";
import {
  BLOCK_REQUEST,
  blockHeader,
} from "../../../src/testing/block_driver.ts";
import { DriverMemory } from "../../../src/testing/driver_memory.ts";
import type { Prng } from "../../../src/testing/prng.ts";
import { openRing } from "../../../src/testing/open_ring.ts";
import type { RingDriver } from "../../../src/testing/ring_driver.ts";
import { Frontend } from "../../../src/vhost_user/frontend.ts";
import type { InflightBuffer } from "../../../src/vhost_user/frontend_inflight.ts";
import {
  protocolBits,
  VHOST_USER_PROTOCOL_F,
} from "../../../src/vhost_user/protocol.ts";
import { withDeadline } from "../../vm/deadline.ts";
import { assertBytes, PATIENCE_MS } from "./hostile_target.ts";

const F = VHOST_USER_PROTOCOL_F;
const PROTOCOL_FEATURES = protocolBits([F.MQ, F.REPLY_ACK, F.INFLIGHT_SHMFD]);
const HEADER_SIZE = 16;
/** A request is so many sectors at most. */
const SECTORS_MAX = 16;
const SECTOR_SIZE = 512;
/** No status that a device gives. */
const NO_STATUS = 0xee;

/** How a {@linkcode Survivor} is. */
export interface SurvivorOptions {
  /** Virtio features to accept, as far as they are offered. */
  readonly features: bigint;
  /** Rings. */
  readonly queueCount: number;
  /** Entries of each. */
  readonly queueSize: number;
  /** Requests in flight on each ring. */
  readonly depth: number;
  /** Sectors of the disk that each request in flight has for itself. */
  readonly span: number;
}

/** One request at a time, with buffers and a part of the disk of its own. */
interface Slot {
  readonly header: number;
  readonly data: number;
  readonly status: number;
  /** The first sector of its part. */
  readonly start: number;
  /** What is on its part of the disk, as far as it was answered. */
  readonly known: Uint8Array<ArrayBuffer>;
  /** What it is about, null while it is idle. */
  request: Request | null;
}

interface Request {
  readonly type: number;
  /** Bytes from the start of the part. */
  readonly at: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

interface SurvivorRing {
  readonly ring: RingDriver;
  readonly kick: EventFd;
  readonly call: EventFd;
  /** By what identifies a request on the ring. */
  readonly inFlight: Map<number, Slot>;
  readonly idle: Slot[];
}

/** A guest that works on a disk, whoever serves it. */
export class Survivor implements Disposable {
  /** Requests that were answered. */
  answered = 0;
  readonly #options: SurvivorOptions;
  readonly #prng: Prng;
  readonly #memory: DriverMemory;
  #rings: SurvivorRing[] = [];
  #features = 0n;
  #frontend: Frontend | null = null;
  #inflight: InflightBuffer | null = null;

  /** A guest with nothing on its disk but zeros. */
  constructor(options: SurvivorOptions, prng: Prng) {
    this.#options = options;
    this.#prng = prng;
    this.#memory = DriverMemory.shared(64 << 20);
  }

  /** Sectors of the disk that it works on. */
  get sectors(): number {
    const { queueCount, depth, span } = this.#options;
    return queueCount * depth * span;
  }

  /** Whether the rings are packed. */
  get isPacked(): boolean {
    return (this.#features & (1n << 34n)) !== 0n;
  }

  /** Connects to the back-end at `path` and hands over what was in flight. */
  async connect(path: string): Promise<void> {
    const frontend = Frontend.connect(path);
    this.#frontend = frontend;
    const { queueCount, queueSize } = this.#options;
    const { features } = await frontend.negotiate({
      features: this.#options.features,
      protocolFeatures: PROTOCOL_FEATURES,
    });
    this.#features = features;
    if (this.#inflight === null) {
      this.#inflight = await frontend.inflight.getFd(queueCount, queueSize);
      assert(this.#inflight !== null, "The back-end tracks nothing in flight");
      for (let i = 0; i < queueCount; i++) this.#rings.push(this.#newRing());
    }
    await frontend.inflight.setFd(this.#inflight);
    await frontend.setMemTable(
      this.#memory.regions.map((region) => ({ ...region, fd: region.fd! })),
    );
    for (const [index, { ring, kick, call }] of this.#rings.entries()) {
      await frontend.setVring(index, {
        size: ring.size,
        // Known by nobody who is alive. The record knows better.
        base: ring.config(index).nextAvail,
        descriptor: this.#userAddress(ring.descriptorArea),
        available: this.#userAddress(ring.driverArea),
        used: this.#userAddress(ring.deviceArea),
        kick: kick.fd,
        call: call.fd,
      });
      // Those that the last back-end was kicked for and did not see.
      kick.signal();
    }
  }

  /** The back-end is gone. */
  disconnect(): void {
    this.#frontend?.[Symbol.dispose]();
    this.#frontend = null;
  }

  /** Works until `count` more requests were answered. */
  async work(count: number): Promise<void> {
    const until = this.answered + count;
    while (this.answered < until) await this.#turn(true);
  }

  /** Waits until everything was answered, and stops the rings. */
  async finish(): Promise<void> {
    const isBusy = ({ inFlight }: SurvivorRing) => inFlight.size > 0;
    while (this.#rings.some(isBusy)) await this.#turn(false);
    for (const [index, { ring }] of this.#rings.entries()) {
      const base = await this.#frontend!.getVringBase(index);
      if (!this.isPacked) assertEquals(base, ring.config(index).nextAvail);
    }
  }

  /**
   * Compares the disk with what was answered. A part on which a write is in
   * flight may hold either, sector by sector.
   */
  compare(disk: Uint8Array): void {
    for (const { inFlight, idle } of this.#rings) {
      for (const slot of [...idle, ...inFlight.values()]) {
        const at = slot.start * SECTOR_SIZE;
        const found = disk.subarray(at, at + slot.known.length);
        const expected = slot.known.slice();
        const { request } = slot;
        if (request !== null && request.type === BLOCK_REQUEST.OUT) {
          const end = request.at + request.bytes.length;
          for (let from = request.at; from < end; from += SECTOR_SIZE) {
            const offset = from - request.at;
            const written = request.bytes.subarray(
              offset,
              offset + SECTOR_SIZE,
            );
            const there = found.subarray(from, from + SECTOR_SIZE);
            if (equal(there, written)) expected.set(written, from);
          }
        }
        assertBytes(found, expected, `The disk from sector ${slot.start} on`);
      }
    }
  }

  [Symbol.dispose](): void {
    this.disconnect();
    for (const { kick, call } of this.#rings) {
      Reactor.main.cancel(call.fd.number);
      kick[Symbol.dispose]();
      call[Symbol.dispose]();
    }
    this.#inflight?.[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }

  #newRing(): SurvivorRing {
    const { queueSize, depth, span } = this.#options;
    const memory = this.#memory;
    const first = this.#rings.length * depth;
    return {
      ring: openRing(memory, queueSize, this.#features),
      kick: EventFd.open(),
      call: EventFd.open(),
      inFlight: new Map(),
      idle: Array.from({ length: depth }, (_, i) => ({
        header: memory.allocate(HEADER_SIZE),
        data: memory.allocate(SECTORS_MAX * SECTOR_SIZE, 512),
        status: memory.allocate(1, 1),
        start: (first + i) * span,
        known: new Uint8Array(span * SECTOR_SIZE),
        request: null,
      })),
    };
  }

  /** Takes back what there is and, where asked to, submits as much. */
  async #turn(submits: boolean): Promise<void> {
    let moved = 0;
    for (const each of this.#rings) {
      moved += this.#take(each);
      if (submits) this.#submit(each);
    }
    if (moved > 0) return;
    const waiting = this.#rings.filter(({ inFlight }) => inFlight.size > 0);
    for (const { ring } of waiting) if (ring.armInterrupt()) return;
    await withDeadline(
      Promise.race(waiting.map(({ call }) => this.#called(call))),
      PATIENCE_MS,
    ).catch((error) => {
      const lost = waiting.map(({ inFlight }) => inFlight.size);
      throw new Error(`Requests are lost, ${lost} by ring: ${error.message}`);
    });
  }

  async #called(call: EventFd): Promise<void> {
    await Reactor.main.readable(call.fd.number).catch(() => {});
    call.clear();
  }

  #submit({ ring, kick, idle, inFlight }: SurvivorRing): void {
    // The order in which parts of the disk come up is not always the same.
    while (idle.length > 0) {
      const [slot] = idle.splice(this.#prng.below(idle.length), 1);
      slot!.request = this.#newRequest(slot!);
      const head = this.#add(ring, slot!);
      assert(!inFlight.has(head), `${head} is in flight twice`);
      inFlight.set(head, slot!);
      if (this.#prng.oneIn(3) && ring.publish()) kick.signal();
    }
    if (ring.publish()) kick.signal();
  }

  #newRequest(slot: Slot): Request {
    const prng = this.#prng;
    if (prng.oneIn(20)) {
      return { type: BLOCK_REQUEST.FLUSH, at: 0, bytes: new Uint8Array(0) };
    }
    const { span } = this.#options;
    const sectors = 1 + prng.below(Math.min(span, SECTORS_MAX));
    const at = SECTOR_SIZE * prng.below(span - sectors + 1);
    const bytes = new Uint8Array(sectors * SECTOR_SIZE);
    if (prng.oneIn(4)) return { type: BLOCK_REQUEST.IN, at, bytes };
    const words = new Uint32Array(bytes.buffer);
    const value = prng.next();
    for (let i = 0; i < words.length; i++) words[i] = value + i + slot.start;
    return { type: BLOCK_REQUEST.OUT, at, bytes };
  }

  #add(ring: RingDriver, slot: Slot): number {
    const { type, at, bytes } = slot.request!;
    const memory = this.#memory;
    const sector = slot.start + at / SECTOR_SIZE;
    memory.write(slot.header, blockHeader(type, sector));
    memory.write(slot.status, Uint8Array.of(NO_STATUS));
    const reads = type === BLOCK_REQUEST.IN;
    if (reads) memory.write(slot.data, new Uint8Array(bytes.length).fill(0xa5));
    else memory.write(slot.data, bytes);
    const data = { address: slot.data, size: bytes.length, writable: reads };
    return ring.add([
      { address: slot.header, size: HEADER_SIZE, writable: false },
      ...(bytes.length > 0 ? [data] : []),
      { address: slot.status, size: 1, writable: true },
    ], { indirect: this.#prng.oneIn(2) });
  }

  #take({ ring, idle, inFlight }: SurvivorRing): number {
    let count = 0;
    for (let used; (used = ring.nextUsed()) !== null; count++) {
      const slot = inFlight.get(used.head);
      assert(slot !== undefined, `${used.head} was given back twice`);
      inFlight.delete(used.head);
      this.#check(slot);
      slot.request = null;
      idle.push(slot);
      this.answered++;
    }
    return count;
  }

  #check(slot: Slot): void {
    const { type, at, bytes } = slot.request!;
    const [status] = this.#memory.read(slot.status, 1);
    const what = `Request ${type} at sector ${slot.start} + ${at} bytes`;
    assertEquals(status, 0, what);
    if (type === BLOCK_REQUEST.OUT) slot.known.set(bytes, at);
    if (type !== BLOCK_REQUEST.IN) return;
    const read = this.#memory.read(slot.data, bytes.length);
    assertBytes(read, slot.known.subarray(at, at + bytes.length), what);
  }

  #userAddress(guestAddress: number): number {
    const { guestAddress: start, userAddress } = this.#memory.regions[0]!;
    return guestAddress - start + userAddress;
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, i) => byte === b[i]);
}
