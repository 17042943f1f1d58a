/**
 * A front-end against a session over a socket pair, with a back-end that only
 * writes down what it is told. Whatever a test does, afterwards no descriptor
 * and no mapping may be left: that is checked here for all of them.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ProtocolError } from "../../src/errors.ts";
import { EventFd } from "../../src/io/event_fd.ts";
import type { Fd } from "../../src/io/fd.ts";
import { createMemfd } from "../../src/io/memfd.ts";
import { Reactor } from "../../src/io/reactor.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import { setLogLevel } from "../../src/log.ts";
import type { MemoryLayout } from "../../src/memory/guest_memory.ts";
import type { Backend, VringStart } from "../../src/vhost_user/backend.ts";
import {
  Frontend,
  NackError,
  type SharedRegion,
} from "../../src/vhost_user/frontend.ts";
import {
  u64,
  type VringAddress,
  vringFd,
  vringState,
} from "../../src/vhost_user/message.ts";
import { VHOST_F_LOG_ALL, VHOST_USER } from "../../src/vhost_user/protocol.ts";
import { Session, type SessionEnd } from "../../src/vhost_user/session.ts";

// Refusals are what these tests are about.
setLogLevel("error");

export const VERSION_1 = 1n << 32n;
export const RING_FEATURES = (1n << 28n) | (1n << 29n);

/** Where the test's memory is seen by the guest and by the front-end. */
export const GUEST_ADDRESS = 0x10_0000;
export const USER_ADDRESS = 0x7f00_0000_0000;
export const MEMORY_SIZE = 0x10_0000;

interface FakeRing {
  start: VringStart;
  enabled: boolean;
}

/** Writes down what a session asks for, and insists that it makes sense. */
export class FakeBackend implements Backend {
  features = VERSION_1;
  queueCount = 4;
  queueSizeMax = 1024;
  resubmits = false;
  inBand = false;
  /** What was called, in words. */
  readonly calls: string[] = [];
  /** The rings that are started. */
  readonly rings = new Map<number, FakeRing>();
  /** Where a ring will be when it is stopped: entries done since its base. */
  readonly done = new Map<number, number>();
  /** Calls that fail. */
  readonly failing = new Set<string>();
  /** The last layout. */
  layout: MemoryLayout = { generation: 0, regions: [] };
  /** Awaited before a ring is stopped: requests in flight. */
  draining: Promise<void> = Promise.resolve();
  /** Run within setMemory, before it resolves. */
  onMemory: (layout: MemoryLayout) => void = () => {};
  /** The config space: 64 bytes of which the first 4 can be written. */
  readonly config: Uint8Array = Uint8Array.from({ length: 64 }, (_, i) => i);
  notify: (() => void) | null = null;
  readonly #awaited = new Map<string, () => void>();

  setFeatures(features: bigint): Promise<void> {
    return this.#call(`setFeatures 0x${features.toString(16)}`);
  }

  async setMemory(layout: MemoryLayout): Promise<void> {
    const logged = layout.log ? " logged" : "";
    await this.#call(`setMemory ${layout.regions.length}${logged}`);
    assert(layout.generation >= this.layout.generation, "generations grow");
    this.onMemory(layout);
    this.layout = layout;
  }

  async startVring(index: number, start: VringStart): Promise<void> {
    await this.#call(`startVring ${index}`);
    assert(!this.rings.has(index), "a started ring was started");
    this.rings.set(index, { start, enabled: start.enabled });
  }

  async stopVring(index: number): Promise<number> {
    await this.#call(`stopVring ${index}`);
    await this.draining;
    const { base } = this.#ring(index).start;
    this.rings.delete(index);
    const done = this.done.get(index) ?? 0;
    // The base of a packed ring has 32 bits.
    return done === 0 ? base : (base + done) & 0xffff;
  }

  async enableVring(index: number, enabled: boolean): Promise<void> {
    await this.#call(`enableVring ${index} ${enabled}`);
    this.#ring(index).enabled = enabled;
  }

