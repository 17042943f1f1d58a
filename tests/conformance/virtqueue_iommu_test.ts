/**
 * Rings behind an IOMMU, all of whose pages are apart in the guest.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { DirtyLog, logSizeFor } from "../../src/memory/dirty_log.ts";
import type { IovaMemory } from "../../src/memory/iova_memory.ts";
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_RING_PACKED,
} from "../../src/device/features.ts";
import { DriverMemory, openRing } from "../../src/testing/mod.ts";
import type { RingDriver } from "../../src/testing/mod.ts";
import { openVirtqueue, type Virtqueue } from "../../src/virtqueue/mod.ts";
import { takeUsed, writable } from "./ring_rig.ts";
import {
  scatteredMemory,
  type ScatteredPage,
  scatteredPages,
} from "./scattered_memory.ts";

const PAGE = 4096;
const SIZE = 1 << 20;
const START = 0x40_0000;
const ENTRIES = 1024;

/** A ring of 1024 entries in pages that are apart, its driver and its log. */
class Scene implements Disposable {
  readonly memory: DriverMemory;
  readonly pages: ScatteredPage[];
  readonly guest: IovaMemory;
  readonly driver: RingDriver;
  readonly queue: Virtqueue;
  readonly #bits = new Uint8Array(logSizeFor(4 * SIZE));

  constructor(features: bigint) {
    this.memory = DriverMemory.shared([{ guestAddress: START, size: SIZE }]);
    this.pages = scatteredPages(this.memory);
    const size = this.#bits.length;
    const log = new DirtyLog(
      { address: 0, size, eventFd: -1 },
      this.#bits.buffer,
    );
    this.guest = scatteredMemory(this.pages, log);
    this.driver = openRing(this.memory, ENTRIES, features);
    const config = { ...this.driver.config(), usedLog: START };
    this.queue = openVirtqueue(config, this.guest);
  }

  /** Serves all there is: byte `i` of a chain becomes `salt + i`. */
  serve(salt: number): void {
    while (this.queue.pop()) {
      const { head, writer } = this.queue.chain;
      const size = writer.size;
      for (let i = 0; i < size; i++) writer.writeU8((salt + i) & 0xff);
      this.queue.push(head, size);
    }
    this.queue.flush();
  }

  /** Which of the driver's pages are in the log; takes them out of it. */
  takeLogged(): Set<number> {
    const logged = new Set<number>();
    for (const [i, { guestAddress }] of this.pages.entries()) {
      const page = guestAddress / PAGE;
      if ((this.#bits[page >>> 3]! & (1 << (page & 7))) !== 0) logged.add(i);
    }
    const marks = this.#bits.reduce((sum, byte) => sum + bitsOf(byte), 0);
    assertEquals(marks, logged.size, "nothing is logged but what is there");
    this.#bits.fill(0);
    return logged;
  }

  /** The driver's pages as they are. */
  snapshot(): Uint8Array[] {
    return this.pages.map(({ iova }) => this.memory.read(iova, PAGE));
  }

  [Symbol.dispose](): void {
    this.guest.release();
    this.memory[Symbol.dispose]();
  }
}

function bitsOf(byte: number): number {
  return byte.toString(2).replaceAll("0", "").length;
}

for (const packed of [false, true]) {
  const features = VIRTIO_F_EVENT_IDX | (packed ? VIRTIO_F_RING_PACKED : 0n);
  describe(`virtqueue behind an IOMMU, ${packed ? "packed" : "split"}`, () => {
    it("a ring of 1024 entries in pages that are apart goes round", () => {
      using scene = new Scene(features);
      const { driver, memory } = scene;
      const at = memory.allocate(3 * PAGE, 1);
      for (let lap = 0; lap < 5; lap++) {
        for (let i = 0; i < 700; i++) driver.add([writable(at + 7 * i, 7)]);
        driver.publish();
        scene.serve(lap);
        const used = takeUsed(driver);
        assertEquals(used.length, 700);
        assert(used.every(({ written }) => written === 7));
        const one = Uint8Array.from({ length: 7 }, (_, i) => lap + i);
        assertEquals(memory.read(at + 7 * 699, 7), one);
      }
    });

    it("what the ring writes is logged where it is in the guest", () => {
      using scene = new Scene(features);
      const { driver, memory } = scene;
      const at = memory.allocate(8 * PAGE, PAGE);
      const first = (at - START) / PAGE;
      scene.takeLogged();
      for (let lap = 0; lap < 3; lap++) {
        for (let i = 0; i < 900; i++) driver.add([writable(at + 3 * i, 3)]);
        driver.publish();
        const published = scene.snapshot();
        scene.serve(lap);
        scene.queue.enableKicks();
        const now = scene.snapshot();
        const logged = scene.takeLogged();
        for (const [i, page] of now.entries()) {
          const isChanged = page.some((byte, j) => byte !== published[i]![j]);
          assert(!isChanged || logged.has(i), `page ${i} is not logged`);
        }
        assert(logged.has(first) && !logged.has(first + 2));
        // Several pages of the ring itself, and by far not all there are.
        assert(logged.size > 2 && logged.size < 16, `${[...logged]}`);
        assertEquals(takeUsed(driver).length, 900);
      }
    });

    it("a ring that has lost a page breaks, and touches nothing", () => {
      using scene = new Scene(features);
      const { driver, queue, pages } = scene;
      const page = Math.floor((driver.descriptorArea - START) / PAGE) + 2;
      const left = pages.filter((_, i) => i !== page);
      const guest = scatteredMemory(left);
      driver.add([writable(scene.memory.allocate(64, 1), 64)]);
      driver.publish();
      assertEquals(queue.setMemory(guest), false);
      assertMatch(queue.broken, /is at 0x\w+, wanted 16384 bytes/);
      scene.guest.release();
      const before = scene.snapshot();
      assertEquals([queue.pop(), queue.hasAvailable()], [false, false]);
      queue.disableKicks();
      assertEquals([queue.enableKicks(), queue.flush()], [false, false]);
      assertEquals(scene.snapshot(), before);
    });
  });
}
