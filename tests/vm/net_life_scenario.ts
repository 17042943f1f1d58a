/**
 * One process a card on a TAP interface, and what happens to either end: service
 * resumes without a restart.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { describeHoldings, type Holdings } from "./back_end.ts";
import { eventually } from "./deadline.ts";
import { Guest } from "./guest.ts";
import { bringUp } from "./net_guest.ts";
import { Lab } from "./net_lab.ts";
import {
  describeKind,
  type NetSetup,
  prefixed,
  type ServedKind,
} from "./net_setup.ts";
import {
  answers,
  type End,
  freshPort,
  ping,
  untilListening,
} from "./net_traffic.ts";
import { showRings } from "./ring_kind.ts";
import type { Step } from "./scenario.ts";

const NAME = "card";
const RESUME_TIMEOUT_MS = 60_000;

/** A card's process and the host's side of it. */
interface Service {
  kind: ServedKind;
  lab: Lab;
  /** What the guest calls its card. */
  card: string;
  mac: string;
  hostAddress: string;
  guestAddress: string;
  /** What the process holds between two guests. */
  before: Holdings;
}

/** What the steps work on. */
interface Scene extends Service {
  guest: Guest;
  host: End;
  end: End;
}

/** Waits until the ends answer each other; rejects with the log else. */
async function resumes({ lab, host, end }: Scene): Promise<string> {
  const start = performance.now();
  await eventually(
    async () => await answers(host, end) && await answers(end, host),
    RESUME_TIMEOUT_MS,
    () => `No answer: ${lab.backEnd.log}`,
  );
  await ping(host, end);
  await ping(end, host);
  return `${((performance.now() - start) / 1000).toFixed(1)} s later`;
}

/** Leaves both ends sending to each other, TCP and floods of pings. */
async function keepBusy({ lab, guest, hostAddress }: Scene): Promise<void> {
  const port = freshPort();
  await lab.namespace.output(
    `iperf3 -s -D -p ${port} >/dev/null 2>&1 || exit 1
    ${untilListening(port)}`,
  );
  await guest.output(`
    for turn in $(seq 100); do
      iperf3 -c ${hostAddress} -p ${port} -t 300 --bidir >/tmp/busy 2>&1 &
      sleep 0.5
      kill -0 $! 2>/dev/null && exit 0
    done
    cat /tmp/busy >&2
    exit 1
  `);
  const moved = async () => {
    const { rxBytes, txBytes } = await lab.namespace.counters(NAME);
    return Math.min(rxBytes, txBytes);
  };
  const before = await moved();
  await eventually(
    async () => await moved() > before + (16 << 20),
    RESUME_TIMEOUT_MS,
    async () => `Nothing moves: ${await guest.output("cat /tmp/busy")}`,
  );
}

/** Ends what {@linkcode keepBusy} left on the host. */
async function endServers({ lab }: Service): Promise<void> {
  await lab.namespace.output(
    `for pid in $(ip netns pids ${lab.namespace.name}); do
      [ "$(cat /proc/$pid/comm)" = iperf3 ] && kill $pid
    done
    true`,
  );
}

async function showRebinding(step: Step, scene: Scene) {
  await step("the driver lets go of the card and takes it back", async () => {
    const { guest, card, mac, hostAddress, guestAddress } = scene;
    const device = await guest.output(
      `basename "$(readlink -f /sys/class/net/${card}/device)"`,
    );
    for (let round = 0; round < 3; round++) {
      await guest.output(`
        set -e
        busybox ping -A -q -c 100000 ${hostAddress} >/dev/null 2>&1 &
        sleep 0.2
        cd /sys/bus/virtio/drivers/virtio_net
        echo ${device} >unbind
        [ ! -e /sys/class/net/${card} ]
        echo ${device} >bind
        kill $! 2>/dev/null || true
      `);
      await bringUp(guest, mac, card, guestAddress);
      await resumes(scene);
    }
    return "three times, under load";
  });
}

async function showDownAndUp(step: Step, scene: Scene) {
  const { lab, guest, card, host, end } = scene;
  await step("the host's interface goes down and up", async () => {
    await lab.namespace.ip(`link set ${NAME} down`);
    assert(!await answers(end, host), "The host answers");
    await lab.namespace.ip(`link set ${NAME} up`);
    return await resumes(scene);
  });
  await step("the guest's interface goes down and up", async () => {
    await guest.output(`ip link set ${card} down`);
    assert(!await answers(host, end), "The guest answers");
    await guest.output(`ip link set ${card} up`);
    return await resumes(scene);
  });
}