  async setCall(index: number, fd: number): Promise<void> {
    await this.#call(`setCall ${index}`);
    this.#ring(index).start.callFd = fd;
  }

  async setErr(index: number, fd: number): Promise<void> {
    await this.#call(`setErr ${index}`);
    this.#ring(index).start.errFd = fd;
  }

  async setUsedLog(index: number, address: number): Promise<void> {
    await this.#call(`setUsedLog ${index} ${address}`);
    this.#ring(index).start.usedLog = address;
  }

  getConfig(offset: number, size: number): Uint8Array | null {
    if (offset + size > 256) return null;
    const bytes = new Uint8Array(size);
    bytes.set(this.config.subarray(offset, offset + size));
    return bytes;
  }

  async setConfig(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#call(`setConfig ${offset} ${bytes.length}`);
    if (offset + bytes.length > 4) throw new ProtocolError("Read-only");
    this.config.set(bytes, offset);
  }

  async reset(): Promise<void> {
    await this.#call("reset");
    assertEquals(this.rings.size, 0, "a device is reset while rings run");
  }

  onConfigChange(send: (() => void) | null): void {
    this.notify = send;
  }

  /** Resolves when `words` is called from now on. */
  when(words: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#awaited.set(words, resolve);
    return promise;
  }

  #call(words: string): Promise<void> {
    this.calls.push(words);
    this.#awaited.get(words)?.();
    if (this.failing.has(words.split(" ")[0]!)) {
      return Promise.reject(new Error(`The back-end failed ${words}`));
    }
    return Promise.resolve();
  }

  #ring(index: number): FakeRing {
    const ring = this.rings.get(index);
    assert(ring !== undefined, `ring ${index} is not started`);
    return ring;
  }
}

/** A session and who talks to it. */
export class Stage {
  readonly backend = new FakeBackend();
  readonly reactor = new Reactor();
  readonly frontend: Frontend;
  readonly session: Session;
  /** How the session ended. */
  readonly ended: Promise<SessionEnd>;
  /** Mappings that may be left in the end. */
  mappingsLeft = 0;
  readonly #memoryName = `session-test-${crypto.randomUUID()}`;
  readonly #own: Disposable[] = [];

  constructor(prepare: (backend: FakeBackend) => void = () => {}) {
    prepare(this.backend);
    const [ours, theirs] = UnixSocket.pair();
    this.session = new Session(ours, this.backend, this.reactor);
    this.frontend = Frontend.fromSocket(theirs, this.reactor);
    this.ended = this.session.run();
  }

  /** Has `resource` closed when the test is over. */
  own<T extends Disposable>(resource: T): T {
    this.#own.push(resource);
    return resource;
  }

