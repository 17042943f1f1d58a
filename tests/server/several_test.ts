/**
 * Several devices in one process, each on its socket: they start together or
 * not at all, stop together, and one's bad company is not felt by the others.
 */
import { asSplit } from "../../src/testing/split_driver.ts";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { rng } from "../../devices/rng/mod.ts";
import { SERVER_OPTIONS } from "../../src/cli/common_options.ts";
import { type ServedDevice, serveDevices } from "../../src/cli/serve.ts";
import { ConfigSpace } from "../../src/device/config_space.ts";
import type { DeviceDescriptor } from "../../src/device/device.ts";
import { completeOptions } from "../../src/device/options.ts";
import { Reactor } from "../../src/io/reactor.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import { BlockConnection } from "../../src/testing/block_connection.ts";
import { Frontend } from "../../src/vhost_user/frontend.ts";
import { NackError } from "../../src/vhost_user/frontend_errors.ts";
import { hasProgram, requirement } from "../support/require.ts";
import type { BackEnd } from "../vm/back_end.ts";
import { eventually, withDeadline } from "../vm/deadline.ts";
import { Entropy } from "./support/entropy.ts";
import { PATIENCE_MS, PLANES, until } from "./support/hostile_target.ts";
import { type DeviceEntry, Several } from "./support/several.ts";
import { open } from "./throwing_device.ts";

const MIB = 1 << 20;

/** Two disks and two entropy devices. */
function mixed(plane: string): Several {
  const devices: DeviceEntry[] = [
    { device: "block", name: "disk0", "blk-null": 16 * MIB },
    { device: "rng", name: "rng0" },
    { device: "block", name: "disk1", "blk-null": 16 * MIB, "serial": "B" },
    { device: "rng", name: "rng1" },
  ];
  return new Several(devices, plane);
}

async function within(work: Promise<unknown>): Promise<void> {
  await withDeadline(work, PATIENCE_MS);
}

for (const plane of PLANES) {
  Deno.test(`devices of several kinds serve side by side on the ${plane} plane, and SIGTERM ends them all`, async () => {
    using several = mixed(plane);
    await using backEnd = await several.start();
    {
      const path = (name: string) => several.socketPath(name);
      using disk0 = await BlockConnection.open(path("disk0"));
      using rng0 = await Entropy.open(path("rng0"));
      using disk1 = await BlockConnection.open(path("disk1"));
      using rng1 = await Entropy.open(path("rng1"));
      for (let round = 0; round < 20; round++) {
        await within(Promise.all([
          disk0.driver.read(0, 4096),
          rng0.serves(),
          disk1.driver.flush(),
          rng1.serves(),
        ]));
      }
      assertEquals(await disk0.driver.getId(), "");
      assertEquals(await disk1.driver.getId(), "B");
      const status = await backEnd.stop();
      assertEquals([status.code, status.signal], [0, null], backEnd.log);
    }
    for (const { name } of several.devices) {
      assert(!several.hasSocket(name), `The socket of ${name} is still there`);
      assertStringIncludes(backEnd.log, `${name} listens`);
    }
    await Reactor.main.idle();
  });

  Deno.test(`[H17] [H29] a hostile front-end of one device is not felt by the others, on the ${plane} plane`, async () => {
    using several = mixed(plane);
    await using backEnd = await several.start();
    {
      using disk = await BlockConnection.open(several.socketPath("disk1"));
      using rng = await Entropy.open(several.socketPath("rng1"));
      const others = async () => {
        await within(disk.driver.read(8, 4096));
        await rng.serves();
      };
      await others();
      for (const { what, act } of HOSTILE) {
        try {
          await within(act(several, others));
          await others();
          // And the device itself takes the next front-end.
          using again = await Entropy.open(several.socketPath("rng0"));
          await again.serves();
        } catch (cause) {
          throw new Error(`After ${what}: ${cause}\n${backEnd.log}`, { cause });
        }
      }
    }
    const status = await backEnd.stop();
    assertEquals(status.code, 0, backEnd.log);
    await Reactor.main.idle();
  });
}

/** Request 1 of version 1, without a payload. */
const GET_FEATURES = Uint8Array.of(1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0);

interface Hostility {
  what: string;
  /** Does its worst to rng0; `others` must be served meanwhile. */
  act(several: Several, others: () => Promise<void>): Promise<void>;
}

