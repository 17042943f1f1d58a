/**
 * Hostile front-ends: messages that are wrong, against a real process with
 * rings that run. What each message is answered is tested in tests/session.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { EventFd } from "../../src/io/event_fd.ts";
import { createMemfd } from "../../src/io/memfd.ts";
import type { BlockConnection } from "../../src/testing/block_connection.ts";
import { BlockDriver } from "../../src/testing/block_driver.ts";
import { DriverMemory } from "../../src/testing/driver_memory.ts";
import { Prng } from "../../src/testing/prng.ts";
import { SplitDriver } from "../../src/testing/split_driver.ts";
import { Reactor } from "../../src/io/reactor.ts";
import { Frontend, NackError } from "../../src/vhost_user/frontend.ts";
import {
  deviceStateTransfer,
  encodeConfig,
  encodeMemoryTable,
  encodeMessage,
  header,
  inflightDescription,
  logDescription,
  type MemoryRegion,
  type VringAddress,
} from "../../src/vhost_user/message.ts";
import { VHOST_USER } from "../../src/vhost_user/protocol.ts";
import { vringMessages } from "../session/harness.ts";
import {
  assertBytes,
  BLOCK_SIZE,
  blockOf,
  PLANES,
  readsRight,
  refused,
  sectorOf,
  withTarget,
} from "./support/hostile_target.ts";

const EMPTY = new Uint8Array(0);
const MIB = 1 << 20;
const ONES = 2 ** 32 - 1;
/** A vring that the device does not have. */
const FAR = 100_000;

/** The back-end ends the session rather than answer. */
async function hangsUp(disk: BlockConnection): Promise<void> {
  assertEquals(await disk.frontend.receive(), null);
}

/** A message of `size` bytes of payload, with any header. */
function message(
  request: number,
  flags: number,
  size: number,
): Uint8Array<ArrayBuffer> {
  return header.encode({ request, flags, size });
}

const GARBAGE: readonly [what: string, bytes: Uint8Array<ArrayBuffer>][] = [
  ["a payload of 4 GiB", message(VHOST_USER.GET_CONFIG, 1, ONES)],
  ["version 0", message(VHOST_USER.GET_FEATURES, 0, 0)],
  ["version 2", message(VHOST_USER.GET_FEATURES, 2, 0)],
  ["version 3", message(VHOST_USER.GET_FEATURES, 3, 0)],
  ["flags of all ones", message(VHOST_USER.GET_FEATURES, ONES, 0)],
  ["a reply", message(VHOST_USER.GET_FEATURES, 1 | 4, 0)],
  ["request 0", message(0, 1, 0)],
  ["request 45", message(45, 1, 0)],
  ["a request of all ones", message(ONES, 1, 0)],
  ["bytes of all ones", new Uint8Array(4096).fill(0xff)],
  ["bytes of all zeros", new Uint8Array(4096)],
];

/** Requests of features that are not served. */
const NOT_SERVED: readonly [name: string, payload: Uint8Array][] = [
  [
    "GET_INFLIGHT_FD",
    inflightDescription.encode({
      mmapSize: 0,
      mmapOffset: 0,
      queueCount: 65535,
      queueSize: 65535,
    }),
  ],
  [
    "SET_INFLIGHT_FD",
    inflightDescription.encode({
      mmapSize: 1,
      mmapOffset: 0,
      queueCount: 4,
      queueSize: 16,
    }),
  ],
  ["SET_LOG_BASE", logDescription.encode({ size: 0, offset: 0 })],
  [
    "SET_LOG_BASE",
    logDescription.encode({ size: 4096, offset: Number.MAX_SAFE_INTEGER }),
  ],
  ["SET_LOG_FD", EMPTY],
  [
    "SET_DEVICE_STATE_FD",
    deviceStateTransfer.encode({ direction: 1, phase: 0 }),
  ],
  ["CHECK_DEVICE_STATE", EMPTY],
  ["GET_SHMEM_CONFIG", EMPTY],
];

/** The region of the payload, in no memory of the driver's. */
const REGION: MemoryRegion = {
  guestAddress: 0x8000_0000,
  userAddress: 0x8000_0000,
  size: MIB,
  mmapOffset: 0,
};

const BAD_REGIONS: readonly [what: string, change: Partial<MemoryRegion>][] = [
  ["behind the end of its file", { mmapOffset: 4096 }],
  ["far behind the end of its file", { mmapOffset: 2 ** 52 }],
  ["that is larger than its file", { size: MIB + 1 }],
  ["of no bytes", { size: 0 }],
  ["at an odd offset", { mmapOffset: 1, size: 4096 }],
  ["that wraps in the guest", { guestAddress: 2 ** 53 - 4096 }],
  ["that wraps in the front-end", { userAddress: 2 ** 53 - 4096 }],
  ["on top of another in the guest", { guestAddress: 0x1_0000 }],
];

