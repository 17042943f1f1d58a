/**
 * Checks of guest memory in every shape.
 *
 * @module
 */
import type {
  DriverRegion,
  DriverRegionSpec,
} from "../../testing/driver_memory.ts";
import { VHOST_USER_PROTOCOL_F } from "../../vhost_user/protocol.ts";
import type { Check } from "../check.ts";
import { expect, expectEqual } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import type { Guest } from "../guest.ts";

const TABLE = "vhost-user, SET_MEM_TABLE";
const SLOTS = "vhost-user, ADD_MEM_REG and REM_MEM_REG";
const MIB = 1 << 20;
/** Regions that one SET_MEM_TABLE can carry. */
const TABLE_MAX = 8;

/** `count` regions of 1 MiB with holes between. */
function scattered(count: number): DriverRegionSpec[] {
  return Array.from({ length: count }, (_, i) => ({
    guestAddress: MIB + i * 16 * MIB,
    size: MIB,
  }));
}

/** Works with the buffers in each region in turn. */
async function worksEverywhere(
  guest: Guest,
  regions: readonly number[] = guest.memory.regions.map((_, i) => i),
): Promise<void> {
  for (const region of regions) {
    const request = guest.workload.request({ region });
    await guest.ring.exchange(request);
  }
}

/** Works with memory of these regions, whatever they are. */
async function worksIn(
  run: CheckRun,
  memory: readonly DriverRegionSpec[],
): Promise<void> {
  await worksEverywhere(await run.guest({ memory }));
}