const HOSTILE: readonly Hostility[] = [
  {
    what: "half of a header, and silence",
    async act(several, others) {
      using socket = UnixSocket.connect(several.socketPath("rng0"));
      send(socket, GET_FEATURES.slice(0, 5));
      await others();
    },
  },
  {
    what: "garbage",
    async act(several, others) {
      using socket = UnixSocket.connect(several.socketPath("rng0"));
      send(socket, new Uint8Array(4096).fill(0xff));
      await others();
    },
  },
  {
    what: "requests whose answers are never read",
    async act(several, others) {
      using socket = UnixSocket.connect(several.socketPath("rng0"));
      const size = GET_FEATURES.length;
      const many = new Uint8Array(size * 1000);
      for (let i = 0; i < 1000; i++) many.set(GET_FEATURES, i * size);
      // Until neither side takes any more.
      while (socket.send(many, []) > 0);
      await others();
      await others();
    },
  },
  {
    what: "a ring that breaks",
    async act(several, others) {
      using rng = await Entropy.open(several.socketPath("rng0"));
      const { port } = rng;
      asSplit(port.ring).rawAvailableIndex(1000);
      port.kick();
      await Reactor.main.readable(port.errFd.fd.number);
      await others();
    },
  },
  {
    what: "a storm of kicks and requests",
    async act(several, others) {
      using rng = await Entropy.open(several.socketPath("rng0"));
      const { port } = rng;
      const address = rng.connection.memory.allocate(MIB);
      const huge = { address, size: MIB, writable: true };
      for (let round = 0; round < 20; round++) {
        while (port.ring.freeCount > 0) rng.driver.ask([huge]);
        for (let i = 0; i < 100; i++) port.kick();
        await others();
        rng.driver.requests.collect();
      }
    },
  },
];

function send(socket: UnixSocket, bytes: Uint8Array<ArrayBuffer>): void {
  assertEquals(socket.send(bytes, []), bytes.length);
}

const canLimit = requirement("prlimit", () => hasProgram("prlimit"));

Deno.test({
  name:
    "[H17] a process without a descriptor left serves on, and takes front-ends once there is one",
  ignore: !canLimit,
  async fn() {
    using several = mixed("inline");
    await using backEnd = await several.start();
    {
      using rng = await Entropy.open(several.socketPath("rng0"));
      await rng.serves();
      // As if a front-end of another device held all that there are.
      limitDescriptors(backEnd, 3);
      const waiting = Entropy.open(several.socketPath("rng1"));
      await eventually(
        () => backEnd.log.includes("accept4 failed with EMFILE"),
        PATIENCE_MS,
        () => `Nothing is said of descriptors: ${backEnd.log}`,
      );
      await rng.serves();
      limitDescriptors(backEnd, 1024);
      using late = await waiting;
      await late.serves();
      await rng.serves();
      const status = await backEnd.stop();
      assertEquals(status.code, 0, backEnd.log);
    }
    await Reactor.main.idle();
  },
});

function limitDescriptors(backEnd: BackEnd, count: number): void {
  const { code, stderr } = new Deno.Command("prlimit", {
    args: ["--pid", `${backEnd.pid}`, `--nofile=${count}:`],
  }).outputSync();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
}

for (const plane of PLANES) {
  Deno.test(`a device that fails ends the others cleanly, on the ${plane} plane`, async () => {
    using several = mixed(plane);
    const served = several.devices.map((entry): ServedDevice => {
      const isGood = entry.device === "rng";
      const descriptor: DeviceDescriptor = isGood ? rng : faulty;
      return {
        name: entry.name,
        origin: "",
        descriptor,
        options: completeOptions(descriptor.options, {}),
        server: completeOptions(SERVER_OPTIONS, {
          "socket-path": several.socketPath(entry.name),
          "data-plane": plane,
        }),
      };
    });
    const ended = assertRejects(() => serveDevices(served, "error"), Error);
    await eventually(
      () => several.hasSocket("rng1"),
      PATIENCE_MS,
      () => "The last device does not listen",
    );
    {
      using entropy = await Entropy.open(several.socketPath("rng0"));
      await entropy.serves();
      using bad = await Entropy.open(several.socketPath("disk1"));
      bad.driver.ask([8]);
      const error = await withDeadline(ended, PATIENCE_MS);
      assertStringIncludes(error.message, "broken on purpose");
    }
    for (const { name } of several.devices) {
      assert(!several.hasSocket(name), `The socket of ${name} is still there`);
    }
    await Reactor.main.idle();
  });
}

/** A device whose data side has a defect. */
const faulty: DeviceDescriptor = {
  name: "faulty",
  type: "rng",
  virtioId: 4,
  summary: "Fails at its first request",
  options: {},
  capabilities: [],
  open: () =>
    Promise.resolve({
      features: 0n,
      queueCount: 1,
      queueSizeMax: 1024,
      config: new ConfigSpace(0),
      data: { open, url: import.meta.resolve("./throwing_device.ts") },
      seed: null,
      close: () => Promise.resolve(),
    }),
};

