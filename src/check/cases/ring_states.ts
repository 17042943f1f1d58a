/**
 * Checks of when a ring runs and when it rests.
 *
 * @module
 */
import { EventFd } from "../../io/event_fd.ts";
import type { Check } from "../check.ts";
import type { CheckRun } from "../check_run.ts";
import type { Guest } from "../guest.ts";

const STATES = "vhost-user, Ring states";

/** A guest with its other rings started and the one that works not. */
async function unstarted(run: CheckRun): Promise<Guest> {
  const guest = await run.guest({ start: false });
  for (const ring of guest.rings) if (ring !== guest.ring) await ring.start();
  return guest;
}

/** Publishes one request without waiting for it: how to see that it is done. */
function publishOne(guest: Guest): () => Promise<void> {
  const request = guest.workload.request();
  const head = guest.ring.add(request.segments);
  guest.ring.publish("always");
  return async () => request.check(await guest.ring.finish(head));
}

const disabled: Check["devices"] = ["block", "rng"];

export const RING_STATE_CHECKS: readonly Check[] = [
  {
    id: "ring-state/starts-disabled",
    title: "with PROTOCOL_FEATURES a ring waits for SET_VRING_ENABLE",
    section: STATES,
    level: "SHOULD",
    devices: disabled,
    run: async (run) => {
      const guest = await unstarted(run);
      await guest.ring.start({ enable: false });
      const done = publishOne(guest);
      await guest.barrier();
      await guest.ring.mustRest("on a ring that was never enabled");
      await guest.ring.enable(true);
      await done();
    },
  },
  {
    id: "ring-state/starts-enabled",
    title: "without PROTOCOL_FEATURES a ring runs at once",
    section: STATES,
    level: "MUST",
    run: startsEnabled,
  },
  {
    id: "ring-state/disabled-rests",
    title: "a ring that is disabled takes nothing",
    section: STATES,
    level: "SHOULD",
    devices: disabled,
    run: async (run) => {
      const guest = await run.guest();
      await guest.works();
      await guest.ring.enable(false);
      const done = publishOne(guest);
      await guest.barrier();
      await guest.ring.mustRest("on a ring that is disabled");
      await guest.ring.enable(true);
      await done();
    },
  },
  {
    id: "ring-state/kick-not-lost",
    title: "a kick of a disabled ring counts once it is enabled",
    section: STATES,
    level: "MUST",
    devices: disabled,
    run: async (run) => {
      const guest = await run.guest();
      for (let round = 0; round < 10; round++) {
        await guest.ring.enable(false);
        const done = publishOne(guest);
        await guest.ring.enable(true);
        await done();
      }
    },
  },
  {
    id: "ring-state/enable-first",
    title: "SET_VRING_ENABLE may come before the rest, as from QEMU's cards",
    section: STATES,
    level: "MUST",
    run: async (run) => {
      const guest = await run.guest({ start: false });
      for (const ring of guest.rings) await ring.enable(true);
      for (const ring of guest.rings) await ring.start({ enable: false });
      await guest.works();
    },
  },
  {
    id: "ring-state/enable-twice",
    title: "SET_VRING_ENABLE may be repeated",
    section: STATES,
    level: "MUST",
    run: async (run) => {
      const guest = await run.guest();
      await guest.ring.enable(true);
      await guest.works();
    },
  },
  {
    id: "ring-state/stopped-rests",
    title: "a ring that was stopped takes nothing, even when it is kicked",
    section: STATES,
    level: "MUST",
    run: async (run) => {
      const guest = await run.guest();
      await guest.works();
      const base = await guest.ring.stop();
      const done = publishOne(guest);
      await guest.barrier();
      await guest.ring.mustRest("on a ring that was stopped");
      await guest.ring.start({ base });
      guest.ring.kickFd.signal();
      await done();
    },
  },
  {
    id: "ring-state/kicked-before",
    title: "a kick descriptor that is readable when it comes starts the ring",
    section: STATES,
    level: "MUST",
    run: async (run) => {
      const guest = await unstarted(run);
      const done = publishOne(guest);
      await guest.ring.start();
      await done();
    },
  },
  {
    id: "ring-state/polled",
    title: "a ring without a kick descriptor is polled",
    section: "vhost-user, SET_VRING_KICK",
    level: "SHOULD",
    run: async (run) => {
      const guest = await unstarted(run);
      await guest.ring.start({ kick: false });
      const request = guest.workload.request();
      const head = guest.ring.add(request.segments);
      guest.ring.publish("never");
      request.check(await guest.ring.finish(head));
    },
  },
  {
    id: "ring-state/no-call",
    title: "a ring without a call descriptor serves a driver that polls",
    section: "vhost-user, SET_VRING_CALL",
    level: "MUST",
    run: async (run) => {
      const guest = await unstarted(run);
      await guest.ring.start({ call: false });
      await guest.works(guest.ring, 20);
    },
  },
  {
    id: "ring-state/call-replaced",
    title: "a new call descriptor on a ring that runs is called from then on",
    section: "vhost-user, SET_VRING_CALL",
    level: "MUST",
    run: callReplaced,
  },
  {
    id: "ring-state/cloud-hypervisor-order",
    title: "a ring may be told in the order NUM, ADDR, BASE, CALL, KICK",
    section: STATES,
    level: "MUST",
    run: async (run) => {
      const guest = await run.guest({ start: false });
      const { frontend } = guest;
      for (const { index, driver } of guest.rings) {
        await frontend.setVringNum(index, driver.size);
      }
      for (const ring of guest.rings) {
        const { index } = ring;
        await frontend.setVringAddr(ring.addresses);
        await frontend.setVringBase(index, run.target.packed ? 0x80008000 : 0);
        await frontend.setVringCall(index, ring.callFd.fd);
        await frontend.setVringKick(index, ring.kickFd.fd);
      }
      for (const ring of guest.rings) await ring.enable(true);
      await guest.works();
    },
  },
  {
    id: "ring-state/call-first",
    title: "SET_VRING_CALL may come before everything else, as from QEMU",
    section: STATES,
    level: "MUST",
    run: async (run) => {
      const guest = await run.guest({ start: false, share: false });
      for (const { index, callFd } of guest.rings) {
        await guest.frontend.setVringCall(index, callFd.fd);
      }
      await guest.share();
      for (const ring of guest.rings) await ring.start();
      await guest.works();
    },
  },
];

async function startsEnabled(run: CheckRun): Promise<void> {
  const guest = await run.guest({ withoutProtocol: true, start: false });
  for (const ring of guest.rings) await ring.start({ enable: false });
  await guest.works(guest.ring, 3);
}

async function callReplaced(run: CheckRun): Promise<void> {
  const guest = await run.guest();
  const { ring, frontend } = guest;
  for (let round = 0; round < 5; round++) {
    await guest.works();
    const before = run.own(ring.callFd);
    ring.callFd = EventFd.open();
    await frontend.setVringCall(ring.index, ring.callFd.fd);
    // Where nothing is acknowledged, the ring may be ahead of the message.
    await guest.barrier();
    ring.called();
    before.clear();
    ring.driver.armInterrupt();
    await guest.works();
    await ring.mustCall();
  }
}
