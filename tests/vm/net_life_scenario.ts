/**
 * One process, one card on a TAP interface, and what happens to either end:
 * service resumes without a restart.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { describeHoldings } from "./back_end.ts";
import { eventually } from "./deadline.ts";
import { Guest } from "./guest.ts";
import { bringUp } from "./net_guest.ts";
import { Lab } from "./net_lab.ts";
import type { NetSetup } from "./net_scenario.ts";
import { answers, type End, ping } from "./net_traffic.ts";
import type { Step } from "./scenario.ts";

const NAME = "card";
const MAC = "52:54:00:99:00:01";
const HOST = "10.99.0.1";
const GUEST = "10.99.0.2";
const RESUME_TIMEOUT_MS = 20_000;

/** What the steps work on. */
interface Scene {
  lab: Lab;
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
async function keepBusy({ lab, guest }: Scene): Promise<void> {
  const receiver = "iperf3 -s -D -p 6000 >/dev/null 2>&1";
  await lab.namespace.output(`${receiver} || exit 1`);
  await guest.output(`
    for turn in $(seq 100); do
      iperf3 -c ${HOST} -p 6000 -t 300 --bidir >/tmp/busy 2>&1 &
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
async function endServers({ lab }: Scene): Promise<void> {
  await lab.namespace.output(
    `for pid in $(ip netns pids ${lab.namespace.name}); do
      [ "$(cat /proc/$pid/comm)" = iperf3 ] && kill $pid
    done
    true`,
  );
}

async function showRebinding(step: Step, scene: Scene) {
  await step("the driver lets go of the card and takes it back", async () => {
    const { guest } = scene;
    const device = await guest.output(
      `basename "$(readlink -f /sys/class/net/${NAME}/device)"`,
    );
    for (let round = 0; round < 3; round++) {
      await guest.output(`
        set -e
        busybox ping -A -q -c 100000 ${HOST} >/dev/null 2>&1 &
        sleep 0.2
        cd /sys/bus/virtio/drivers/virtio_net
        echo ${device} >unbind
        [ ! -e /sys/class/net/${NAME} ]
        echo ${device} >bind
        kill $! 2>/dev/null || true
      `);
      await bringUp(guest, MAC, NAME, GUEST);
      await resumes(scene);
    }
    return "three times, under load";
  });
}

async function showDownAndUp(step: Step, scene: Scene) {
  const { lab, guest, host, end } = scene;
  await step("the host's interface goes down and up", async () => {
    await lab.namespace.ip(`link set ${NAME} down`);
    assert(!await answers(end, host), "The host answers");
    await lab.namespace.ip(`link set ${NAME} up`);
    return await resumes(scene);
  });
  await step("the guest's interface goes down and up", async () => {
    await guest.output(`ip link set ${NAME} down`);
    assert(!await answers(host, end), "The guest answers");
    await guest.output(`ip link set ${NAME} up`);
    return await resumes(scene);
  });
}

async function showRemoval(step: Step, scene: Scene) {
  const { lab, guest } = scene;
  const carrier = async () =>
    await guest.output(`cat /sys/class/net/${NAME}/carrier`);
  await step("the TAP interface is removed, and made anew", async () => {
    await keepBusy(scene);
    const { pid } = lab.backEnd;
    // The process makes another of that name as soon as it sees.
    await lab.namespace.ip(`link del ${NAME}`);
    await eventually(
      () =>
        lab.namespace.ip(`addr add ${HOST}/24 dev ${NAME}`)
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

async function boot(lab: Lab, setup: NetSetup): Promise<Scene> {
  const guest = await Guest.boot({
    boot: setup.boot,
    cards: [{ socketPath: lab.socketPath(NAME), mac: MAC }],
    memoryMebibytes: 256,
  });
  try {
    await bringUp(guest, MAC, NAME, GUEST);
  } catch (error) {
    await guest[Symbol.asyncDispose]();
    throw error;
  }
  return {
    lab,
    guest,
    host: lab.end(HOST),
    end: { shell: guest, address: GUEST, directory: "/tmp" },
  };
}

/** Shows that a card outlives what happens to its guest and its interface. */
export async function netLifeScenario(
  step: Step,
  setup: NetSetup,
): Promise<void> {
  await using lab = await Lab.set();
  await lab.addInterface(NAME, { address: HOST });
  await lab.serve([{
    device: "net",
    name: NAME,
    mac: MAC,
    "ifname": NAME,
    "data-plane": setup.plane,
  }]);
  const { descriptors, guestMappings } = lab.backEnd.holdings();
  // From its first guest on the data side has a descriptor of its own.
  const before = {
    descriptors: { ...descriptors, "/dev/net/tun": 2 },
    guestMappings,
  };
  await step("a guest that is killed under load leaves nothing", async () => {
    const scene = await boot(lab, setup);
    await using guest = scene.guest;
    await keepBusy(scene);
    await guest.kill();
    await endServers(scene);
    await lab.backEnd.settle(before);
    return describeHoldings(before);
  });
  const scene = await boot(lab, setup);
  await using guest = scene.guest;
  await step("the guest after that is served", () => resumes(scene));
  await showRebinding(step, scene);
  await showDownAndUp(step, scene);
  await showRemoval(step, scene);
  await step("SIGTERM under load: exit code 0", async () => {
    await keepBusy(scene);
    const { code } = await lab.backEnd.stop();
    assertEquals(code, 0, lab.backEnd.log);
    await guest.kill();
    return "so it is";
  });
}