  /** A memfd of the test's. */
  memfd(size = MEMORY_SIZE): Fd {
    return this.own(createMemfd(this.#memoryName, size));
  }

  /** An eventfd of the test's. */
  eventFd(): Fd {
    return this.own(EventFd.open()).fd;
  }

  /** The region that `shareMemory` shares, shifted by `shift` bytes. */
  region(shift = 0, fd: Fd = this.memfd()): SharedRegion {
    return {
      guestAddress: GUEST_ADDRESS + shift,
      size: MEMORY_SIZE,
      userAddress: USER_ADDRESS + shift,
      mmapOffset: 0,
      fd,
    };
  }

  /** Negotiates everything and shares a MiB of memory. */
  async ready(): Promise<void> {
    await this.frontend.negotiate();
    await this.frontend.setMemTable([this.region()]);
  }

  /** Sets up, starts and enables vring `index`. */
  async startRing(index: number, base = 0): Promise<void> {
    await this.frontend.setVring(index, {
      ...ringAddress(index),
      size: 256,
      base,
      kick: this.eventFd(),
      call: this.eventFd(),
      err: this.eventFd(),
    });
  }

  /** `work` is refused by a NACK, and the session lives on. */
  async refused(work: Promise<unknown>): Promise<void> {
    await assertRejects(() => work, NackError);
    await this.alive();
  }

  /** The session still answers. */
  async alive(): Promise<void> {
    const expected = this.backend.features | (1n << 30n) | VHOST_F_LOG_ALL;
    assertEquals(await this.frontend.getFeatures(), expected);
  }

  /** The session has ended because the protocol was broken; its reason. */
  async broken(): Promise<string> {
    const end = await this.ended;
    assertEquals(end.kind, "protocol", end.reason);
    assertEquals(await this.frontend.receive(), null);
    return end.reason;
  }

  /** How many mappings of this stage's memory the process has. */
  mappings(): number {
    return Deno.readTextFileSync("/proc/self/maps").split("\n")
      .filter((line) => line.includes(this.#memoryName)).length;
  }

  async close(): Promise<void> {
    this.frontend[Symbol.dispose]();
    await this.session.stop();
    await this.ended;
    await this.reactor[Symbol.asyncDispose]();
    for (const resource of this.#own) resource[Symbol.dispose]();
    assertEquals(this.backend.rings.size, 0, "a ring runs after the session");
    assertEquals(this.backend.layout.regions, [], "memory is still in use");
    assertEquals(this.backend.notify, null);
  }
}

/** Runs `body` on a stage and counts what is left afterwards. */
export async function withStage(
  body: (stage: Stage) => Promise<void>,
  prepare?: (backend: FakeBackend) => void,
): Promise<void> {
  const before = openFds();
  const stage = new Stage(prepare);
  try {
    await body(stage);
  } finally {
    await stage.close();
  }
  assertEquals(openFds(), before, "descriptors are left");
  assertEquals(stage.mappings(), stage.mappingsLeft, "mappings are left");
}

/** Registers a test on a stage. */
export function stageTest(
  name: string,
  body: (stage: Stage) => Promise<void>,
  prepare?: (backend: FakeBackend) => void,
): void {
  Deno.test(name, () => withStage(body, prepare));
}

/** What the descriptors of this process are open on. */
export function openFds(): string[] {
  const links: string[] = [];
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      links.push(`${name} ${Deno.readLinkSync(`/proc/self/fd/${name}`)}`);
    } catch {
      // The listing itself was open, and is not any more.
    }
  }
  return links.sort();
}

/** A place in the memory for the areas of vring `index`. */
export function ringAddress(
  index: number,
): Pick<VringAddress, "descriptor" | "available" | "used"> {
  const start = USER_ADDRESS + index * 0x1_0000;
  return {
    descriptor: start,
    available: start + 0x4000,
    used: start + 0x8000,
  };
}

/** The whole SET_VRING_ADDR of vring `index`. */
export function fullAddress(index: number): VringAddress {
  return { index, flags: 0, log: 0, ...ringAddress(index) };
}

/** Every message that names a vring, with a payload for `index`. */
export function vringMessages(
  index: number,
): [name: string, request: number, payload: Uint8Array][] {
  const state = (num: number) => vringState.encode({ index, num });
  const noFd = vringFd.encode({ index: BigInt(index), noFd: true });
  const address = new Uint8Array(40);
  new DataView(address.buffer).setUint32(0, index, true);
  return [
    ["SET_VRING_NUM", VHOST_USER.SET_VRING_NUM, state(256)],
    ["SET_VRING_ADDR", VHOST_USER.SET_VRING_ADDR, address],
    ["SET_VRING_BASE", VHOST_USER.SET_VRING_BASE, state(0)],
    ["GET_VRING_BASE", VHOST_USER.GET_VRING_BASE, state(0)],
    ["SET_VRING_KICK", VHOST_USER.SET_VRING_KICK, noFd],
    ["SET_VRING_CALL", VHOST_USER.SET_VRING_CALL, noFd],
    ["SET_VRING_ERR", VHOST_USER.SET_VRING_ERR, noFd],
    ["SET_VRING_ENABLE", VHOST_USER.SET_VRING_ENABLE, state(1)],
  ];
}

/** The bytes of a 64-bit payload. */
export function number64(value: bigint): Uint8Array {
  return u64.encode({ value });
}

export { VHOST_F_LOG_ALL };
