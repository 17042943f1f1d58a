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
import {
  describeKind,
  type NetSetup,
  prefixed,
  type ServedKind,
} from "./net_setup.ts";
import {
  answers,
  type End,
  iperfBothWays,
  ping,
  sendFile,
} from "./net_traffic.ts";
import { showRings } from "./ring_kind.ts";
import type { Step } from "./scenario.ts";
import { socketPathOf, startServing } from "./serving.ts";

/** A port of the switch and the card on it. */
interface Port {
  name: string;
  mac: string;
  segment: string;
  address: string;
}

/** A process with a switch: where it is, and its ports. */
interface Switch {
  kind: ServedKind;
  directory: string;
  backEnd: BackEnd;
  left: Port;
  right: Port;
  /** The second card of the left guest, in the same network, but on its own. */
  aside: Port;
}

/** The ports of process number `index`. */
function portsOf(index: number): Pick<Switch, "left" | "right" | "aside"> {
  const port = (name: string, segment: string, number: number): Port => ({
    name: `${name}${index}`,
    mac: `52:54:00:88:0${index}:0${number}`,
    segment,
    address: `10.88.${index}.${number}`,
  });
  return {
    left: port("left", "lab0", 1),
    right: port("right", "lab0", 2),
    aside: port("aside", "lab1", 3),
  };
}

function capturePath({ directory, left }: Switch): string {
  return `${directory}/${left.name}.pcapng`;
}

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

async function showSegments(
  step: Step,
  leftGuest: Guest,
  { left, aside }: Switch,
  right: End,
) {
  await step("a card of another segment hears and reaches nobody", async () => {
    await bringUp(leftGuest, aside.mac, aside.name, aside.address);
    // The way to the other guest over this card alone.
    await leftGuest.output(
      `ip route add ${right.address}/32 dev ${aside.name}`,
    );
    const end = { shell: leftGuest, address: aside.address, directory: "/tmp" };
    assert(!await answers(end, right), "The other guest answers");
    const sent = await counter(leftGuest, aside.name, "tx_packets");
    assert(sent > 0, "Nothing was sent at all");
    assertEquals(await counter(leftGuest, aside.name, "rx_packets"), 0);
    await leftGuest.output(
      `ip route del ${right.address}/32 dev ${aside.name}`,
    );
    await ping({ ...end, address: left.address }, right);
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

/** A guest leaves, and another takes its ports while the first goes on. */
async function showSuccession(
  step: Step,
  setup: NetSetup,
  all: readonly Switch[],
  leftGuest: Guest,
) {
  await step("a guest that follows the other on its ports", async () => {
    await using guest = await bootOn(setup, all, (each) => [each.right]);
    for (const each of all) {
      const left = endOn(leftGuest, each.left);
      const right = await bringEnd(guest, each.right);
      await ping(left, right);
      await ping(right, left);
    }
    await guest.powerOff();
    return "ping both ways";
  });
}

async function bootOn(
  { boot }: NetSetup,
  all: readonly Switch[],
  portsOn: (each: Switch) => Port[],
): Promise<Guest> {
  const cards = all.flatMap((each) =>
    portsOn(each).map(({ name, mac }) => ({
      socketPath: socketPathOf(each.directory, name),
      mac,
      packed: each.kind.packed,
    }))
  );
  return await Guest.boot({ boot, cards, memoryMebibytes: 256 });
}

function endOn(guest: Guest, { address }: Port): End {
  return { shell: guest, address, directory: "/tmp" };
}

async function bringEnd(guest: Guest, port: Port): Promise<End> {
  await bringUp(guest, port.mac, port.name, port.address);
  return endOn(guest, port);
}

/** What the left guest counted on a port, received and sent. */
type Counted = readonly [received: number, sent: number];

async function showGuests(
  step: Step,
  setup: NetSetup,
  all: readonly Switch[],
): Promise<Counted[]> {
  await using leftGuest = await bootOn(setup, all, (each) => [
    each.left,
    each.aside,
  ]);
  {
    await using rightGuest = await bootOn(setup, all, (each) => [each.right]);
    for (const each of all) {
      const own = prefixed(step, describeKind(each.kind));
      const left = await bringEnd(leftGuest, each.left);
      const right = await bringEnd(rightGuest, each.right);
      const path = `/sys/class/net/${each.left.name}/device`;
      await showRings(own, leftGuest, path, each.kind.packed);
      await showTraffic(own, left, right);
      await showNoTap(own, each.backEnd);
      await showSegments(own, leftGuest, each, right);
    }
    await rightGuest.powerOff();
  }
  if (setup.thorough) await showSuccession(step, setup, all, leftGuest);
  const counted: Counted[] = [];
  for (const { left: { name } } of all) {
    // Nobody is left who could send to it.
    await leftGuest.output(`ip link set ${name} down`);
    const received = await counter(leftGuest, name, "rx_packets");
    const sent = await counter(leftGuest, name, "tx_packets");
    counted.push([received, sent]);
  }
  await leftGuest.powerOff();
  return counted;
}

/** Starts process number `index` in `root`. */
async function serve(
  root: string,
  kind: ServedKind,
  index: number,
): Promise<Switch> {
  const directory = `${root}/${index}`;
  await Deno.mkdir(directory);
  const ports = portsOf(index);
  const capture = `${directory}/${ports.left.name}.pcapng`;
  const backEnd = await startServing(
    directory,
    [ports.left, ports.right, ports.aside].map(({ name, mac, segment }) => ({
      device: "net",
      name,
      mac,
      segment,
      "backend": "switch",
      "data-plane": kind.plane,
      // It is large enough without the data.
      ...(name === ports.left.name
        ? { "pcap": capture, "pcap-snaplen": 128 }
        : {}),
    })),
  );
  return { kind, directory, backEnd, ...ports };
}

async function showEnd(
  step: Step,
  each: Switch,
  [received, sent]: Counted,
) {
  await step("stopped by SIGTERM: exit code 0", async () => {
    const { code } = await each.backEnd.stop();
    assertEquals(code, 0, each.backEnd.log);
    return "so it is";
  });
  await step("the capture has each frame that the guest counted", async () => {
    const frames = await captured(capturePath(each));
    assertEquals([frames.toGuest, frames.fromGuest], [received, sent]);
    assertEquals(frames.total, received + sent);
    return `${frames.toGuest} to the guest, ${frames.fromGuest} from it`;
  });
}

/** Shows two guests that talk through a switch, of each kind. */
export async function netSwitchScenario(
  step: Step,
  setup: NetSetup,
): Promise<void> {
  await using all = new AsyncDisposableStack();
  const root = await Deno.makeTempDir({ prefix: "ringside-net-" });
  all.defer(() => Deno.remove(root, { recursive: true }));
  const switches: Switch[] = [];
  for (const [index, kind] of setup.kinds.entries()) {
    const each = await serve(root, kind, index);
    all.use(each.backEnd);
    switches.push(each);
  }
  const counted = await showGuests(step, setup, switches);
  for (const [index, each] of switches.entries()) {
    const own = prefixed(step, describeKind(each.kind));
    await showEnd(own, each, counted[index]!);
  }
}