Deno.test("a device that is idle sleeps while its neighbour works", async () => {
  using several = new Several([
    { device: "rng", name: "idle" },
    { device: "rng", name: "busy" },
  ], "worker");
  await using backEnd = await several.start();
  {
    using idle = await Entropy.open(several.socketPath("idle"));
    using busy = await Entropy.open(several.socketPath("busy"));
    await idle.serves();
    await busy.serves();
    // The threads are named in the order of the devices.
    const sleeps = (thread: string) => switchesOf(backEnd, thread);
    let before = -1;
    // It looks for a moment before it parks.
    await until(
      () => before === (before = sleeps("worker-1")),
      () => "The idle device never sleeps",
    );
    const worked = sleeps("worker-2");
    for (let i = 0; i < 500; i++) await busy.serves();
    assert(sleeps("worker-2") > worked);
    // It may have been put down once, in its first and last spin.
    assert(sleeps("worker-1") - before <= 1, "The idle device wakes up");
  }
  await backEnd.stop();
  await Reactor.main.idle();
});

/** How often the thread of that name went to sleep. */
function switchesOf(backEnd: BackEnd, thread: string): number {
  const directory = `/proc/${backEnd.pid}/task`;
  for (const { name } of Deno.readDirSync(directory)) {
    const status = Deno.readTextFileSync(`${directory}/${name}/status`);
    if (!status.startsWith(`Name:\t${thread}\n`)) continue;
    return Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)![1]);
  }
  throw new Error(`There is no thread ${thread}`);
}

Deno.test("a device that can't be opened names itself and its line, and none is served", async () => {
  const cases: [DeviceEntry, number, string][] = [
    [
      { device: "block", name: "broken", "blk-file": "/absent.img" },
      1,
      "broken: open failed with ENOENT on /absent.img: make it first",
    ],
    [
      { device: "block", name: "broken" },
      2,
      "broken: There is no disk to serve",
    ],
    [
      { device: "rng", name: "broken", "period": 5 },
      2,
      "broken: There is a --period without --max-bytes",
    ],
    [
      { device: "rng", name: "broken", "socket-path": "/absent/rng.sock" },
      1,
      "broken: bind failed with ENOENT on /absent/rng.sock",
    ],
  ];
  for (const plane of PLANES) {
    for (const [broken, code, complaint] of cases) {
      using several = new Several([
        { device: "rng", name: "first" },
        { device: "block", name: "second", "blk-null": MIB },
        broken,
        { device: "rng", name: "last" },
      ], plane);
      const [program, ...args] = several.command();
      const outcome = await withDeadline(
        new Deno.Command(program!, { args, env: { NO_COLOR: "1" } }).output(),
        PATIENCE_MS,
      );
      const said = new TextDecoder().decode(outcome.stderr).trim().split("\n");
      assertEquals(outcome.code, code, said.join("\n"));
      const line = lineOf(several.config, "broken");
      assertStringIncludes(
        said.at(-1)!,
        `ringside: ${several.config}:${line}: ${complaint}`,
      );
      for (const { name } of several.devices) {
        assert(!several.hasSocket(name), `The socket of ${name} is there`);
      }
    }
  }
});

Deno.test("the log says whose front-end was refused what", async () => {
  using several = mixed("inline");
  await using backEnd = await several.start();
  {
    using frontend = await Frontend.connect(several.socketPath("rng1"));
    await frontend.negotiate();
    await assertRejects(() => frontend.setVringNum(0, 3), NackError);
  }
  await backEnd.stop();
  assertStringIncludes(backEnd.log, "rng1: SET_VRING_NUM refused: ");
  await Reactor.main.idle();
});

/** The line in which the device of that name begins. */
function lineOf(config: string, name: string): number {
  const lines = Deno.readTextFileSync(config).split("\n");
  const at = lines.findIndex((line) => line.includes(`"name": "${name}"`));
  return lines.slice(0, at).findLastIndex((line) => line.endsWith("{")) + 1;
}

Deno.test("a disk in a file of devices keeps what was acknowledged", async () => {
  using several = new Several([
    { device: "rng", name: "rng0" },
    { device: "block", name: "disk0", "blk-file": "" },
  ], "worker");
  const image = several.image("disk0", MIB, 7);
  several.rewrite('"blk-file": ""', `"blk-file": ${JSON.stringify(image)}`);
  await using backEnd = await several.start();
  {
    using disk = await BlockConnection.open(several.socketPath("disk0"));
    assertEquals(
      await disk.driver.read(0, 512),
      new Uint8Array(512).fill(7),
    );
    await within(disk.driver.write(0, new Uint8Array(512).fill(8)));
    await backEnd.stop();
  }
  const bytes = Deno.readFileSync(image);
  assertEquals([bytes[0], bytes[511], bytes[512]], [8, 8, 7]);
  await eventually(
    () => !several.hasSocket("disk0"),
    PATIENCE_MS,
    () => "The socket is still there",
  );
  await Reactor.main.idle();
});
