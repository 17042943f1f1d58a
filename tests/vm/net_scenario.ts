/**
 * One guest with cards of several kinds, each on a TAP interface in a network
 * namespace: what its driver negotiates, and that traffic passes.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { LinkCounters } from "../support/netns.ts";
import { Guest } from "./guest.ts";
import { captured } from "./net_capture.ts";
import {
  bringUp,
  checkEthtool,
  negotiated,
  NET_FEATURES,
  type NetFeature,
} from "./net_guest.ts";
import { Lab } from "./net_lab.ts";
import { type CardPlan, JUMBO, macOf, plansOf, plug } from "./net_plan.ts";
import type { NetSetup } from "./net_setup.ts";
import {
  type End,
  iperf,
  iperfBothWays,
  ping,
  PINGS,
  sendFile,
} from "./net_traffic.ts";
import { showRings } from "./ring_kind.ts";
import type { Step } from "./scenario.ts";

/** What is before the data of a ping of IPv4: Ethernet, IP and ICMP headers. */
const ETHERNET = 14;
const IP_ICMP = 28;

/** A card in use: both ends of its link. */
interface Link {
  plan: CardPlan;
  guest: End;
  host: End;
}

/** Shows what was negotiated, and small and much traffic both ways. */
async function showLink(step: Step, guest: Guest, lab: Lab, link: Link) {
  const { name, without } = link.plan;
  await step(`${name}: features and ethtool -k agree`, async () => {
    const features = await negotiated(guest, name);
    // Of UFO each kernel thinks differently.
    const names = (Object.keys(NET_FEATURES) as NetFeature[])
      .filter((feature) => !feature.endsWith("_ufo"));
    for (const feature of names) {
      const wanted = !without.includes(feature);
      assertEquals(features.has(feature), wanted, `${feature} of ${name}`);
    }
    return await checkEthtool(guest, name);
  });
  await step(`${name}: the host's end takes what the guest does`, async () => {
    const has = await negotiated(guest, name);
    const text = await lab.namespace.output(`ethtool -k ${name}`);
    const pairs = [
      ["tx-checksum-ip-generic", "guest_csum"],
      ["tx-tcp-segmentation", "guest_tso4"],
      ["tx-tcp6-segmentation", "guest_tso6"],
    ] as const;
    for (const [line, feature] of pairs) {
      const state = has.has(feature) ? "on" : "off";
      assert(text.includes(`${line}: ${state}`), `${feature}: ${text}`);
    }
    return pairs.map(([, feature]) => feature).join(", ");
  });
  await step(`${name}: ping both ways`, async () => {
    await ping(link.guest, link.host);
    return await ping(link.host, link.guest);
  });
}

async function showTcp(step: Step, link: Link) {
  const { name, pcap, mebibytes } = link.plan;
  // What it sends in a second makes a capture of gigabytes.
  if (!pcap) {
    await step(`${name}: iperf3 TCP both ways`, async () => {
      return await iperfBothWays(link.guest, link.host);
    });
  }
  await step(`${name}: ${mebibytes} MiB each way, equal sha256`, async () => {
    const out = await sendFile(link.guest, link.host, mebibytes);
    const back = await sendFile(link.host, link.guest, mebibytes);
    return `${out}, ${back}`;
  });
}

async function showIpv6(step: Step, lab: Lab, guest: Guest, link: Link) {
  await step(`${link.plan.name}: iperf3 TCP over IPv6 both ways`, async () => {
    const { name } = link.plan;
    // Each link is a network of its own.
    const address = link.host.address.replace(
      /^10\.77\.(\d+)\..*$/,
      "fd77:$1::",
    );
    await lab.namespace.ip(`addr add ${address}1/64 dev ${name} nodad`);
    await guest.output(`ip addr add ${address}2/64 dev ${name} nodad`);
    return await iperfBothWays(
      { ...link.guest, address: `${address}2` },
      { ...link.host, address: `${address}1` },
    );
  });
}

async function showJumbo(step: Step, guest: Guest, lab: Lab, link: Link) {
  await step(`an MTU of ${JUMBO} arrives in the guest`, async () => {
    const mtu = await guest.output(`cat /sys/class/net/${link.plan.name}/mtu`);
    assertEquals(mtu, String(JUMBO));
    return mtu;
  });
  await step(`frames of ${JUMBO} bytes both ways, in one piece`, async () => {
    const { name } = link.plan;
    // Requests and answers.
    const count = 2 * PINGS;
    const before = await lab.namespace.counters(name);
    await ping(link.guest, link.host, JUMBO - IP_ICMP);
    await ping(link.host, link.guest, JUMBO - IP_ICMP);
    const after = await lab.namespace.counters(name);
    const bytes = count * (JUMBO + ETHERNET);
    for (const way of ["rx", "tx"] as const) {
      const frames = after[`${way}Packets`] - before[`${way}Packets`];
      const size = after[`${way}Bytes`] - before[`${way}Bytes`];
      // Neighbours may ask for each other meanwhile.
      assert(
        frames >= count && frames < 2 * count + 4,
        `${frames} frames ${way}`,
      );
      assert(size >= bytes, `${size} bytes ${way} in ${frames} frames`);
    }
    return `${bytes} bytes in ${count} frames each way`;
  });
}

