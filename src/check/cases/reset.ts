/**
 * Checks of what comes after the end: a reset, or the next front-end.
 *
 * @module
 */
import { VHOST_USER_PROTOCOL_F } from "../../vhost_user/protocol.ts";
import type { Check } from "../check.ts";
import { expectEqual } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";
import { capacityOf } from "./rings.ts";

const RESET = "vhost-user, RESET_DEVICE";
const STATUS = "virtio 1.3 §2.1";

/** ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK */
const STEPS = [1, 3, 11, 15];

/** Sends all that fits, and leaves. */
async function leaveAtWork(run: CheckRun): Promise<void> {
  const guest = await run.guest({ ringSize: 128 });
  const count = capacityOf(guest);
  for (let i = 0; i < count; i++) {
    guest.ring.add(guest.workload.request().segments);
  }
  guest.ring.publish("always");
  run.hangUp(guest);
}

export const RESET_CHECKS: readonly Check[] = [
  {
    id: "reset/reset-device",
    title: "after RESET_DEVICE everything can be set up again",
    section: RESET,
    level: "MUST",
    run: async (run) => {
      run.needsProtocol(VHOST_USER_PROTOCOL_F.RESET_DEVICE, "RESET_DEVICE");
      const guest = await run.guest();
      await guest.works(guest.ring, 3);
      run.step = "RESET_DEVICE";
      await guest.frontend.resetDevice();
      await guest.setUp();
      await guest.works(guest.ring, 3);
    },
  },
  {
    id: "reset/reset-rests",
    title: "after RESET_DEVICE the rings rest",
    section: RESET,
    level: "MUST",
    run: async (run) => {
      run.needsProtocol(VHOST_USER_PROTOCOL_F.RESET_DEVICE, "RESET_DEVICE");
      if (run.target.device === "net") run.skip("a card drops what is sent");
      const guest = await run.guest();
      await guest.works();
      await guest.frontend.resetDevice();
      guest.ring.add(guest.workload.request().segments);
      guest.ring.publish("always");
      await guest.barrier();
      await guest.ring.mustRest("after RESET_DEVICE");
    },
  },
  {
    id: "reset/status",
    title: "the device status is kept",
    section: STATUS,
    level: "MUST",
    run: async (run) => {
      run.needsProtocol(VHOST_USER_PROTOCOL_F.STATUS, "STATUS");
      const { frontend } = await run.guest();
      for (const status of STEPS) {
        await frontend.setStatus(status);
        expectEqual(await frontend.getStatus(), status, "The device status");
      }
    },
  },
  {
    id: "reset/status-zero",
    title: "status 0 resets the device, which can be set up again",
    section: STATUS,
    level: "MUST",
    run: async (run) => {
      run.needsProtocol(VHOST_USER_PROTOCOL_F.STATUS, "STATUS");
      const guest = await run.guest();
      await guest.works();
      await guest.frontend.setStatus(0);
      expectEqual(await guest.frontend.getStatus(), 0, "The device status");
      await guest.setUp();
      await guest.works(guest.ring, 3);
    },
  },
  {
    id: "reconnect/after-work",
    title: "the next front-end starts from the beginning",
    section: "vhost-user, Starting and stopping",
    level: "MUST",
    run: async (run) => {
      for (let i = 0; i < 20; i++) {
        const guest = await run.guest();
        await guest.works(guest.ring, 3);
        run.hangUp(guest);
      }
    },
  },
  {
    id: "reconnect/at-work",
    title: "a front-end that leaves with requests in flight is replaced",
    section: "vhost-user, Starting and stopping",
    level: "MUST",
    hostile: true,
    run: async (run) => {
      for (let i = 0; i < 10; i++) await leaveAtWork(run);
    },
  },
  {
    id: "reconnect/silent",
    title: "a front-end that says nothing and leaves is replaced",
    section: "vhost-user, Starting and stopping",
    level: "MUST",
    hostile: true,
    run: async (run) => {
      for (let i = 0; i < 20; i++) run.hangUp(await run.connect());
      await run.quiet();
    },
  },
];
