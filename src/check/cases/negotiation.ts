/**
 * Checks of what is offered, and of how it is agreed on.
 *
 * @module
 */
import {
  VHOST_USER_F_PROTOCOL_FEATURES,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_VERSION_1,
} from "../../device/features.ts";
import type { Frontend } from "../../vhost_user/frontend.ts";
import { VHOST_USER_PROTOCOL_F } from "../../vhost_user/protocol.ts";
import type { Check } from "../check.ts";
import { expect, expectEqual } from "../verdict.ts";
import type { CheckRun } from "../check_run.ts";

const F = VHOST_USER_PROTOCOL_F;
const OFFER = "virtio 1.3 §2.2.2";
const PROTOCOL = "vhost-user, Protocol features";

/** A protocol feature, and one that it is nothing without. */
const PROTOCOL_NEEDS: readonly [string, number, string, number][] = [
  ["BACKEND_SEND_FD", F.BACKEND_SEND_FD, "BACKEND_REQ", F.BACKEND_REQ],
  ["HOST_NOTIFIER", F.HOST_NOTIFIER, "BACKEND_REQ", F.BACKEND_REQ],
  ["INBAND", F.INBAND_NOTIFICATIONS, "BACKEND_REQ", F.BACKEND_REQ],
  ["INBAND", F.INBAND_NOTIFICATIONS, "REPLY_ACK", F.REPLY_ACK],
];

/** What a network card must offer for what, by bits, virtio 1.3 §5.1.3.1. */
const NET_NEEDS: readonly [string, number, readonly number[]][] = [
  ["GUEST_TSO4", 7, [1]],
  ["GUEST_TSO6", 8, [1]],
  ["GUEST_ECN", 9, [7, 8]],
  ["GUEST_UFO", 10, [1]],
  ["HOST_TSO4", 11, [0]],
  ["HOST_TSO6", 12, [0]],
  ["HOST_ECN", 13, [11, 12]],
  ["HOST_UFO", 14, [0]],
  ["GUEST_USO4", 54, [1]],
  ["GUEST_USO6", 55, [1]],
  ["HOST_USO", 56, [0]],
];

/** Everything that is offered, as one text. */
async function offerOf(frontend: Frontend): Promise<string> {
  const features = await frontend.getFeatures();
  const has = (features & VHOST_USER_F_PROTOCOL_FEATURES) !== 0n;
  const protocol = has ? await frontend.getProtocolFeatures() : 0n;
  return `0x${features.toString(16)} and 0x${protocol.toString(16)}`;
}