async function showRemoval(step: Step, scene: Scene) {
  const { lab, guest, card, hostAddress } = scene;
  const carrier = async () =>
    await guest.output(`cat /sys/class/net/${card}/carrier`);
  await step("the TAP interface is removed, and made anew", async () => {
    await keepBusy(scene);
    const { pid } = lab.backEnd;
    // The process makes another of that name as soon as it sees.
    await lab.namespace.ip(`link del ${NAME}`);
    await eventually(
      () =>
        lab.namespace.ip(`addr add ${hostAddress}/24 dev ${NAME}`)
          .then(() => true, () => false),
      RESUME_TIMEOUT_MS,
      () => `The interface stays away: ${lab.backEnd.log}`,
    );
    await lab.namespace.ip(`link set ${NAME} up`);
    const text = await resumes(scene);
    assertEquals(lab.backEnd.pid, pid);
    assertEquals(await carrier(), "1");
    await guest.output("killall iperf3");
    await endServers(scene);
    return text;
  });
}

/** Starts the process of card number `index`. */
async function serve(kind: ServedKind, index: number): Promise<Service> {
  const lab = await Lab.set();
  const mac = `52:54:00:99:0${index}:01`;
  const hostAddress = `10.99.${index}.1`;
  try {
    await lab.addInterface(NAME, { address: hostAddress });
    await lab.serve([{
      device: "net",
      name: NAME,
      mac,
      "ifname": NAME,
      "data-plane": kind.plane,
    }]);
  } catch (error) {
    await lab[Symbol.asyncDispose]();
    throw error;
  }
  const { descriptors, guestMappings } = lab.backEnd.holdings();
  return {
    ...{ kind, lab, mac, hostAddress },
    card: `card${index}`,
    guestAddress: `10.99.${index}.2`,
    // From its first guest on the data side has a descriptor of its own.
    before: {
      descriptors: { ...descriptors, "/dev/net/tun": 2 },
      guestMappings,
    },
  };
}

/** Boots a guest with all cards; a scene each. */
async function boot(
  setup: NetSetup,
  services: readonly Service[],
): Promise<[Guest, Scene[]]> {
  const guest = await Guest.boot({
    boot: setup.boot,
    cards: services.map(({ lab, mac, kind }) => ({
      socketPath: lab.socketPath(NAME),
      mac,
      packed: kind.packed,
    })),
    memoryMebibytes: 256,
  });
  const scenes: Scene[] = [];
  try {
    for (const service of services) {
      const { lab, mac, card, hostAddress, guestAddress } = service;
      await bringUp(guest, mac, card, guestAddress);
      scenes.push({
        ...service,
        guest,
        host: lab.end(hostAddress),
        end: { shell: guest, address: guestAddress, directory: "/tmp" },
      });
    }
  } catch (error) {
    await guest[Symbol.asyncDispose]();
    throw error;
  }
  return [guest, scenes];
}

async function showDeath(
  step: Step,
  setup: NetSetup,
  services: readonly Service[],
) {
  await step("a guest that is killed under load leaves nothing", async () => {
    const [guest, scenes] = await boot(setup, services);
    await using _ = guest;
    for (const scene of scenes) await keepBusy(scene);
    await guest.kill();
    const seen: string[] = [];
    for (const service of services) {
      await endServers(service);
      await service.lab.backEnd.settle(service.before);
      seen.push(describeHoldings(service.before));
    }
    return seen.join("; ");
  });
}

/** Shows that cards outlive what happens to their guest and their interfaces. */
export async function netLifeScenario(
  step: Step,
  setup: NetSetup,
): Promise<void> {
  await using all = new AsyncDisposableStack();
  const services: Service[] = [];
  for (const [index, kind] of setup.kinds.entries()) {
    const service = await serve(kind, index);
    all.use(service.lab);
    services.push(service);
  }
  await showDeath(step, setup, services);
  const [guest, scenes] = await boot(setup, services);
  all.use(guest);
  for (const scene of scenes) {
    const own = prefixed(step, describeKind(scene.kind));
    const path = `/sys/class/net/${scene.card}/device`;
    await showRings(own, guest, path, scene.kind.packed);
    await own("the guest after that is served", () => resumes(scene));
    await showRebinding(own, scene);
    await showDownAndUp(own, scene);
    await showRemoval(own, scene);
    await own("SIGTERM under load: exit code 0", async () => {
      await keepBusy(scene);
      const { code } = await scene.lab.backEnd.stop();
      assertEquals(code, 0, scene.lab.backEnd.log);
      return "so it is";
    });
  }
  await guest.kill();
}
