/**
 * Hostile drivers: rings and chains that are wrong, in real shared memory of a
 * real process. After each the ring that was misused has broken or goes on, its
 * sibling serves, and the process serves the next session.
 */
import { assert, assertEquals } from "@std/assert";
import {
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
} from "../../src/device/features.ts";
import { BLOCK_STATUS } from "../../src/testing/block_driver.ts";
import type { BlockConnectionOptions } from "../../src/testing/block_connection.ts";
import {
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from "../../src/virtqueue/layout.ts";
import {
  BLOCK_SIZE,
  PAYLOAD_AT,
  PLANES,
  SPARE_AT,
  type Target,
  withTarget,
} from "./support/hostile_target.ts";
import { RawRing, type ReadRequest, UNTOUCHED } from "./support/raw_ring.ts";

const SIZE = 16;
const HOLE = PAYLOAD_AT + (4 << 20);
const NEXT = VIRTQ_DESC_F_NEXT;
const WRITE = VIRTQ_DESC_F_WRITE;
const INDIRECT = VIRTQ_DESC_F_INDIRECT;

/** Changes the descriptors of a read: header, data and status. */
type Spoil = (
  raw: RawRing,
  indexes: readonly number[],
  request: ReadRequest,
) => void;

/** Chains that the device must give back unread, the ring going on. */
async function givenBack(
  target: Target,
  cases: readonly (readonly [what: string, spoil: Spoil])[],
  options: BlockConnectionOptions = {},
): Promise<void> {
  for (const [what, spoil] of cases) {
    await target.survives(what, async (disk) => {
      const raw = new RawRing(disk);
      const { written, request } = await raw.sendSpoilt((indexes, request) =>
        spoil(raw, indexes, request)
      );
      assertEquals(written, 0);
      assertEquals(raw.byteOf(request.status), UNTOUCHED);
      await raw.goesOn();
      assert(!disk.rings[0]!.err.clear(), "The ring is broken");
    }, options);
  }
}

const BREAKS: readonly [
  what: string,
  act: (raw: RawRing) => void,
  reason: RegExp,
][] = [
  [
    "an available index that jumps",
    ({ ring }) => ring.rawAvailableIndex(ring.usedIndex + SIZE + 1),
    /The available index is 18 after 1, wanted at most the 16 entries/,
  ],
  [
    "an available index that goes back",
    ({ ring }) => ring.rawAvailableIndex(ring.usedIndex - 1),
    /The available index is 0 after 1/,
  ],
  [
    "an available index far away",
    ({ ring }) => ring.rawAvailableIndex(ring.usedIndex + 0x8000),
    /The available index is 32769 after 1/,
  ],
  [
    "a head just outside of the ring",
    ({ ring }) => ring.rawAvailable(SIZE),
    /The available ring names head 16, wanted less than the 16 entries/,
  ],
  [
    "a head of all ones",
    ({ ring }) => ring.rawAvailable(0xffff),
    /The available ring names head 65535/,
  ],
];

const LOOPS: readonly (readonly [what: string, spoil: Spoil])[] = [
  [
    "a descriptor that is its own next",
    ({ ring }, [, data], request) =>
      ring.rawDescriptor(data!, {
        ...request.data,
        flags: NEXT | WRITE,
        next: data!,
      }),
  ],
  [
    "a loop of two descriptors",
    ({ ring }, [header, data], request) =>
      ring.rawDescriptor(data!, {
        ...request.data,
        flags: NEXT,
        next: header!,
      }),
  ],
  [
    "a next just outside of the ring",
    ({ ring }, [, data], request) =>
      ring.rawDescriptor(data!, {
        ...request.data,
        flags: NEXT | WRITE,
        next: SIZE,
      }),
  ],
  [
    "a next of all ones",
    ({ ring }, [, data], request) =>
      ring.rawDescriptor(data!, {
        ...request.data,
        flags: NEXT | WRITE,
        next: 0xffff,
      }),
  ],
  ["a chain of one more than the ring has", ({ ring }, indexes, request) => {
    // All the descriptors there are, and the last leads on to the first.
    for (let i = 0; i < SIZE; i++) {
      ring.rawDescriptor(i, {
        ...request.header,
        flags: NEXT,
        next: (i + 1) % SIZE,
      });
    }
    assertEquals(indexes.length, 3);
  }],
];

const BUFFERS: readonly (readonly [what: string, spoil: Spoil])[] = [
  [
    "an address that wraps",
    ({ ring }, [, data, status]) =>
      ring.rawDescriptor(data!, {
        address: 0xffff_ffff_ffff_f000n,
        size: 0x2000,
        flags: NEXT | WRITE,
        next: status!,
      }),
  ],
  [
    "an address of all ones",
    ({ ring }, [, data, status]) =>
      ring.rawDescriptor(data!, {
        address: 0xffff_ffff_ffff_ffffn,
        size: 512,
        flags: NEXT | WRITE,
        next: status!,
      }),
  ],
  [
    "a length of all ones",
    ({ ring }, [, data, status], request) =>
      ring.rawDescriptor(data!, {
        ...request.data,
        size: 0xffff_ffff,
        flags: NEXT | WRITE,
        next: status!,
      }),
  ],
  [
    "a buffer in no memory",
    ({ ring }, [, data, status]) =>
      ring.rawDescriptor(data!, {
        address: HOLE,
        size: BLOCK_SIZE,
        flags: NEXT | WRITE,
        next: status!,
      }),
  ],
  [
    "a buffer that reaches into a hole",
    ({ ring }, [, data, status]) =>
      ring.rawDescriptor(data!, {
        address: HOLE - 512,
        size: BLOCK_SIZE,
        flags: NEXT | WRITE,
        next: status!,
      }),
  ],
  [
    "a buffer that begins in a hole",
    ({ ring }, [, data, status]) =>
      ring.rawDescriptor(data!, {
        address: SPARE_AT - 512,
        size: BLOCK_SIZE,
        flags: NEXT | WRITE,
        next: status!,
      }),
  ],
  [
    "a header at the null address",
    ({ ring }, [header, data]) =>
      ring.rawDescriptor(header!, {
        address: 0,
        size: 16,
        flags: NEXT,
        next: data!,
      }),
  ],
  ["a readable buffer after a writable one", ({ ring }, [head, data], r) => {
    ring.rawDescriptor(head!, { ...r.data, flags: NEXT | WRITE, next: data! });
    ring.rawDescriptor(data!, { ...r.header, flags: 0 });
  }],
  ["readable buffers only", ({ ring }, [, data, status], request) => {
    ring.rawDescriptor(data!, {
      ...request.data,
      flags: NEXT,
      next: status!,
    });
    ring.rawDescriptor(status!, { ...request.status, flags: 0 });
  }],
  [
    "writable buffers only",
    ({ ring }, [header, data], request) =>
      ring.rawDescriptor(header!, {
        ...request.header,
        flags: NEXT | WRITE,
        next: data!,
      }),
  ],
  [
    "buffers of no bytes only",
    ({ ring }, indexes, request) =>
      indexes.forEach((index, i) =>
        ring.rawDescriptor(index, {
          address: request.data.address,
          size: 0,
          flags: (i > 0 ? WRITE : 0) | (i < 2 ? NEXT : 0),
          next: indexes[i + 1] ?? 0,
        })
      ),
  ],
];

/** An indirect table of the parts of `request`, at `address`. */
function writeTable(raw: RawRing, request: ReadRequest, address: number): void {
  const { header, data, status } = request;
  raw.ring.rawDescriptor(0, { ...header, flags: NEXT, next: 1 }, address);
  raw.ring.rawDescriptor(1, {
    ...data,
    flags: NEXT | WRITE,
    next: 2,
  }, address);
  raw.ring.rawDescriptor(2, { ...status, flags: WRITE }, address);
}

/** A spoil that makes the head name an indirect table of so many bytes. */
function tableOf(
  size: number,
  change: (raw: RawRing, table: number, request: ReadRequest) => void =
    () => {},
  flags = INDIRECT,
): Spoil {
  return (raw, [head], request) => {
    const table = raw.disk.memory.allocate(4 * 16, 16, 0);
    writeTable(raw, request, table);
    change(raw, table, request);
    raw.ring.rawDescriptor(head!, { address: table, size, flags, next: 1 });
  };
}

/** A spoil that makes the head name an indirect table at `address`. */
function tableAt(address: number | bigint, size = 48): Spoil {
  return ({ ring }, [head]) =>
    ring.rawDescriptor(head!, { address, size, flags: INDIRECT });
}

const TABLES: readonly (readonly [what: string, spoil: Spoil])[] = [
  ["an indirect table of no bytes", tableOf(0)],
  ["an indirect table of half a descriptor", tableOf(8)],
  ["an indirect table of a descriptor and a byte", tableOf(17)],
  ["an indirect table of 2^28 - 1 descriptors", tableOf(0xffff_fff0)],
  ["an indirect table of more than we take", tableOf(16 * 1025)],
  ["an indirect table with a next", tableOf(48, () => {}, INDIRECT | NEXT)],
  [
    "an indirect table in an indirect table",
    tableOf(48, ({ ring }, table) =>
      ring.rawDescriptor(0, {
        address: table,
        size: 48,
        flags: INDIRECT,
      }, table)),
  ],
  [
    "a loop in an indirect table",
    tableOf(48, ({ ring }, table, request) =>
      ring.rawDescriptor(1, {
        ...request.data,
        flags: NEXT | WRITE,
        next: 1,
      }, table)),
  ],
  [
    "a next outside of the indirect table",
    tableOf(48, ({ ring }, table, request) =>
      ring.rawDescriptor(1, {
        ...request.data,
        flags: NEXT | WRITE,
        next: 3,
      }, table)),
  ],
  ["an indirect table in no memory", tableAt(HOLE)],
  ["an indirect table that reaches into a hole", tableAt(HOLE - 16)],
  ["an indirect table that wraps", tableAt(0xffff_ffff_ffff_fff0n)],
];

for (const plane of PLANES) {
  const options = { dataPlane: plane };

  Deno.test(`[H21] [C08] [C09] [C10] an impossible index breaks its ring only, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      for (const [what, act, reason] of BREAKS) {
        await target.survives(what, async (disk) => {
          const raw = new RawRing(disk);
          await raw.goesOn();
          act(raw);
          raw.publish();
          await raw.breaks(target, reason);
          await raw.recovers();
        });
      }
    }));

  Deno.test(`[H21] [C16] a head that is published twice is served twice, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("a head that is in flight", async (disk) => {
          const raw = new RawRing(disk);
          for (let round = 0; round < 50; round++) {
            const { header, data, status } = raw.read(1);
            const head = raw.ring.add([header, data, status]);
            raw.ring.rawAvailable(head);
            raw.publish();
            for (const used of [await raw.take(), await raw.take()]) {
              assertEquals(used, { head, written: BLOCK_SIZE + 1 });
            }
            assertEquals(raw.byteOf(status), BLOCK_STATUS.OK);
          }
        }, { memory: [{ guestAddress: 0x1_0000, size: 16 << 20 }] }),
    ));

  Deno.test(`[H22] [C19] [C20] [C21] chains without an end are given back, on the ${plane} plane`, () =>
    withTarget(options, (target) => givenBack(target, LOOPS)));

  Deno.test(`[H23] [C29] [C30] [C31] [C33] indirect tables that are wrong are given back, on the ${plane} plane`, () =>
    withTarget(options, (target) => givenBack(target, TABLES)));

  Deno.test(`[H23] [C34] an indirect table that was not negotiated is given back, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        givenBack(target, [["an indirect table", tableOf(48)]], {
          features: ~(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_RING_PACKED),
        }),
    ));

  Deno.test(`[H23] an indirect table across two regions is read whole, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("a table across regions", async (disk) => {
          const raw = new RawRing(disk);
          const request = raw.read(1);
          const table = disk.memory.allocate(48, 16, 0);
          writeTable(raw, request, table);
          disk.memory.write(PAYLOAD_AT - 24, disk.memory.read(table, 48));
          const head = raw.ring.add([request.header]);
          tableAt(PAYLOAD_AT - 24)(raw, [head], request);
          raw.publish();
          assertEquals(await raw.take(), { head, written: BLOCK_SIZE + 1 });
          assertEquals(raw.byteOf(request.status), BLOCK_STATUS.OK);
        }),
    ));

  Deno.test(`[H24] [C24] [C26] buffers that are wrong are given back, on the ${plane} plane`, () =>
    withTarget(options, (target) => givenBack(target, BUFFERS)));
}
