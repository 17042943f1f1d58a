/**
 * Checks of rings that run: what goes in comes out, once.
 *
 * @module
 */
import type { Check } from "../check.ts";
import { expect, expectEqual } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import type { Guest } from "../guest.ts";

const QUEUE = "virtio 1.3 §2.7";
const STARTING = "vhost-user, Ring states";
const STOPPING = "vhost-user, GET_VRING_BASE";

/** Requests that the ring of `guest` has room for, with `spare` left. */
export function capacityOf(guest: Guest): number {
  return Math.floor(guest.ring.driver.size / guest.workload.descriptors);
}

/** Sends as many requests as there is room for, `rounds` times. */
export async function batches(guest: Guest, rounds: number): Promise<number> {
  const requests = Array.from(
    { length: capacityOf(guest) },
    () => guest.workload.request(),
  );
  for (let round = 0; round < rounds; round++) {
    const sent = requests.map((request) => ({
      request,
      head: guest.ring.add(request.segments),
    }));
    guest.ring.publish();
    for (const { request, head } of sent) {
      request.check(await guest.ring.finish(head));
    }
  }
  return requests.length * rounds;
}

/** Not far before 16 bits change their sign, and before they begin again. */
const BASES = [30_000, 63_000];

/** Sends some thousands of requests from each base, or round a packed ring. */
async function wraps(run: CheckRun): Promise<void> {
  const bases = run.target.packed ? [{}] : BASES.map((base) => ({ base }));
  for (const base of bases) {
    const guest = await run.guest({
      ringSize: 256,
      memory: 16 << 20,
      ...base,
    });
    const requests = Array.from(
      { length: capacityOf(guest) },
      () => guest.workload.request(),
    );
    run.step = "sending 6000 requests";
    for (let sent = 0; sent < 6000; sent += requests.length) {
      for (const { segments } of requests) guest.ring.add(segments);
      guest.ring.publish();
      await guest.ring.finishAll();
    }
    await guest.works();
    run.hangUp(guest);
  }
}

export const RING_CHECKS: readonly Check[] = [
  {
    id: "ring/one-request",
    title: "a request is done",
    section: QUEUE,
    level: "MUST",
    run: async (run) => (await run.guest()).works(),
  },
  {
    id: "ring/many-requests",
    title: "500 requests are done, one after the other",
    section: QUEUE,
    level: "MUST",
    run: async (run) => {
      const guest = await run.guest();
      await guest.works(guest.ring, 500);
    },
  },
  {
    id: "ring/full",
    title: "a ring that is full is emptied, and each head comes back once",
    section: "virtio 1.3 §2.7.8",
    level: "MUST",
    run: async (run) => void await batches(await run.guest(), 8),
  },
  {
    id: "ring/wraps",
    title: "a ring goes on where its indexes wrap",
    section: "virtio 1.3 §2.7.6",
    level: "MUST",
    patience: 4,
    run: wraps,
  },
  {
    id: "ring/base",
    title: "a ring starts at the base that it is told",
    section: "vhost-user, SET_VRING_BASE",
    level: "MUST",
    run: async (run) => {
      run.needsSplit();
      const guest = await run.guest({ base: 1000 });
      await guest.works(guest.ring, 3);
      expectEqual(await guest.ring.stop(), 1003, "The base after 3 requests");
    },
  },
  {
    id: "ring/base-wraps",
    title: "a ring that starts at 65530 goes on at 0",
    section: "vhost-user, SET_VRING_BASE",
    level: "MUST",
    run: async (run) => {
      run.needsSplit();
      const guest = await run.guest({ base: 65530 });
      await guest.works(guest.ring, 10);
      expectEqual(await guest.ring.stop(), 4, "The base after 10 requests");
    },
  },
  {
    id: "ring/base-told",
    title: "GET_VRING_BASE tells where the ring stopped",
    section: STOPPING,
    level: "MUST",
    run: async (run) => {
      run.needsSplit();
      const guest = await run.guest();
      await guest.works(guest.ring, 7);
      expectEqual(await guest.ring.stop(), 7, "The base after 7 requests");
    },
  },
  {
    id: "ring/base-unused",
    title: "GET_VRING_BASE tells the base of a ring that did nothing",
    section: STOPPING,
    level: "SHOULD",
    run: async (run) => {
      run.needsSplit();
      const guest = await run.guest({ base: 77 });
      expectEqual(await guest.ring.stop(), 77, "The base of an unused ring");
    },
  },
  {
    id: "ring/stop-drains",
    title: "what a ring took before GET_VRING_BASE is given back by its answer",
    section: "vhost-user, Suspended device state",
    level: "MUST",
    run: async (run) => {
      run.needsSplit();
      for (let round = 0; round < 20; round++) await stopInMidstream(run);
    },
  },
  {
    id: "ring/restart",
    title: "a ring that was stopped goes on where it was",
    section: STARTING,
    level: "MUST",
    run: async (run) => {
      const guest = await run.guest();
      for (let round = 0; round < 5; round++) {
        await guest.works(guest.ring, 20);
        await guest.ring.start({ base: await guest.ring.stop() });
      }
      await guest.works();
    },
  },
  {
    id: "ring/all-at-once",
    title: "all rings work side by side",
    section: "vhost-user, Multiple queue support",
    level: "MUST",
    run: async (run) => {
      const { target } = run;
      if (target.device === "net") run.skip("see net/pairs");
      const most = Math.min(
        target.facts.queueCount,
        target.options.queueCount ?? 4,
      );
      if (most < 2) run.skip("there is one ring");
      const guest = await run.guest({ ringCount: most });
      await Promise.all(
        guest.rings.map((ring) => guest.works(ring, 50)),
      );
    },
  },
  {
    id: "ring/last-only",
    title: "the last ring works where the others were never set up",
    section: STARTING,
    level: "MUST",
    run: async (run) => {
      const { target } = run;
      if (target.device === "net") run.skip("a pair needs both of its rings");
      const count = target.facts.queueCount;
      if (count < 2) run.skip("there is one ring");
      if (count > 64) run.skip("there are too many rings to lay out");
      const guest = await run.guest({ ringCount: count, start: false });
      const last = guest.rings[count - 1]!;
      await last.start();
      await guest.works(last, 5);
    },
  },
];

/** Stops the ring in the middle of its work; nothing may be in flight then. */
async function stopInMidstream(run: CheckRun): Promise<void> {
  const guest = await run.guest({ ringSize: 256 });
  const { ring } = guest;
  const count = capacityOf(guest);
  for (let i = 0; i < count; i++) ring.add(guest.workload.request().segments);
  ring.publish();
  const base = await ring.stop();
  const given = ring.collect();
  expect(
    base === given,
    `GET_VRING_BASE told ${base} when ${given} requests of ${count} were given ` +
      "back: the others are in flight",
  );
  await ring.mustRest("after the ring was stopped");
  run.hangUp(guest);
}