/** A ring of the device that the connection left alone, laid out in memory. */
function spareRing(disk: BlockConnection): VringAddress {
  const [view] = disk.memory.regions;
  const ring = new SplitDriver(disk.memory, 16);
  const place = (address: number) =>
    address - view!.guestAddress + view!.userAddress;
  return {
    index: 2,
    flags: 0,
    log: 0,
    descriptor: place(ring.descriptorArea),
    available: place(ring.driverArea),
    used: place(ring.deviceArea),
  };
}

/** Sets a ring up in an order that nobody would choose; it works. */
async function startsBackwards(frontend: Frontend): Promise<void> {
  using memory = DriverMemory.shared(MIB);
  using kick = EventFd.open();
  using call = EventFd.open();
  const { features } = await frontend.negotiate();
  const ring = new SplitDriver(memory, 16, {
    eventIndex: (features & (1n << 29n)) !== 0n,
  });
  const { guestAddress, userAddress, fd } = memory.regions[0]!;
  const place = (address: number) => address - guestAddress + userAddress;
  const address = {
    index: 0,
    flags: 0,
    log: 0,
    descriptor: place(ring.descriptorArea),
    available: place(ring.driverArea),
    used: place(ring.deviceArea),
  };
  assertEquals(await frontend.getVringBase(0), 0);
  await frontend.setVringEnable(0, true);
  await frontend.setVringEnable(0, true);
  await frontend.setVringKick(0, kick.fd);
  await frontend.setVringAddr(address);
  await frontend.setVringCall(0, call.fd);
  await frontend.setVringNum(0, 16);
  await frontend.setMemTable([{ ...memory.regions[0]!, fd: fd! }]);
  const driver = new BlockDriver(memory, ring, {
    kick: () => kick.signal(),
    called: async () => {
      await Reactor.main.readable(call.fd.number);
      call.clear();
    },
  });
  const read = await driver.read(sectorOf(3), BLOCK_SIZE);
  assertBytes(read, blockOf(3), "Block 3");
}

