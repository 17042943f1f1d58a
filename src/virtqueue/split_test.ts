import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { addressOf } from "../ffi/pointer.ts";
import { GuestMemory } from "../memory/guest_memory.ts";
import {
  descriptorAreaSize,
  deviceAreaSize,
  driverAreaSize,
  isQueueSize,
} from "./layout.ts";
import { SplitVirtqueue } from "./split.ts";
import type { VirtqueueConfig } from "./virtqueue.ts";

const BASE = 0x10000;
const TABLE = BASE;
const AVAIL = BASE + 0x100;
const USED = BASE + 0x200;
const DATA = BASE + 0x800;

/** One region at BASE over `buffer`. */
function memoryOf(buffer: ArrayBuffer, generation = 1): GuestMemory {
  return new GuestMemory({
    generation,
    regions: [{
      guestAddress: BASE,
      size: buffer.byteLength,
      userAddress: 0,
      hostAddress: addressOf(buffer),
    }],
  }, [buffer]);
}

function configOf(change: Partial<VirtqueueConfig> = {}): VirtqueueConfig {
  return {
    index: 3,
    size: 4,
    descriptorArea: TABLE,
    driverArea: AVAIL,
    deviceArea: USED,
    nextAvail: 0,
    eventIndex: false,
    indirect: false,
    ...change,
  };
}

/** Publishes head 0, one writable byte at DATA, as available entry `index`. */
function publish(buffer: ArrayBuffer, index: number): void {
  const view = new DataView(buffer);
  view.setUint32(TABLE - BASE, DATA, true);
  view.setUint32(TABLE - BASE + 8, 1, true);
  view.setUint16(TABLE - BASE + 12, 2, true);
  view.setUint16(AVAIL - BASE + 4 + 2 * (index % 4), 0, true);
  view.setUint16(AVAIL - BASE + 2, index + 1, true);
}

function usedIndex(buffer: ArrayBuffer): number {
  return new DataView(buffer).getUint16(USED - BASE + 2, true);
}

describe("SplitVirtqueue", () => {
  it("goes on in memory that moved", () => {
    const before = new ArrayBuffer(0x1000);
    const queue = SplitVirtqueue.open(configOf(), memoryOf(before));
    publish(before, 0);
    assert(queue.pop());
    queue.push(0, 1);
    queue.flush();
    const after = before.slice(0);
    assert(queue.setMemory(memoryOf(after, 2)));
    publish(after, 1);
    assert(queue.pop());
    assert(queue.chain.writer.writeU8(9));
    queue.push(0, 1);
    queue.flush();
    assertEquals([usedIndex(before), usedIndex(after)], [1, 2]);
    assertEquals(new Uint8Array(after)[DATA - BASE], 9);
    assertEquals(new Uint8Array(before)[DATA - BASE], 0);
  });

  it("breaks where it no longer fits, and touches nothing any more", () => {
    const before = new ArrayBuffer(0x1000);
    const queue = SplitVirtqueue.open(configOf(), memoryOf(before));
    const bytes = new Uint8Array(before).slice();
    const none = new GuestMemory({ generation: 2, regions: [] });
    assert(!queue.setMemory(none));
    assertStringIncludes(queue.broken, "The descriptor table of ring 3");
    assert(!queue.pop() && !queue.hasAvailable() && !queue.enableKicks());
    queue.disableKicks();
    assert(!queue.flush());
    assertEquals(new Uint8Array(before), bytes);
    assert(!queue.setMemory(memoryOf(before, 3)), "broken is for good");
  });

  it("keeps its memory while something is in flight or unpublished", () => {
    const buffer = new ArrayBuffer(0x1000);
    const memory = memoryOf(buffer);
    const queue = SplitVirtqueue.open(configOf(), memory);
    publish(buffer, 0);
    assert(queue.pop());
    assertThrows(() => queue.setMemory(memory), Error, "in flight");
    queue.push(0, 1);
    assertThrows(() => queue.setMemory(memory), Error, "unpublished");
    queue.flush();
    assert(queue.setMemory(memory));
  });

  it("reads the used index that is in memory, and writes no 0 there", () => {
    const buffer = new ArrayBuffer(0x1000);
    new DataView(buffer).setUint16(USED - BASE + 2, 65535, true);
    const queue = SplitVirtqueue.open(configOf(), memoryOf(buffer));
    assertEquals(usedIndex(buffer), 65535);
    publish(buffer, 0);
    assert(queue.pop());
    queue.push(0, 1);
    queue.flush();
    assertEquals(usedIndex(buffer), 0);
    const id = new DataView(buffer).getUint32(USED - BASE + 4 + 8 * 3, true);
    const length = new DataView(buffer).getUint32(USED - BASE + 8 + 24, true);
    assertEquals([id, length], [0, 1]);
  });

  it("needs the event fields only where they are negotiated", () => {
    const size = USED - BASE + deviceAreaSize(4, false);
    const memory = memoryOf(new ArrayBuffer(size));
    SplitVirtqueue.open(configOf(), memory);
    assertThrows(
      () => SplitVirtqueue.open(configOf({ eventIndex: true }), memory),
      Error,
      "wanted 38 bytes",
    );
  });

  it("opens over parts that overlap: the driver harms only itself", () => {
    const buffer = new ArrayBuffer(0x1000);
    new Uint8Array(buffer).fill(1);
    const parts = {
      descriptorArea: TABLE,
      driverArea: TABLE,
      deviceArea: TABLE,
    };
    const config = configOf({ ...parts, nextAvail: 0x101 });
    const queue = SplitVirtqueue.open(config, memoryOf(buffer));
    for (let i = 0; i < 100; i++) {
      while (queue.pop()) queue.push(queue.chain.head, 0);
      queue.flush();
      new Uint8Array(buffer)[2] = i;
    }
  });
});

describe("layout", () => {
  it("has the sizes of the specification", () => {
    assertEquals(descriptorAreaSize(256), 4096);
    assertEquals(driverAreaSize(256, true), 518);
    assertEquals(driverAreaSize(256, false), 516);
    assertEquals(deviceAreaSize(256, true), 2054);
    assertEquals(deviceAreaSize(256, false), 2052);
  });

  it("knows the sizes that a ring can have", () => {
    for (let bit = 0; bit <= 15; bit++) assert(isQueueSize(1 << bit));
    for (const size of [0, -1, 3, 12, 65536, 0.5, NaN, 2 ** 32]) {
      assert(!isQueueSize(size));
    }
  });
});
