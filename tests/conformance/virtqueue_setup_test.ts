/**
 * Setting rings up and restoring them: items 1 to 7.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { GuestError } from "../../src/errors.ts";
import { GuestMemory, type VirtqueueConfig } from "../../src/virtqueue/mod.ts";
import {
  open,
  type RawDriver,
  type Rig,
  RING_KINDS,
  takeUsed,
  writable,
} from "./ring_rig.ts";

for (const kind of RING_KINDS) {
  const refused = (
    rig: Rig<RawDriver>,
    change: Partial<VirtqueueConfig>,
    says: string,
  ) => {
    const config = { ...rig.driver.config(), ...change };
    const error = assertThrows(() => open(config, rig.guest), GuestError);
    assertStringIncludes(error.message, says);
  };

  describe(`virtqueue set-up, ${kind.name}`, () => {
    it("[C01] an impossible size is refused, the ring that runs goes on", () => {
      const rig = kind.make();
      for (const size of kind.badSizes) {
        refused(rig, { size }, `has ${size} entries`);
      }
      assertEquals(rig.queue.size, 8);
      serveOne(rig);
    });

    it("[C02] a misaligned part of a ring is refused", () => {
      const rig = kind.make();
      const { descriptorArea, driverArea, deviceArea } = rig.driver.config();
      const [ofDescriptors, ofDriver, ofDevice] = kind.alignments;
      const wanted = (alignment: number) => `wanted a multiple of ${alignment}`;
      const off = { descriptorArea: descriptorArea + ofDescriptors / 2 };
      refused(rig, off, wanted(ofDescriptors));
      const driverOff = { driverArea: driverArea + ofDriver / 2 };
      refused(rig, driverOff, wanted(ofDriver));
      const deviceOff = { deviceArea: deviceArea + ofDevice / 2 };
      refused(rig, deviceOff, wanted(ofDevice));
    });

    it("[C02] a region that makes an aligned address odd here is refused", () => {
      const rig = kind.make();
      const size = 1 << 20;
      const region = { size, userAddress: 0, hostAddress: 0 };
      const odd = new GuestMemory({
        generation: 1,
        regions: [{ ...region, guestAddress: 0xfff8 }],
      }, [new ArrayBuffer(size)]);
      const error = assertThrows(
        () => open(rig.driver.config(), odd),
        GuestError,
      );
      assertStringIncludes(error.message, "wanted a region that starts at");
    });

    it("[C03] a ring that ends beyond memory or lies in a hole is refused", () => {
      const rig = kind.make({
        regions: [
          { guestAddress: 0x10000, size: 0x10000 },
          { guestAddress: 0x30000, size: 0x10000 },
        ],
      });
      const says = "in one region of guest memory";
      for (const part of ["descriptorArea", "driverArea", "deviceArea"]) {
        for (const at of [0x20000, 0x2fff0, 0x40000, 2 ** 52, 0]) {
          refused(rig, { [part]: at }, says);
        }
        // The event areas of a packed ring are too small to lie across.
        if (kind.name === "packed" && part !== "descriptorArea") continue;
        refused(rig, { [part]: 0x1fff0 }, says);
      }
    });

    it("[C04] a ring that can't run is an error, not an empty one", () => {
      const rig = kind.make();
      const none = new GuestMemory({ generation: 0, regions: [] });
      const config = rig.driver.config();
      assertThrows(() => open(config, none), GuestError, "in one region");
      for (const nextAvail of kind.badStates) {
        refused(rig, { nextAvail }, "is to go on from");
      }
    });

    it("[C05] a ring that is opened anew remembers nothing of its last life", () => {
      const rig = kind.make({ eventIndex: true });
      for (let i = 0; i < 5; i++) serveOne(rig);
      assertEquals(rig.queue.nextAvail, kind.nextAvail(5));
      const blank = kind.make({ eventIndex: true });
      const { queue } = blank;
      assertEquals(queue.nextAvail, kind.nextAvail(0));
      assertEquals([queue.inFlight, queue.malformed, queue.broken], [0, 0, ""]);
      assert(!queue.hasAvailable());
      serveOne(blank);
    });

    it("[C06] the state of a ring goes on in another object", () => {
      const rig = kind.make({ eventIndex: true });
      for (let i = 0; i < 3; i++) serveOne(rig);
      const { nextAvail, resumeAt } = rig.queue;
      const config = { ...rig.driver.config(), nextAvail: resumeAt };
      const queue = open(config, rig.guest);
      assertEquals([queue.nextAvail, queue.resumeAt], [nextAvail, resumeAt]);
      assert(!queue.pop());
      for (let i = 0; i < 20; i++) serveOne({ ...rig, queue });
      refused(rig, { size: kind.badSizes[1]! }, "entries, wanted");
    });

    it("[C07] a ring goes on from any index and over the wrap", () => {
      const rig = kind.make({ base: 65530, eventIndex: true });
      for (let i = 0; i < 20; i++) serveOne(rig);
      assertEquals(rig.queue.nextAvail, kind.nextAvail(65530 + 20));
    });
  });
}

/** One chain there and back. */
function serveOne({ driver, queue, memory }: Rig<RawDriver>): void {
  const at = memory.allocate(4);
  const head = driver.add([writable(at, 4)]);
  driver.publish();
  assert(queue.pop());
  assert(queue.chain.writer.writeU32(0x1234));
  queue.push(head, 4);
  queue.flush();
  assertEquals(takeUsed(driver), [{ head, written: 4 }]);
  assertEquals(memory.read(at, 4), Uint8Array.of(0x34, 0x12, 0, 0));
}