for (const plane of PLANES) {
  const options = { dataPlane: plane };

  Deno.test(`[H01] [C48] a message that is cut anywhere leaves nothing, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      const bytes = encodeMessage(
        VHOST_USER.ADD_MEM_REG,
        1,
        new Uint8Array(40),
      );
      for (let size = 1; size < bytes.length; size++) {
        await target.outlives(`${size} bytes of a message`, async (disk) => {
          using memfd = createMemfd("test", MIB);
          await disk.frontend.sendRaw(bytes.slice(0, size), [memfd]);
          await readsRight(disk, 0);
        });
      }
    }));

  Deno.test(`[H02] [H03] [H04] [C47] what is no message ends the session, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      for (const [what, bytes] of GARBAGE) {
        await target.outlives(what, async (disk) => {
          await disk.frontend.sendRaw(bytes);
          await hangsUp(disk);
        });
      }
    }));

  Deno.test(`[H02] [H04] random bytes do no harm, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      const prng = Prng.fromEnvironment("Random bytes");
      for (let round = 0; round < 30; round++) {
        const bytes = prng.fill(new Uint8Array(1 + prng.below(500)));
        await target.outlives(`random bytes (${round})`, async (disk) => {
          // Half of them come as far as the payload of a request that exists.
          if (prng.oneIn(2)) {
            const request = 1 + prng.below(44);
            bytes.set(
              message(request, 1 | 8, prng.below(200)).slice(0, bytes.length),
            );
          }
          using memfd = createMemfd("test", MIB);
          const fds = prng.oneIn(2) ? [memfd] : [];
          await disk.frontend.sendRaw(bytes, fds);
        });
      }
    }));

  Deno.test(`[H05] [C49] descriptors that nobody wants are closed, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      const memfd = createMemfd("test", MIB);
      using _memfd = memfd;
      const many = new Array(253).fill(memfd);
      for (const count of [1, 2, 9, 253]) {
        await target.survives(`${count} descriptors for nothing`, (disk) => {
          const fds = many.slice(0, count);
          const { GET_FEATURES, SET_OWNER } = VHOST_USER;
          return refused(disk, disk.frontend.command(SET_OWNER, EMPTY, fds))
            .then(() =>
              refused(disk, disk.frontend.command(GET_FEATURES, EMPTY, fds))
            );
        });
      }
      await target.survives("9 regions in a table", (disk) => {
        const regions = new Array(9).fill(REGION);
        const payload = encodeMemoryTable(regions);
        const fds = many.slice(0, 9);
        const work = disk.frontend.command(
          VHOST_USER.SET_MEM_TABLE,
          payload,
          fds,
        );
        return refused(disk, work);
      });
      await target.outlives("more descriptors than fit", async (disk) => {
        const bytes = message(VHOST_USER.SET_MEM_TABLE, 1, 8 + 8 * 32);
        await disk.frontend.sendRaw(bytes.slice(0, 6), many);
        await disk.frontend.sendRaw(bytes.slice(6), many);
        await hangsUp(disk);
      });
    }));

  Deno.test(`[H06] [C52] vrings that do not exist are refused while rings run on, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      for (const index of [255, FAR, 2 ** 31, ONES]) {
        await target.survives(`vring ${index}`, async (disk) => {
          for (const [, request, payload] of vringMessages(index)) {
            await refused(disk, disk.frontend.command(request, payload));
          }
          await readsRight(disk, 0);
        });
      }
    }));

  Deno.test(`[H07] [H08] [C51] rings that can't be are refused, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("impossible rings", async (disk) => {
          const { frontend } = disk;
          for (const size of [0, 3, 65536, ONES]) {
            await refused(disk, frontend.setVringNum(2, size));
          }
          await frontend.setVringNum(2, 16);
          const good = spareRing(disk);
          const end = good.descriptor + 4 * MIB;
          const bad: Partial<VringAddress>[] = [
            { descriptor: good.descriptor + 1 },
            { available: good.available + 1 },
            { used: good.used + 2 },
            { descriptor: 0 },
            { used: end },
            { used: good.descriptor },
            { available: good.descriptor },
            { flags: 2 },
            { flags: ONES },
          ];
          for (const change of bad) {
            await refused(disk, frontend.setVringAddr({ ...good, ...change }));
          }
          await refused(
            disk,
            frontend.command(
              VHOST_USER.SET_VRING_ADDR,
              Uint8Array.from({ length: 40 }, (_, i) => i < 8 ? 0 : 0xff),
            ),
          );
          await frontend.setVringAddr(good);
          // On a ring that runs nothing may move.
          await refused(disk, frontend.setVringAddr({ ...good, index: 0 }));
          await refused(disk, frontend.setVringNum(0, 32));
          await refused(disk, frontend.setVringBase(0, 7));
          await readsRight(disk, 0);
        }),
    ));

  Deno.test(`[H09] [C50] regions that can't be are refused while rings run on, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      using memfd = createMemfd("test", MIB);
      for (const [what, change] of BAD_REGIONS) {
        await target.survives(`a region ${what}`, async (disk) => {
          const { frontend } = disk;
          const region = { ...REGION, ...change, fd: memfd };
          await refused(disk, frontend.addMemReg(region));
          await readsRight(disk, 0);
        });
      }
      for (const count of [0, 9, ONES]) {
        await target.survives(`a table of ${count} regions`, async (disk) => {
          const payload = encodeMemoryTable([REGION]);
          new DataView(payload.buffer).setUint32(0, count, true);
          await refused(
            disk,
            disk.frontend.command(VHOST_USER.SET_MEM_TABLE, payload, [memfd]),
          );
          await readsRight(disk, 0);
        });
      }
    }));

  Deno.test(`[H12] [H14] [H19] what is not served is refused and its descriptors closed, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      for (const [name, payload] of NOT_SERVED) {
        await target.survives(name, async (disk) => {
          using memfd = createMemfd("test", 1);
          const request = VHOST_USER[name as "SET_LOG_BASE"];
          const { frontend } = disk;
          await refused(disk, frontend.command(request, payload));
          await refused(disk, frontend.command(request, payload, [memfd]));
          await readsRight(disk, 0);
        });
      }
    }));

  Deno.test(`[H13] [C53] a config space that is misread does no harm, on the ${plane} plane`, () =>
    withTarget(
      options,
      (target) =>
        target.survives("bad ranges of the config space", async (disk) => {
          const { frontend } = disk;
          for (
            const [offset, size] of [[ONES, 256], [0, 0], [250, 7]] as const
          ) {
            await assertRejects(
              () => frontend.getConfig(offset, size),
              NackError,
            );
          }
          const more = encodeConfig(0, 0, new Uint8Array(257));
          await refused(disk, frontend.command(VHOST_USER.GET_CONFIG, more));
          // The capacity is not the driver's to change.
          await refused(disk, frontend.setConfig(0, new Uint8Array(8)));
          const config = await frontend.getConfig(0, 8);
          const capacity = new DataView(config.buffer, config.byteOffset)
            .getBigUint64(0, true);
          assertEquals(Number(capacity), disk.capacity);
          await readsRight(disk, 0);
        }),
    ));

  Deno.test(`[H15] a ring may be set up backwards, on the ${plane} plane`, () =>
    withTarget(options, async (target) => {
      {
        using frontend = Frontend.connect(target.socketPath);
        await startsBackwards(frontend);
      }
      await target.isWell();
      assert(!target.backEnd.log.includes("refused"));
    }));
}