export const NEGOTIATION_CHECKS: readonly Check[] = [
  {
    id: "negotiation/stable",
    title: "what is offered stays the same, on the next connection too",
    section: "vhost-user, GET_FEATURES",
    level: "MUST",
    run: async (run) => {
      const first = await run.connect();
      const offer = await offerOf(first);
      expectEqual(
        await offerOf(first),
        offer,
        "What is offered when asked again",
      );
      run.hangUp(first);
      const again = await offerOf(await run.connect());
      expectEqual(again, offer, "What is offered to the next front-end");
    },
  },
  {
    id: "negotiation/version-1",
    title: "VERSION_1 is offered",
    section: "virtio 1.3 §6.2",
    level: "MUST",
    run: ({ target }) => {
      expect(target.offers(VIRTIO_F_VERSION_1), "Feature 32 is not offered");
      return Promise.resolve();
    },
  },
  {
    id: "negotiation/protocol-features",
    title: "protocol features can be negotiated",
    section: PROTOCOL,
    level: "SHOULD",
    run: ({ target }) => {
      const offered = target.offers(VHOST_USER_F_PROTOCOL_FEATURES);
      expect(offered, "Feature 30 is not offered");
      return Promise.resolve();
    },
  },
  {
    id: "negotiation/reply-ack",
    title: "REPLY_ACK is offered, so that failures can be told",
    section: "vhost-user, REPLY_ACK",
    level: "SHOULD",
    run: ({ target }) => {
      const offered = target.offersProtocol(F.REPLY_ACK);
      expect(offered, "Protocol feature 3 is not offered");
      return Promise.resolve();
    },
  },
  {
    id: "negotiation/protocol-consistent",
    title: "no protocol feature is offered without those that it needs",
    section: PROTOCOL,
    level: "MUST",
    run: ({ target }) => {
      for (const [name, feature, needed, other] of PROTOCOL_NEEDS) {
        if (!target.offersProtocol(feature)) continue;
        const there = target.offersProtocol(other);
        expect(there, `${name} is offered without ${needed}`);
      }
      return Promise.resolve();
    },
  },
  {
    id: "negotiation/features-consistent",
    title: "no offload is offered without the checksums that it needs",
    section: OFFER,
    level: "MUST",
    devices: ["net"],
    run: ({ target }) => {
      for (const [name, bit, needed] of NET_NEEDS) {
        if (!target.offers(1n << BigInt(bit))) continue;
        const there = needed.some((other) =>
          target.offers(1n << BigInt(other))
        );
        expect(there, `${name} is offered without bit ${needed.join(" or ")}`);
      }
      return Promise.resolve();
    },
  },
  {
    id: "negotiation/protocol-first",
    title: "protocol features are agreed on before SET_FEATURES",
    section: PROTOCOL,
    level: "MUST",
    run: async (run) => {
      needsProtocolFeatures(run);
      const frontend = await run.connect();
      await frontend.getFeatures();
      const offered = await frontend.getProtocolFeatures();
      await frontend.setProtocolFeatures(offered & 1n << 3n);
      await frontend.getFeatures();
    },
  },
  {
    id: "negotiation/features-first",
    title: "SET_FEATURES comes before protocol features, as from libblkio",
    section: PROTOCOL,
    level: "MUST",
    run: async (run) => {
      needsProtocolFeatures(run);
      const frontend = await run.connect();
      await frontend.setOwner();
      await frontend.setFeatures(run.target.accepted);
      const offered = await frontend.getProtocolFeatures();
      await frontend.setProtocolFeatures(offered & 1n << 3n);
      await frontend.getFeatures();
    },
  },
  {
    id: "negotiation/few",
    title: "a driver that takes next to no feature is served",
    section: OFFER,
    level: "SHOULD",
    run: async (run) => {
      const features = run.target.accepted &
        (VIRTIO_F_VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES | 1n << 34n);
      const guest = await run.guest({ features });
      await guest.works(guest.ring, 3);
    },
  },
  {
    id: "negotiation/ring-features",
    title: "a driver takes any of INDIRECT_DESC and EVENT_IDX",
    section: OFFER,
    level: "SHOULD",
    run: async (run) => {
      const both = VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
      for (
        const without of [0n, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX, both]
      ) {
        const guest = await run.guest({ without });
        await guest.works(guest.ring, 3);
        run.hangUp(guest);
      }
    },
  },
  {
    id: "negotiation/no-protocol-feature",
    title: "a front-end that takes no protocol feature is served",
    section: PROTOCOL,
    level: "MUST",
    run: async (run) => {
      const guest = await run.guest({ protocolFeatures: 0n });
      await guest.works(guest.ring, 3);
    },
  },
  {
    id: "negotiation/twice",
    title: "features are agreed on twice, as by QEMU for each queue pair",
    section: "vhost-user, SET_FEATURES",
    level: "MUST",
    run: async (run) => {
      const guest = await run.guest({ start: false });
      const { features, frontend } = guest;
      // All but SET_OWNER, which begins a session.
      await frontend.getFeatures();
      if ((features & VHOST_USER_F_PROTOCOL_FEATURES) !== 0n) {
        await frontend.getProtocolFeatures();
        await frontend.setProtocolFeatures(frontend.protocolFeatures);
      }
      await frontend.setFeatures(features);
      for (const ring of guest.rings) await ring.start();
      await guest.works();
    },
  },
  {
    id: "negotiation/queue-num",
    title: "GET_QUEUE_NUM says at least what the device needs, each time",
    section: "vhost-user, GET_QUEUE_NUM",
    level: "MUST",
    run: async (run) => {
      run.needsProtocol(F.MQ, "MQ");
      const guest = await run.guest({ start: false });
      const count = await guest.frontend.getQueueNum();
      // QEMU and DPDK count pairs where we count rings.
      expect(count >= 1, `There are ${count} queues, wanted one at least`);
      expectEqual(await guest.frontend.getQueueNum(), count, "Asked again, it");
    },
  },
  {
    id: "negotiation/unoffered-feature",
    title: "a feature that was not offered is refused",
    section: OFFER,
    level: "MAY",
    hostile: true,
    run: async (run) => {
      run.needsProtocol(F.REPLY_ACK, "REPLY_ACK");
      const spare = [63n, 62n, 61n, 49n].find((bit) =>
        !run.target.offers(1n << bit)
      );
      if (spare === undefined) return run.skip("everything is offered");
      const frontend = await run.connect();
      await frontend.negotiate({ features: run.target.accepted });
      const features = run.target.accepted | 1n << spare;
      const refused = await refuses(frontend.setFeatures(features));
      expect(refused, `Feature ${spare} was accepted`);
    },
  },
  {
    id: "negotiation/unoffered-protocol-feature",
    title: "a protocol feature that was not offered is refused",
    section: PROTOCOL,
    level: "MAY",
    hostile: true,
    run: async (run) => {
      run.needsProtocol(F.REPLY_ACK, "REPLY_ACK");
      const frontend = await run.connect();
      const { protocolFeatures } = await frontend.negotiate();
      const features = protocolFeatures | 1n << 63n;
      const refused = await refuses(frontend.setProtocolFeatures(features));
      expect(refused, "Protocol feature 63 was accepted");
    },
  },
];

function needsProtocolFeatures(run: CheckRun): void {
  run.needs(VHOST_USER_F_PROTOCOL_FEATURES, "PROTOCOL_FEATURES");
}

/** Whether the request is answered by a refusal, or by hanging up. */
export async function refuses(request: Promise<unknown>): Promise<boolean> {
  try {
    await request;
    return false;
  } catch {
    return true;
  }
}
