/**
 * Checks of a front-end that means harm by what it sets up.
 *
 * @module
 */
import { createMemfd } from "../../io/memfd.ts";
import {
  encodeMemoryTable,
  type MemoryRegion,
  vringFd,
  vringState,
} from "../../vhost_user/message.ts";
import {
  VHOST_USER,
  VHOST_USER_PROTOCOL_F,
} from "../../vhost_user/protocol.ts";
import type { Check } from "../check.ts";
import type { CheckRun } from "../check_run.ts";
import type { Guest } from "../guest.ts";
import { harm, hostileCheck } from "../harm.ts";

const TABLE = "vhost-user, SET_MEM_TABLE";
const VRING = "vhost-user, SET_VRING_ADDR";
const MIB = 1 << 20;
/** No device here has so many rings. */
const NO_RING = 250;

/** Sets up all but the rings, and lets `work` go on. */
function setUp(
  id: string,
  title: string,
  section: string,
  work: (guest: Guest, run: CheckRun) => Promise<unknown>,
): Check {
  return hostileCheck(id, title, section, async (run) => {
    const guest = await run.guest({ start: false });
    await harm(run, work(guest, run));
  });
}

/** SET_VRING_NUM of `size`, and the rest as usual. */
function sized(id: string, title: string, size: number): Check {
  return setUp(id, title, "vhost-user, SET_VRING_NUM", async (guest) => {
    const { index, kickFd, callFd, addresses } = guest.ring;
    const { frontend } = guest;
    await attempt(frontend.setVringNum(index, size));
    await attempt(frontend.setVringAddr(addresses));
    await attempt(frontend.setVringCall(index, callFd.fd));
    await attempt(frontend.setVringKick(index, kickFd.fd));
    kickFd.signal();
    await attempt(frontend.setVringEnable(index, true));
  });
}

/** SET_VRING_ADDR where `field` is off by `by`. */
function placed(
  id: string,
  title: string,
  by: number,
  field: "descriptor" | "available" | "used",
): Check {
  return setUp(id, title, VRING, async (guest) => {
    const { frontend, ring } = guest;
    const { index, kickFd, callFd } = ring;
    await frontend.setVringNum(index, ring.driver.size);
    const moved = { ...ring.addresses };
    moved[field] += by;
    await attempt(frontend.setVringAddr(moved));
    await attempt(frontend.setVringCall(index, callFd.fd));
    await attempt(frontend.setVringKick(index, kickFd.fd));
    kickFd.signal();
    await attempt(frontend.setVringEnable(index, true));
  });
}

/** A table of these regions, each with a file of 1 MiB. */
function tabled(
  id: string,
  title: string,
  regions: readonly MemoryRegion[],
  files = regions.length,
): Check {
  return hostileCheck(id, title, TABLE, async (run) => {
    const guest = await run.guest({ start: false, share: false });
    const fds = Array.from(
      { length: files },
      () => run.own(createMemfd("ringside-check", MIB)).number,
    );
    const { SET_MEM_TABLE } = VHOST_USER;
    const payload = encodeMemoryTable(regions);
    await harm(run, guest.frontend.command(SET_MEM_TABLE, payload, fds));
  });
}

function region(
  guestAddress: number,
  size: number,
  more: Partial<MemoryRegion> = {},
): MemoryRegion {
  const userAddress = 0x10_0000_0000 + guestAddress;
  return { guestAddress, size, userAddress, mmapOffset: 0, ...more };
}

