/**
 * Two guests on a switch inside the process: no TAP interface, no namespace.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { BackEnd } from "./back_end.ts";
import { Guest } from "./guest.ts";
import { captured } from "./net_capture.ts";
import { bringUp } from "./net_guest.ts";
import type { NetSetup } from "./net_scenario.ts";
import {
  answers,
  type End,
  iperfBothWays,
  ping,
  sendFile,
} from "./net_traffic.ts";
import type { Step } from "./scenario.ts";
import { socketPathOf, startServing } from "./serving.ts";

/** A port of the switch and the card on it. */
interface Port {
  name: string;
  mac: string;
  segment: string;
  address: string;
}

const LEFT: Port = {
  name: "left",
  mac: "52:54:00:88:00:01",
  segment: "lab0",
  address: "10.88.0.1",
};
const RIGHT: Port = {
  name: "right",
  mac: "52:54:00:88:00:02",
  segment: "lab0",
  address: "10.88.0.2",
};
/** The second card of the left guest, in the same network, but on its own. */
const ASIDE: Port = {
  name: "aside",
  mac: "52:54:00:88:00:03",
  segment: "lab1",
  address: "10.88.0.3",
};
const PORTS = [LEFT, RIGHT, ASIDE];

const FILE_MEBIBYTES = 8;

async function showTraffic(step: Step, left: End, right: End) {
  await step("ping both ways", async () => {
    await ping(left, right);
    return await ping(right, left);
  });
  await step("iperf3 TCP both ways", async () => {
    return await iperfBothWays(left, right);
  });
  await step(`${FILE_MEBIBYTES} MiB each way, equal sha256`, async () => {
    const out = await sendFile(left, right, FILE_MEBIBYTES);
    const back = await sendFile(right, left, FILE_MEBIBYTES);
    return `${out}, ${back}`;
  });
}

async function showNoTap(step: Step, backEnd: BackEnd) {
  await step("there is no TAP interface", () => {
    const { descriptors } = backEnd.holdings();
    assertEquals(descriptors["/dev/net/tun"] ?? 0, 0);
    return Promise.resolve(Object.keys(descriptors).join(", "));
  });
}

async function showSegments(step: Step, left: Guest, right: End) {
  await step("a card of another segment hears and reaches nobody", async () => {
    await bringUp(left, ASIDE.mac, ASIDE.name, ASIDE.address);
    // The way to the other guest over this card alone.
    await left.output(`ip route add ${right.address}/32 dev ${ASIDE.name}`);
    const end = { shell: left, address: ASIDE.address, directory: "/tmp" };
    assert(!await answers(end, right), "The other guest answers");
    const sent = await counter(left, ASIDE.name, "tx_packets");
    assert(sent > 0, "Nothing was sent at all");
    assertEquals(await counter(left, ASIDE.name, "rx_packets"), 0);
    await left.output(`ip route del ${right.address}/32 dev ${ASIDE.name}`);
    await ping({ ...end, address: LEFT.address }, right);
    return `${sent} frames sent, none received`;
  });
}

async function counter(
  guest: Guest,
  name: string,
  what: string,
): Promise<number> {
  const path = `/sys/class/net/${name}/statistics/${what}`;
  return Number(await guest.output(`cat ${path}`));
}

/** A guest leaves, and another takes its port while the first goes on. */
async function showSuccession(
  step: Step,
  setup: NetSetup,
  directory: string,
  left: End,
) {
  await step("a guest that follows the other on its port", async () => {
    await using guest = await bootOn(setup, directory, [RIGHT]);
    const right = await endOf(guest, RIGHT);
    await ping(left, right);
    await ping(right, left);
    await guest.powerOff();
    return "ping both ways";
  });
}

async function bootOn(
  { boot }: NetSetup,
  directory: string,
  ports: readonly Port[],
): Promise<Guest> {
  const cards = ports.map(({ name, mac }) => ({
    socketPath: socketPathOf(directory, name),
    mac,
  }));
  return await Guest.boot({ boot, cards, memoryMebibytes: 256 });
}

async function endOf(guest: Guest, port: Port): Promise<End> {
  await bringUp(guest, port.mac, port.name, port.address);
  return { shell: guest, address: port.address, directory: "/tmp" };
}

async function showGuests(
  step: Step,
  setup: NetSetup,
  directory: string,
  backEnd: BackEnd,
): Promise<{ received: number; sent: number }> {
  await using leftGuest = await bootOn(setup, directory, [LEFT, ASIDE]);
  const left = await endOf(leftGuest, LEFT);
  {
    await using rightGuest = await bootOn(setup, directory, [RIGHT]);
    const right = await endOf(rightGuest, RIGHT);
    await showTraffic(step, left, right);
    await showNoTap(step, backEnd);
    await showSegments(step, leftGuest, right);
    await rightGuest.powerOff();
  }
  if (setup.thorough) await showSuccession(step, setup, directory, left);
  // Nobody is left who could send to it.
  await leftGuest.output(`ip link set ${LEFT.name} down`);
  const received = await counter(leftGuest, LEFT.name, "rx_packets");
  const sent = await counter(leftGuest, LEFT.name, "tx_packets");
  await leftGuest.powerOff();
  return { received, sent };
}

/** Shows two guests that talk through a switch. */
export async function netSwitchScenario(
  step: Step,
  setup: NetSetup,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "ringside-net-" });
  const capture = `${directory}/left.pcapng`;
  try {
    await using backEnd = await startServing(
      directory,
      PORTS.map(({ name, mac, segment }) => ({
        device: "net",
        name,
        mac,
        segment,
        "backend": "switch",
        "data-plane": setup.plane,
        // It is large enough without the data.
        ...(name === LEFT.name ? { "pcap": capture, "pcap-snaplen": 128 } : {}),
      })),
    );
    const counted = await showGuests(step, setup, directory, backEnd);
    await step("stopped by SIGTERM: exit code 0", async () => {
      const { code } = await backEnd.stop();
      assertEquals(code, 0, backEnd.log);
      return "so it is";
    });
    await step(
      "the capture has each frame that the guest counted",
      async () => {
        const frames = await captured(capture);
        assertEquals(
          [frames.toGuest, frames.fromGuest],
          [counted.received, counted.sent],
        );
        assertEquals(frames.total, counted.received + counted.sent);
        return `${frames.toGuest} to the guest, ${frames.fromGuest} from it`;
      },
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