export const MEMORY_CHECKS: readonly Check[] = [
  {
    id: "memory/eight-regions",
    title: "memory comes in eight regions with holes between",
    section: TABLE,
    level: "MUST",
    run: (run) => worksIn(run, scattered(TABLE_MAX)),
  },
  {
    id: "memory/any-order",
    title: "regions come in any order",
    section: TABLE,
    level: "MUST",
    run: (run) => worksIn(run, scattered(4).reverse()),
  },
  {
    id: "memory/mmap-offset",
    title: "a region starts within its file",
    section: TABLE,
    level: "MUST",
    run: (run) =>
      worksIn(run, [
        { guestAddress: MIB, size: MIB, mmapOffset: 4096 },
        { guestAddress: 4 * MIB, size: MIB, mmapOffset: 3 * MIB },
      ]),
  },
  {
    id: "memory/high",
    title: "guest addresses are above 4 GiB, and above 1 TiB",
    section: TABLE,
    level: "MUST",
    run: (run) =>
      worksIn(run, [
        { guestAddress: 2 ** 32 + 16 * MIB, size: MIB },
        { guestAddress: 2 ** 40, size: MIB },
      ]),
  },
  {
    id: "memory/zero",
    title: "memory starts at guest address 0",
    section: TABLE,
    level: "MUST",
    run: (run) =>
      worksIn(run, [
        { guestAddress: 0, size: MIB },
        { guestAddress: 2 * MIB, size: MIB },
      ]),
  },
  {
    id: "memory/user-addresses",
    title: "user addresses have nothing to do with guest addresses",
    section: "vhost-user, Ring addresses",
    level: "MUST",
    run: (run) =>
      worksIn(run, [
        { guestAddress: 2 * MIB, size: MIB, userAddress: 0x5000_0000_0000 },
        { guestAddress: 16 * MIB, size: MIB, userAddress: 0x1000_0000 },
      ]),
  },
  {
    id: "memory/border",
    title: "a buffer lies across the border of two adjacent regions",
    section: "virtio 1.3 §2.7.5",
    level: "MUST",
    run: async (run) => {
      const border = 3 * MIB;
      const guest = await run.guest({
        memory: [
          { guestAddress: 2 * MIB, size: MIB },
          { guestAddress: border, size: MIB },
        ],
        ringRegion: 0,
      });
      for (let before = 1; before <= 9; before += 2) {
        const request = guest.workload.request(
          run.target.device === "net"
            ? { readableAt: border - before }
            : { writableAt: border - before, region: 0 },
        );
        await guest.ring.exchange(request);
      }
    },
  },
  {
    id: "memory/rings-apart",
    title: "the ring is in another region than what it is about",
    section: "vhost-user, Ring addresses",
    level: "MUST",
    run: async (run) => {
      const memory = scattered(3);
      const guest = await run.guest({ memory, ringRegion: 2 });
      await worksEverywhere(guest);
    },
  },
  {
    id: "memory/replaced-stopped",
    title: "the table is replaced while the ring is stopped",
    section: TABLE,
    level: "MUST",
    run: async (run) => {
      const guest = await run.guest({ memory: scattered(3), ringRegion: 0 });
      await worksEverywhere(guest);
      for (const keep of [2, 1, 3]) {
        const base = await guest.ring.stop();
        await guest.share(guest.memory.regions.slice(0, keep));
        await guest.ring.start({ base });
        await worksEverywhere(guest, [0, keep - 1]);
      }
    },
  },
  {
    id: "memory/replaced-running",
    title: "the table gets a region more while the ring runs",
    section: TABLE,
    level: "MUST",
    run: async (run) => {
      const guest = await run.guest({
        memory: scattered(3),
        ringRegion: 0,
        share: false,
        start: false,
      });
      await guest.share(guest.memory.regions.slice(0, 1));
      for (const ring of guest.rings) await ring.start();
      await worksEverywhere(guest, [0]);
      await guest.share(guest.memory.regions.slice(0, 2));
      await worksEverywhere(guest, [0, 1]);
      await guest.share();
      await worksEverywhere(guest);
    },
  },
  {
    id: "slots/count",
    title: "GET_MAX_MEM_SLOTS is at least the eight that a table has",
    section: "vhost-user, GET_MAX_MEM_SLOTS",
    level: "SHOULD",
    run: async (run) => {
      needsSlots(run);
      const guest = await run.guest({ start: false });
      const slots = await guest.frontend.getMaxMemSlots();
      expect(slots >= TABLE_MAX, `There are ${slots} slots, wanted 8 or more`);
      expectEqual(
        await guest.frontend.getMaxMemSlots(),
        slots,
        "GET_MAX_MEM_SLOTS, asked again,",
      );
    },
  },
  {
    id: "slots/add",
    title: "regions are added by ADD_MEM_REG alone, before the ring starts",
    section: SLOTS,
    level: "MUST",
    run: async (run) => {
      const guest = await added(run, 4);
      for (const ring of guest.rings) await ring.start();
      await worksEverywhere(guest);
    },
  },
  {
    id: "slots/add-running",
    title: "a region is added while the ring runs",
    section: SLOTS,
    level: "MUST",
    run: async (run) => {
      const guest = await added(run, 3, 1);
      for (const ring of guest.rings) await ring.start();
      await worksEverywhere(guest, [0]);
      for (const index of [1, 2]) {
        await add(guest, guest.memory.regions[index]!);
        await worksEverywhere(guest, [0, index]);
      }
    },
  },
  {
    id: "slots/many",
    title: "32 regions are added, or as many as there are slots for",
    section: SLOTS,
    level: "MUST",
    run: async (run) => {
      needsSlots(run);
      const probe = await run.guest({ start: false });
      const slots = await probe.frontend.getMaxMemSlots();
      run.hangUp(probe);
      const guest = await added(run, Math.min(slots, 32));
      for (const ring of guest.rings) await ring.start();
      await worksEverywhere(guest);
    },
  },
  {
    id: "slots/remove",
    title: "a region is removed and added again while the ring runs",
    section: SLOTS,
    level: "MUST",
    run: async (run) => {
      const guest = await added(run, 3);
      const { frontend, memory } = guest;
      for (const ring of guest.rings) await ring.start();
      await worksEverywhere(guest);
      for (let round = 0; round < 3; round++) {
        run.step = "REM_MEM_REG";
        await frontend.removeMemReg(memory.regions[1]!);
        await worksEverywhere(guest, [0, 2]);
        await add(guest, memory.regions[1]!);
        await worksEverywhere(guest);
      }
    },
  },
];

function needsSlots(run: CheckRun): void {
  run.needsProtocol(
    VHOST_USER_PROTOCOL_F.CONFIGURE_MEM_SLOTS,
    "CONFIGURE_MEM_SLOTS",
  );
}

/** A guest with `count` regions, the first `shared` of which are added. */
async function added(
  run: CheckRun,
  count: number,
  shared = count,
): Promise<Guest> {
  needsSlots(run);
  const guest = await run.guest({
    memory: scattered(count),
    ringRegion: 0,
    share: false,
    start: false,
  });
  for (const region of guest.memory.regions.slice(0, shared)) {
    await add(guest, region);
  }
  return guest;
}

async function add(guest: Guest, region: DriverRegion): Promise<void> {
  guest.run.step = "ADD_MEM_REG";
  await guest.frontend.addMemReg({ ...region, fd: region.fd! });
}