export const HOSTILE_SETUP_CHECKS: readonly Check[] = [
  sized("size-0", "a ring of no entries", 0),
  sized("size-3", "a ring of three entries", 3),
  sized("size-65536", "a ring of 65536 entries", 65536),
  sized("size-2-32", "a ring of 2^32-1 entries", 0xffff_ffff),
  placed(
    "table-outside",
    "a descriptor table outside the memory",
    2 ** 40,
    "descriptor",
  ),
  placed(
    "avail-outside",
    "an available ring outside the memory",
    2 ** 40,
    "available",
  ),
  placed("used-outside", "a used ring outside the memory", 2 ** 40, "used"),
  placed(
    "table-misaligned",
    "a descriptor table at an odd address",
    1,
    "descriptor",
  ),
  placed(
    "avail-misaligned",
    "an available ring at an odd address",
    1,
    "available",
  ),
  placed("used-misaligned", "a used ring at an odd address", 1, "used"),
  setUp(
    "ring-beyond",
    "requests for a ring that is not there",
    VRING,
    async ({ frontend, ring }) => {
      await attempt(frontend.setVringNum(NO_RING, 64));
      await attempt(frontend.setVringBase(NO_RING, 0));
      const addresses = { ...ring.addresses, index: NO_RING };
      await attempt(frontend.setVringAddr(addresses));
      await attempt(frontend.setVringEnable(NO_RING, true));
    },
  ),
  setUp(
    "kick-beyond",
    "a kick for a ring that is not there",
    "vhost-user, SET_VRING_KICK",
    async ({ frontend, ring }) => {
      await attempt(frontend.setVringKick(NO_RING, ring.kickFd.fd));
      await attempt(frontend.setVringCall(NO_RING, ring.callFd.fd));
    },
  ),
  setUp(
    "base-beyond",
    "GET_VRING_BASE of a ring that is not there",
    "vhost-user, GET_VRING_BASE",
    ({ frontend }) => frontend.getVringBase(NO_RING),
  ),
  setUp(
    "huge-index",
    "a ring with index 2^32-1",
    VRING,
    ({ frontend }) =>
      frontend.command(
        VHOST_USER.SET_VRING_NUM,
        vringState.encode({ index: 0xffff_ffff, num: 64 }),
      ),
  ),
  setUp(
    "enable-7",
    "SET_VRING_ENABLE with 7",
    "vhost-user, SET_VRING_ENABLE",
    ({ frontend }) =>
      frontend.command(
        VHOST_USER.SET_VRING_ENABLE,
        vringState.encode({ index: 0, num: 7 }),
      ),
  ),
  setUp(
    "kick-without-fd",
    "a kick that promises a descriptor and has none",
    "vhost-user, SET_VRING_KICK",
    ({ frontend }) =>
      frontend.command(
        VHOST_USER.SET_VRING_KICK,
        vringFd.encode({ index: 0n, noFd: false }),
      ),
  ),
  setUp(
    "kick-is-a-file",
    "a kick descriptor that is a file",
    "vhost-user, SET_VRING_KICK",
    async ({ frontend }, run) => {
      const file = run.own(createMemfd("ringside-check", 4096));
      await attempt(frontend.setVringCall(0, file));
      await attempt(frontend.setVringKick(0, file));
      await attempt(frontend.setVringEnable(0, true));
    },
  ),
  hostileCheck(
    "no-memory",
    "a ring that is started without memory",
    VRING,
    async (run) => {
      const guest = await run.guest({ start: false, share: false });
      guest.ring.kickFd.signal();
      await harm(run, guest.ring.start());
    },
  ),
  hostileCheck(
    "memory-taken",
    "memory that is replaced under a ring that runs",
    TABLE,
    async (run) => {
      const guest = await run.guest({
        memory: [
          { guestAddress: MIB, size: MIB },
          { guestAddress: 4 * MIB, size: MIB },
        ],
        ringRegion: 0,
      });
      await guest.works();
      await harm(run, guest.share(guest.memory.regions.slice(1)));
      guest.ring.add(guest.workload.request().segments);
      guest.ring.publish("always");
      await run.quiet();
    },
  ),
  hostileCheck(
    "slot-taken",
    "memory that is removed under a ring that runs",
    "vhost-user, REM_MEM_REG",
    async (run) => {
      run.needsProtocol(
        VHOST_USER_PROTOCOL_F.CONFIGURE_MEM_SLOTS,
        "CONFIGURE_MEM_SLOTS",
      );
      const guest = await run.guest();
      await guest.works();
      await harm(run, guest.frontend.removeMemReg(guest.memory.regions[0]!));
      guest.ring.kickFd.signal();
      await run.quiet();
    },
  ),
  hostileCheck(
    "slot-unknown",
    "REM_MEM_REG of a region that is not there",
    "vhost-user, REM_MEM_REG",
    async (run) => {
      run.needsProtocol(
        VHOST_USER_PROTOCOL_F.CONFIGURE_MEM_SLOTS,
        "CONFIGURE_MEM_SLOTS",
      );
      const guest = await run.guest({ start: false });
      await harm(run, guest.frontend.removeMemReg(region(2 ** 41, MIB)));
    },
  ),
  tabled("table-overlap", "two regions at the same guest address", [
    region(MIB, MIB),
    region(MIB, MIB, { userAddress: 0x20_0000_0000 }),
  ]),
  tabled("region-beyond-file", "a region that is larger than its file", [
    region(MIB, 64 * MIB),
  ]),
  tabled("region-offset-beyond", "a region that starts behind its file", [
    region(MIB, MIB, { mmapOffset: 2 ** 40 }),
  ]),
  tabled("region-empty", "a region of no bytes", [region(MIB, 0)]),
  tabled("regions-without-fds", "two regions and no descriptors", [
    region(MIB, MIB),
    region(4 * MIB, MIB),
  ], 0),
  tabled(
    "regions-too-many",
    "a table of nine regions",
    Array.from(
      { length: 9 },
      (_, i) => region((1 + 2 * i) * MIB, MIB),
    ),
    8,
  ),
];

/** Whatever is answered. */
async function attempt(request: Promise<unknown>): Promise<void> {
  await request.catch(() => {});
}
