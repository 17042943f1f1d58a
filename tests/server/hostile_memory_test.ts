/**
 * Hostile drivers: buffers where none should be, memory that changes while it
 * is read, notifications that lie.
 */
import { assert, assertEquals, assertLess } from "@std/assert";
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_RING_PACKED,
} from "../../src/device/features.ts";
import { EventFd } from "../../src/io/event_fd.ts";
import { BLOCK_STATUS, blockHeader } from "../../src/testing/block_driver.ts";
import { Prng } from "../../src/testing/prng.ts";
import {
  deviceAreaSize,
  driverAreaSize,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from "../../src/virtqueue/layout.ts";
import {
  assertBytes,
  BLOCK_SIZE,
  blockOf,
  PAYLOAD_AT,
  PLANES,
  readsRight,
  sectorOf,
  SPARE_AT,
  until,
  withTarget,
} from "./support/hostile_target.ts";
import { RawRing, UNTOUCHED } from "./support/raw_ring.ts";

const READ = 0;
/** Entries of a ring whose parts are larger than a sector each. */
const LARGE = 256;
const NEXT = VIRTQ_DESC_F_NEXT;
const DEVICE_WRITES = VIRTQ_DESC_F_WRITE;

/** Waits until the device has published `count` used entries in all. */
function untilUsed(raw: RawRing, count: number): Promise<void> {
  return until(
    () => raw.ring.publishedUsedIndex === (count & 0xffff),
    () => `The used index is ${raw.ring.publishedUsedIndex}, wanted ${count}`,
  );
}

/** All features that are offered, on split rings. */
const WITHOUT_EVENT_IDX = ~(VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED);

for (const plane of PLANES) {
  const options = { dataPlane: plane };

  Deno.test(`[H24] [C23] [C25] buffers of no bytes and across regions are as good as any, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      await target.survives("a buffer across two regions", async (disk) => {
        const raw = new RawRing(disk);
        const { header, status } = raw.read(1);
        const data = {
          address: PAYLOAD_AT - 512,
          size: BLOCK_SIZE,
          writable: true,
        };
        const { written } = await raw.send([header, data, status]);
        assertEquals(written, BLOCK_SIZE + 1);
        const read = disk.memory.read(data.address, BLOCK_SIZE);
        assertBytes(read, blockOf(1), "What is read");
      });
      await target.survives("descriptors of no bytes", async (disk) => {
        const raw = new RawRing(disk);
        const { header, data, status } = raw.read(1);
        const empty = { address: SPARE_AT, size: 0, writable: false };
        const nowhere = { address: 1n << 63n, size: 0, writable: true };
        const { written } = await raw.send([
          empty,
          header,
          empty,
          nowhere,
          data,
          nowhere,
          status,
        ]);
        assertEquals(written, BLOCK_SIZE + 1);
        assertEquals(raw.byteOf(status), BLOCK_STATUS.OK);
      });
    }));

  Deno.test(`[H25] a disk that is read into its own ring hurts that ring only, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      for (const area of ["descriptorArea", "driverArea", "deviceArea"]) {
        await target.survives(`a read into the ${area}`, async (disk) => {
          const raw = new RawRing(disk);
          const size = 512;
          const place = raw.ring[area as "driverArea"];
          const header = raw.header(READ, sectorOf(3));
          const status = raw.room(1);
          raw.ring.add([
            header,
            { address: place, size, writable: true },
            status,
          ]);
          raw.publish();
          await until(
            () => raw.byteOf(status) !== UNTOUCHED,
            () => "The request was not answered",
          );
          await readsRight(disk, 1);
          // Whatever became of the ring, it can be stopped.
          await disk.frontend.getVringBase(0);
        }, { queueSize: LARGE });
      }
    }));

  Deno.test(`[H25] a status byte on top of the ring hurts that ring only, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      const places: [what: string, place: (raw: RawRing) => number][] = [
        ["the available index", ({ ring }) => ring.driverArea + 3],
        ["the flags of the used ring", ({ ring }) => ring.deviceArea + 1],
        ["the used index", ({ ring }) => ring.deviceArea + 3],
        ["its own descriptor", ({ ring }) => ring.descriptorArea + 3],
      ];
      for (const [what, place] of places) {
        await target.survives(`a status byte on ${what}`, async (disk) => {
          const raw = new RawRing(disk);
          const { header, data } = raw.read(1);
          const status = { address: place(raw), size: 1, writable: true };
          for (let i = 0; i < 4; i++) raw.ring.add([header, data, status]);
          raw.publish();
          await readsRight(disk, 1);
          await disk.frontend.getVringBase(0);
        });
      }
    }));

  Deno.test(`[H25] requests that overlap each other hurt themselves only, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("data on top of headers", async (disk) => {
          const raw = new RawRing(disk);
          const data = raw.room(512);
          const [header, next] = [0, 1].map((i) => {
            const address = Number(data.address) + 16 * i;
            disk.memory.write(address, blockHeader(READ, sectorOf(5 + i)));
            return { address, size: 16, writable: false };
          });
          const status = raw.room(1);
          const heads: number[] = [];
          for (let i = 0; i < 2; i++) {
            heads.push(raw.ring.add([header!, data, status]));
            heads.push(raw.ring.add([next!, data, data, status]));
          }
          raw.publish();
          const used = [];
          while (used.length < heads.length) used.push((await raw.take()).head);
          assertEquals(used.sort(), heads.sort());
          await raw.goesOn();
        }),
    ));

  Deno.test(`[H25] descriptors that change while they are read hurt their request only, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("a race for a descriptor", async (disk) => {
          const prng = Prng.fromEnvironment("A race for a descriptor");
          const raw = new RawRing(disk);
          const { ring } = raw;
          const { header, data, status } = raw.read(1);
          for (let round = 1; round <= 300; round++) {
            disk.memory.write(Number(status.address), Uint8Array.of(UNTOUCHED));
            const head = ring.add([header, data, status]);
            const indexes = raw.descriptors(head);
            const victim = prng.below(3);
            const good = [header, data, status][victim]!;
            const next = indexes[victim + 1] ?? 0;
            const flags = (victim > 0 ? DEVICE_WRITES : 0) |
              (victim < 2 ? NEXT : 0);
            const wild = prng.pick([
              { address: 1n << 62n, size: good.size, flags, next },
              { ...good, size: 0xffff_ffff, flags, next },
              { ...good, flags: 0xffff, next: 0xffff },
              { ...good, flags: flags | NEXT, next: head },
            ]);
            raw.publish();
            const before = ring.usedIndex;
            for (let i = 0; ring.publishedUsedIndex === before; i++) {
              ring.rawDescriptor(indexes[victim]!, wild);
              ring.rawDescriptor(indexes[victim]!, { ...good, flags, next });
              if (i % 1000 === 999) await new Promise((r) => setTimeout(r));
            }
            const used = ring.nextUsed()!;
            assertEquals(used.head, head);
            const known = [0, BLOCK_SIZE + 1];
            assert(known.includes(used.written), `${used.written} bytes`);
          }
          await raw.goesOn();
        }),
    ));

  Deno.test(`[H26] garbage in used_event loses calls and nothing else, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("garbage in used_event", async (disk) => {
          const prng = Prng.fromEnvironment("Garbage in used_event");
          const raw = new RawRing(disk);
          const { header, data, status } = raw.read(1);
          for (let round = 1; round <= 200; round++) {
            raw.ring.rawUsedEvent(prng.below(0x1_0000));
            const head = raw.ring.add([header, data, status]);
            raw.publish();
            await untilUsed(raw, round);
            const used = raw.ring.nextUsed();
            assertEquals(used, { head, written: BLOCK_SIZE + 1 });
          }
        }),
    ));

  for (const eventIndex of [true, false]) {
    const how = eventIndex ? "with EVENT_IDX" : "without EVENT_IDX";
    Deno.test(`[H26] garbage in the used ring is overwritten, ${how}, on the ${plane} plane`, () =>
      withTarget(
        options,
        (target) =>
          target.survives("garbage in the used ring", async (disk) => {
            const prng = Prng.fromEnvironment("Garbage in the used ring");
            const raw = new RawRing(disk);
            const { header, data, status } = raw.read(1);
            const size = deviceAreaSize(raw.ring.size, true);
            for (let round = 1; round <= 200; round++) {
              // All that the device owns: flags, index, entries, avail_event.
              const garbage = prng.fill(new Uint8Array(size));
              disk.memory.write(raw.ring.deviceArea, garbage);
              raw.ring.add([header, data, status]);
              raw.publish();
              await untilUsed(raw, round);
              assertEquals(raw.ring.nextUsed()!.written, BLOCK_SIZE + 1);
            }
          }, eventIndex ? {} : { features: WITHOUT_EVENT_IDX }),
      ));
  }

  Deno.test(`[H26] flags of the available ring may be anything, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("garbage in the flags", async (disk) => {
          const prng = Prng.fromEnvironment("Garbage in the available ring");
          const raw = new RawRing(disk);
          const { header, data, status } = raw.read(1);
          const [view, at] = disk.memory.view(raw.ring.driverArea);
          for (let round = 1; round <= 200; round++) {
            view.setUint16(at, prng.below(0x1_0000), true);
            raw.ring.add([header, data, status]);
            raw.publish();
            await untilUsed(raw, round);
            raw.ring.nextUsed();
          }
          assertLess(driverAreaSize(raw.ring.size, true), BLOCK_SIZE);
        }, { features: WITHOUT_EVENT_IDX }),
    ));

  Deno.test(`[H30] a storm of kicks without requests hurts nobody, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("a storm of kicks", async (disk) => {
          const raw = new RawRing(disk);
          for (let i = 0; i < 50; i++) {
            for (let kicks = 0; kicks < 2000; kicks++) raw.kick();
            await readsRight(disk, 1);
          }
          assertEquals(raw.ring.publishedUsedIndex, 0);
          await raw.goesOn();
        }),
    ));

  Deno.test(`[H30] requests without a kick wait for one, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("requests without a kick", async (disk) => {
          const raw = new RawRing(disk);
          const { header, data, status } = raw.read(1);
          const head = raw.ring.add([header, data, status]);
          raw.ring.publish();
          await readsRight(disk, 1);
          raw.kick();
          assertEquals(await raw.take(), { head, written: BLOCK_SIZE + 1 });
        }),
    ));

  Deno.test(`[H30] a call that nobody takes any more is no reason to stop, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      await target.survives("a call without an eventfd", async (disk) => {
        await disk.frontend.setVringCall(0, null);
        const raw = new RawRing(disk);
        const { header, data, status } = raw.read(1);
        raw.ring.add([header, data, status]);
        raw.publish();
        await untilUsed(raw, 1);
      });
      await target.survives("a call that is closed here", async (disk) => {
        {
          using call = EventFd.open();
          await disk.frontend.setVringCall(0, call.fd);
        }
        const raw = new RawRing(disk);
        const { header, data, status } = raw.read(1);
        raw.ring.add([header, data, status]);
        raw.publish();
        await untilUsed(raw, 1);
      });
    }));
}
