/**
 * Checks of kicks and calls: none too few, and where it was asked for, none too
 * many.
 *
 * @module
 */
import { VIRTIO_F_EVENT_IDX } from "../../device/features.ts";
import type { Check } from "../check.ts";
import { expect } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import type { Guest, GuestOptions } from "../guest.ts";
import { batches } from "./rings.ts";

const CALLS = "virtio 1.3 §2.7.7.2";
const KICKS = "virtio 1.3 §2.7.10.1";

/** A guest of a ring without event index. */
function plain(run: CheckRun): Promise<Guest> {
  return run.guest({ without: VIRTIO_F_EVENT_IDX });
}

/** A guest of a ring with event index. */
function eventful(run: CheckRun, options: GuestOptions = {}): Promise<Guest> {
  run.needs(VIRTIO_F_EVENT_IDX, "EVENT_IDX");
  return run.guest(options);
}

/** The device stopped the ring, so nothing is on its way any more. */
async function settle(guest: Guest): Promise<void> {
  await guest.ring.stop();
  await guest.run.quiet();
}

export const NOTIFICATION_CHECKS: readonly Check[] = [
  {
    id: "notification/call",
    title: "a request that is given back is called for",
    section: CALLS,
    level: "MUST",
    run: async (run) => {
      const { ring, works } = await callable(await plain(run));
      for (let i = 0; i < 10; i++) {
        await works();
        await ring.mustCall();
      }
    },
  },
  {
    id: "notification/no-interrupt",
    title: "NO_INTERRUPT keeps calls away",
    section: CALLS,
    level: "SHOULD",
    run: async (run) => {
      run.needsSplit();
      const guest = await plain(run);
      const { ring } = guest;
      ring.driver.setNoInterrupt(true);
      await guest.barrier();
      await run.quiet();
      ring.called();
      await guest.works(ring, 20);
      await settle(guest);
      expect(!ring.called(), "The device called in spite of NO_INTERRUPT");
    },
  },
  {
    id: "notification/no-interrupt-lifted",
    title: "calls come again once NO_INTERRUPT is taken back",
    section: CALLS,
    level: "MUST",
    run: async (run) => {
      run.needsSplit();
      const guest = await plain(run);
      const { ring } = guest;
      ring.driver.setNoInterrupt(true);
      await guest.works(ring, 5);
      ring.called();
      ring.driver.setNoInterrupt(false);
      await guest.works();
      await ring.mustCall();
    },
  },
  {
    id: "notification/used-event-ignored",
    title: "without EVENT_IDX what is in used_event means nothing",
    section: CALLS,
    level: "MUST",
    run: async (run) => {
      run.needsSplit();
      const guest = await plain(run);
      const { ring } = guest;
      ring.split.rawUsedEvent(0x7000);
      ring.called();
      await guest.works();
      await ring.mustCall();
    },
  },
  {
    id: "notification/event-call",
    title: "with EVENT_IDX a call comes at used_event",
    section: CALLS,
    level: "MUST",
    run: async (run) => {
      const guest = await eventful(run);
      const { ring } = guest;
      for (let i = 0; i < 20; i++) {
        ring.driver.armInterrupt();
        await guest.works();
        await ring.mustCall();
      }
    },
  },
  {
    id: "notification/event-call-within",
    title: "used_event within a batch is called for",
    section: CALLS,
    level: "MUST",
    run: async (run) => {
      run.needsSplit();
      const guest = await eventful(run);
      const { ring } = guest;
      for (let round = 0; round < 10; round++) {
        ring.called();
        ring.split.rawUsedEvent((ring.split.usedIndex + 5) & 0xffff);
        await batches(guest, 1);
        await ring.mustCall();
      }
    },
  },
  {
    id: "notification/event-call-wraps",
    title: "used_event counts past 65535",
    section: CALLS,
    level: "MUST",
    run: async (run) => {
      run.needsSplit();
      const guest = await eventful(run, { base: 65530 });
      const { ring } = guest;
      for (let i = 0; i < 12; i++) {
        ring.driver.armInterrupt();
        await guest.works();
        await ring.mustCall();
      }
    },
  },
  {
    id: "notification/event-quiet",
    title: "with EVENT_IDX no call comes before used_event",
    section: CALLS,
    level: "SHOULD",
    run: async (run) => {
      run.needsSplit();
      const guest = await eventful(run);
      const { ring } = guest;
      ring.split.rawUsedEvent(1000);
      await guest.works(ring, 2);
      await run.quiet();
      ring.called();
      await guest.works(ring, 20);
      await settle(guest);
      expect(!ring.called(), "The device called before used_event");
    },
  },
  {
    id: "notification/event-flags-ignored",
    title: "with EVENT_IDX the flag NO_INTERRUPT means nothing",
    section: CALLS,
    level: "MUST",
    run: async (run) => {
      run.needsSplit();
      const guest = await eventful(run);
      const { ring } = guest;
      ring.driver.setNoInterrupt(true);
      ring.driver.armInterrupt();
      ring.called();
      await guest.works();
      await ring.mustCall();
    },
  },
  {
    id: "notification/kicks-by-flag",
    title: "300 requests are done with the kicks that NO_NOTIFY lets through",
    section: KICKS,
    level: "MUST",
    run: async (run) => {
      const guest = await plain(run);
      await guest.works(guest.ring, 300);
    },
  },
  {
    id: "notification/kicks-by-event",
    title: "300 requests are done with the kicks that avail_event asks for",
    section: KICKS,
    level: "MUST",
    run: async (run) => {
      const guest = await eventful(run);
      await guest.works(guest.ring, 300);
    },
  },
  {
    id: "notification/kicks-by-event-wrap",
    title: "avail_event counts past 65535",
    section: KICKS,
    level: "MUST",
    run: async (run) => {
      run.needsSplit();
      const guest = await eventful(run, { base: 65500 });
      await guest.works(guest.ring, 100);
    },
  },
  {
    id: "notification/kicks-after-rest",
    title: "a device that was idle for a while asks for the next kick",
    section: KICKS,
    level: "MUST",
    run: async (run) => {
      const guest = await run.guest();
      for (let i = 0; i < 10; i++) {
        await guest.works();
        await run.quiet();
      }
    },
  },
  {
    id: "notification/spurious-kicks",
    title: "kicks for nothing do no harm",
    section: "virtio 1.3 §2.7.10.2",
    level: "MUST",
    run: async (run) => {
      const guest = await run.guest();
      for (let i = 0; i < 1000; i++) guest.ring.kickFd.signal();
      await guest.works();
      for (let i = 0; i < 1000; i++) guest.ring.kickFd.signal();
      await guest.works();
    },
  },
];

async function callable(guest: Guest): Promise<{
  ring: Guest["ring"];
  works: () => Promise<void>;
}> {
  // Some call once when they are given the descriptor.
  await guest.barrier();
  await guest.run.quiet();
  guest.ring.called();
  return { ring: guest.ring, works: () => guest.works() };
}