async function showPairs(step: Step, guest: Guest, link: Link) {
  const { name } = link.plan;
  await step(`${name}: 2 queue pairs are in use`, async () => {
    const text = await guest.output(`ethtool -l ${name}`);
    const counts = [...text.matchAll(/^Combined:\s*(\d+)/gm)]
      .map(([, count]) => Number(count));
    assertEquals(counts, [2, 2], text);
    return "2 of 2";
  });
  await step(`${name}: traffic passes on both pairs, both ways`, async () => {
    const counts = async () => {
      const text = await guest.output(`ethtool -S ${name}`);
      return ["rx_queue_0", "rx_queue_1", "tx_queue_0", "tx_queue_1"].map(
        (queue) => Number(text.match(`${queue}_packets: (\\d+)`)![1]),
      );
    };
    const before = await counts();
    for (const processor of [0, 1]) {
      await iperf(link.guest, link.host, { processor });
      await iperf(link.guest, link.host, { processor, more: "-R" });
    }
    const after = await counts();
    const grown = after.map((count, index) => count - before[index]!);
    const text = `rx ${grown[0]} and ${grown[1]}, tx ${grown[2]} and ` +
      `${grown[3]} frames`;
    // A few would be there in any case.
    assert(grown.every((count) => count > 20), text);
    return text;
  });
  await step(`${name}: 1 pair, then 2 again`, async () => {
    for (const count of [1, 2]) {
      await guest.output(`ethtool -L ${name} combined ${count}`);
      for (const processor of [0, 1]) {
        await iperf(link.guest, link.host, { processor });
      }
      await ping(link.host, link.guest);
    }
    return "traffic all along";
  });
}

async function showGrowth(step: Step, guest: Guest, links: readonly Link[]) {
  await step("memory plugged in: traffic goes on, on both pairs", async () => {
    // QEMU 7.2 tells of it once for each pair.
    await guest.command("object-add", {
      "qom-type": "memory-backend-memfd",
      id: "more",
      size: 128 << 20,
      share: true,
    });
    await guest.command("device_add", {
      driver: "pc-dimm",
      id: "dimm",
      memdev: "more",
    });
    for (const link of links) {
      for (const processor of [0, 1]) {
        await iperf(link.guest, link.host, { processor });
      }
      await ping(link.host, link.guest);
    }
    return links.map(({ plan }) => plan.name).join(", ");
  });
}

/** Shows that a capture has each frame, after the process has ended. */
async function showCapture(
  step: Step,
  lab: Lab,
  name: string,
  counted: LinkCounters,
) {
  await step(`${name}: the capture has each frame both ways`, async () => {
    const frames = await captured(lab.capturePath(name));
    assertEquals(
      [frames.fromGuest, frames.toGuest, frames.total],
      [
        counted.rxPackets,
        counted.txPackets,
        counted.rxPackets + counted.txPackets,
      ],
    );
    return `${frames.fromGuest} from the guest, ${frames.toGuest} to it`;
  });
}

/** Shows what there is to see of one card. */
async function showCard(step: Step, guest: Guest, lab: Lab, link: Link) {
  const { plan } = link;
  const path = `/sys/class/net/${plan.name}/device`;
  await showRings(step, guest, path, plan.kind.packed);
  await showLink(step, guest, lab, link);
  await showTcp(step, link);
  if (plan.model === "fast") await showIpv6(step, lab, guest, link);
  if (plan.mtu !== undefined) await showJumbo(step, guest, lab, link);
  if (plan.pairCount !== undefined) await showPairs(step, guest, link);
}

/** Ends the traffic of a card that is captured; what passed till then. */
async function finish(
  guest: Guest,
  lab: Lab,
  name: string,
): Promise<LinkCounters> {
  await guest.output(`ip link set ${name} down`);
  await lab.namespace.ip(`link set ${name} down`);
  return await lab.namespace.counters(name);
}

/** Shows what a guest's cards on TAP interfaces do. */
export async function netScenario(step: Step, setup: NetSetup): Promise<void> {
  await using lab = await Lab.set();
  const plans = plansOf(setup);
  const cards = await plug(lab, plans);
  await using guest = await Guest.boot({ boot: setup.boot, cards });
  const links: Link[] = [];
  for (const [index, plan] of plans.entries()) {
    const address = `10.77.${index}.2`;
    await bringUp(guest, macOf(index), plan.name, address);
    const link: Link = {
      plan,
      guest: { shell: guest, address, directory: "/tmp" },
      host: lab.end(`10.77.${index}.1`),
    };
    links.push(link);
    await showCard(step, guest, lab, link);
  }
  await showGrowth(
    step,
    guest,
    links.filter(({ plan }) => plan.pairCount !== undefined),
  );
  // Nothing passes any more, and the process has written what did.
  const counted = new Map<string, LinkCounters>();
  for (const { name, pcap } of plans) {
    if (pcap) counted.set(name, await finish(guest, lab, name));
  }
  await guest.powerOff();
  await step("stopped by SIGTERM: exit code 0", async () => {
    const { code } = await lab.backEnd.stop();
    assertEquals(code, 0, lab.backEnd.log);
    return "so it is";
  });
  for (const [name, counters] of counted) {
    await showCapture(step, lab, name, counters);
  }
}
