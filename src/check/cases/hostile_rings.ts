/**
 * Checks of a driver that means harm by its indexes, or while the device looks.
 *
 * @module
 */
import { VHOST_USER_PROTOCOL_F } from "../../vhost_user/protocol.ts";
import type { Check } from "../check.ts";
import { expect } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import type { Guest } from "../guest.ts";
import { hostileCheck } from "../harm.ts";
import { batches, capacityOf } from "./rings.ts";

const AVAILABLE = "virtio 1.3 §2.7.6";
const USED = "virtio 1.3 §2.7.8";

/** Writes what it likes on the ring of a guest that has worked. */
async function misuse(
  run: CheckRun,
  write: (guest: Guest) => void,
): Promise<void> {
  run.needsSplit();
  const guest = await run.guest();
  await guest.works(guest.ring, 3);
  write(guest);
  guest.ring.kickFd.signal();
  await run.quiet();
  guest.ring.kickFd.signal();
  await run.quiet();
}

function misused(
  id: string,
  title: string,
  section: string,
  write: (guest: Guest) => void,
): Check {
  return hostileCheck(id, title, section, (run) => misuse(run, write));
}

/** Makes `head` available, whatever that is. */
function offer(head: number): (guest: Guest) => void {
  return ({ ring }) => {
    ring.split.rawAvailable(head);
    ring.driver.publish();
  };
}

export const HOSTILE_RING_CHECKS: readonly Check[] = [
  misused("head-beyond", "a head beyond the table", AVAILABLE, (guest) => {
    offer(guest.ring.driver.size)(guest);
  }),
  misused("head-far-beyond", "head 65535", AVAILABLE, offer(0xffff)),
  misused(
    "index-jumps",
    "an available index that is ahead by more than the ring",
    AVAILABLE,
    ({ ring }) => {
      const { availIndex } = ring.split;
      ring.split.rawAvailableIndex(availIndex + ring.driver.size + 1);
    },
  ),
  misused(
    "index-goes-back",
    "an available index that goes back",
    AVAILABLE,
    ({ ring }) => ring.split.rawAvailableIndex(ring.split.availIndex - 1),
  ),
  misused(
    "head-twice",
    "a head that is made available twice",
    AVAILABLE,
    (guest) => {
      const { ring, workload } = guest;
      const head = ring.driver.add(workload.request().segments);
      ring.split.rawAvailable(head);
      ring.driver.publish();
    },
  ),
  misused("stale-heads", "a whole ring of old heads", AVAILABLE, ({ ring }) => {
    for (let i = 0; i < ring.driver.size; i++) ring.split.rawAvailable(i);
    ring.driver.publish();
  }),
  misused(
    "used-index",
    "a used index that the driver has written",
    USED,
    ({ ring, workload }) => {
      ring.split.rawUsedIndex(0x8000);
      ring.driver.add(workload.request().segments);
      ring.driver.publish();
    },
  ),
  misused(
    "used-event",
    "used_event far from everything",
    "virtio 1.3 §2.7.7",
    ({ ring, workload }) => {
      ring.split.rawUsedEvent(0xdead);
      ring.driver.add(workload.request().segments);
      ring.driver.publish();
    },
  ),
  hostileCheck(
    "scribbles",
    "descriptors that change while the device reads them",
    "virtio 1.3 §2.7.5",
    scribble,
    { patience: 2 },
  ),
  hostileCheck(
    "kick-storm",
    "100000 kicks during work",
    "virtio 1.3 §2.7.10.2",
    async (run) => {
      const guest = await run.guest();
      for (let i = 0; i < 100; i++) {
        for (let j = 0; j < 1000; j++) guest.ring.kickFd.signal();
        await guest.works();
      }
    },
  ),
  {
    id: "isolation/other-ring",
    title: "a ring that is broken does not stop the others",
    section: AVAILABLE,
    level: "SHOULD",
    devices: ["block"],
    hostile: true,
    run: async (run) => {
      run.needsSplit();
      run.needsProtocol(VHOST_USER_PROTOCOL_F.MQ, "MQ");
      if (run.target.facts.queueCount < 2) run.skip("there is one ring");
      const guest = await run.guest({ ringCount: 2 });
      const [bad, good] = guest.rings;
      await guest.works(good!);
      bad!.split.rawAvailable(0xffff);
      bad!.publish("always");
      await run.quiet();
      await guest.works(good!, 10);
    },
  },
  {
    id: "isolation/restart",
    title: "a ring that is broken works again after GET_VRING_BASE",
    section: "vhost-user, GET_VRING_BASE",
    level: "SHOULD",
    hostile: true,
    run: async (run) => {
      run.needsSplit();
      const guest = await run.guest();
      await guest.works();
      const { ring } = guest;
      ring.split.rawAvailable(0xffff);
      ring.publish("always");
      await run.quiet();
      for (const each of guest.rings) await each.stop();
      await guest.setUp();
      await guest.works(guest.ring, 3);
    },
  },
  {
    id: "isolation/err",
    title: "the err descriptor tells of a ring that is broken",
    section: "vhost-user, SET_VRING_ERR",
    level: "MAY",
    hostile: true,
    run: async (run) => {
      run.needsSplit();
      const guest = await run.guest();
      await guest.works();
      guest.ring.split.rawAvailable(0xffff);
      guest.ring.publish("always");
      await run.quiet();
      const told = guest.ring.errFd.clear();
      expect(told, "Nothing was signalled");
    },
  },
  {
    id: "isolation/chain",
    title: "a chain that makes no sense does not stop its ring",
    section: "virtio 1.3 §2.7.5",
    level: "MAY",
    hostile: true,
    run: async (run) => {
      const guest = await run.guest();
      const { ring, workload } = guest;
      const head = ring.add(workload.request().segments);
      ring.driver.amend(head, 0, { address: 0x7fff_0000_0000n });
      ring.publish("always");
      await ring.finish(head);
      await guest.works();
    },
  },
];

/** Flips bits of the descriptor area and the available ring during work. */
async function scribble(run: CheckRun): Promise<void> {
  const guest = await run.guest({ ringSize: 64 });
  await batches(guest, 1);
  const { memory, ring, workload } = guest;
  const { prng } = run;
  const area = 16 * ring.driver.size;
  for (let round = 0; round < 200; round++) {
    const room = Math.min(8, capacityOf(guest));
    if (ring.driver.freeCount < room * workload.descriptors) break;
    for (let i = 0; i < room; i++) ring.add(workload.request().segments);
    ring.publish("always");
    for (let i = 0; i < 50; i++) {
      const [view, at] = memory.view(ring.driver.descriptorArea);
      // Not the addresses: what they point at could be what reads are read of.
      const offset = at + prng.below(area / 16) * 16 + 8 + prng.below(8);
      view.setUint8(offset, view.getUint8(offset) ^ 1 << prng.below(8));
    }
    await new Promise<void>((resolve) => setImmediate(resolve));
    ring.out.clear();
    try {
      while (ring.driver.nextUsed() !== null);
    } catch {
      // A packed ring gives back the id that was scribbled: the driver is lost.
      return;
    }
  }
}
