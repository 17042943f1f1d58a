import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { ConfigSpace } from "../device/config_space.ts";
import type {
  DataDevice,
  DataPlaneServices,
  DeviceControl,
  DeviceDescriptor,
} from "../device/device.ts";
import { EventFd } from "../io/event_fd.ts";
import type { Virtqueue } from "../virtqueue/virtqueue.ts";
import { DriverMemory } from "./driver_memory.ts";
import { FakeDriver, type FakeDriverOptions } from "./fake_driver.ts";
import { RING_KINDS } from "./ring_kinds.ts";

const ECHO: DataDevice = {
  drain(queue) {
    while (queue.pop()) queue.push(queue.chain.head, 0);
  },
};

function each(
  name: string,
  fn: (
    open: (data?: DataDevice, options?: FakeDriverOptions) => FakeDriver,
  ) => Promise<void> | void,
): void {
  for (const kind of RING_KINDS) {
    for (const eventIndex of [false, true]) {
      const how = `${kind.name}, ${eventIndex ? "events" : "flags"}`;
      const open = (data = ECHO, options: FakeDriverOptions = {}) =>
        FakeDriver.over(() => data, { kind, eventIndex, ...options });
      Deno.test(`${name} (${how})`, () => fn(open));
    }
  }
}

each("calls are counted where the driver wants them", (open) => {
  using fake = open();
  const port = fake.rings[0]!;
  const ask = () => {
    port.requests.stage([{ room: 1 }]);
    port.requests.publish();
    fake.settle();
    assertEquals(port.requests.collect(), 1);
  };
  port.ring.armInterrupt();
  ask();
  assertEquals(port.callCount, 1);
  port.ring.setNoInterrupt(true);
  port.ring.armInterrupt();
  ask();
  assertEquals(port.callCount, 2);
});

each("kicks are counted where the device wants them", (open) => {
  using fake = open();
  const port = fake.rings[0]!;
  const ask = () => {
    port.requests.stage([{ room: 1 }]);
    port.requests.publish();
    return port.kickCount;
  };
  fake.disarm();
  assertEquals(ask(), 0);
  assertEquals(fake.arm(), false, "there is something");
  assertEquals(ask(), 0);
  fake.settle();
  assertEquals(fake.arm(), true);
  assertEquals(ask(), 1);
});

each("a device that waits for something else wants no kick", (open) => {
  let wantsMore = false;
  using fake = open({
    drain(queue) {
      if (queue.pop()) queue.undoPop();
    },
    wantsMore: () => wantsMore,
  });
  const { requests, ring } = fake.rings[0]!;
  const publish = () => {
    requests.stage([{ room: 1 }]);
    return ring.publish();
  };
  fake.disarm();
  publish();
  assertEquals(fake.arm(), true, "it moves nothing");
  assertEquals(publish(), false);
  wantsMore = true;
  assertEquals(fake.arm(), true);
  assertEquals(publish(), true);
});

each("a ring that is disabled waits, or is discarded", async (open) => {
  const log: string[] = [];
  const device: DataDevice = {
    drain: (queue) => take(queue, "drained"),
    enable: (_, enabled) => log.push(`enabled ${enabled}`),
  };
  const take = (queue: Virtqueue, what: string) => {
    while (queue.pop()) {
      log.push(what);
      queue.push(queue.chain.head, 0);
    }
  };
  {
    using fake = open(device, { enabledCount: 0, timeoutMs: 1000 });
    const waiting = fake.request([{ room: 1 }]);
    fake.settle();
    assertEquals(log, []);
    fake.rings[0]!.enable(true);
    await waiting;
  }
  assertEquals(log.splice(0), ["enabled true", "drained"]);
  device.discard = (queue) => take(queue, "discarded");
  using fake = open(device, { queueCount: 2, enabledCount: 1 });
  for (const { requests } of fake.rings) await requests.request([{ room: 1 }]);
  assertEquals(log, ["enabled true", "drained", "discarded"]);
});

each("a ring goes on where it was", async (open) => {
  const started: number[] = [];
  using fake = open({
    ...ECHO,
    start: (queue) => started.push(queue.nextAvail & 0x7fff),
  }, { queueSize: 8 });
  const [port] = fake.rings;
  for (let i = 0; i < 3; i++) {
    for (let n = 0; n < 3; n++) await fake.request([{ room: 1 }]);
    // One that the device has not seen.
    const late = port!.requests.stage([{ room: 1 }]);
    port!.stop();
    port!.requests.publish();
    assertEquals(fake.turn(), false);
    port!.start();
    assertEquals((await port!.requests.answer(late)).written, 0);
  }
  const positions = [0, 3, 7, 11];
  const wraps = positions.map((at) => at % 8);
  assert([String(positions), String(wraps)].includes(String(started)));
});

each("a device that keeps what it takes can't be stopped", (open) => {
  const heads: number[] = [];
  const fake = open({
    drain(queue) {
      while (queue.pop()) heads.push(queue.chain.head);
    },
  });
  const { requests, queue } = fake.rings[0]!;
  requests.stage([{ room: 1 }]);
  requests.publish();
  const text = "wanted each to be pushed";
  assertThrows(() => fake.settle(), Error, text);
  assertThrows(() => fake.rings[0]!.stop(), Error, text);
  queue.push(heads[0]!, 0);
  fake[Symbol.dispose]();
});

each("a device that moves for ever is no rest", (open) => {
  using fake = open();
  const requests = fake.rings[0]!.requests;
  const again = () => {
    requests.collect();
    requests.stage([{ room: 1 }]);
    requests.publish();
  };
  again();
  const drain = ECHO.drain;
  fake.data.drain = (queue) => {
    drain(queue);
    queue.flush();
    again();
  };
  try {
    assertThrows(() => fake.settle(), Error, "chains are in flight");
  } finally {
    fake.data.drain = drain;
  }
});

/** Takes chains once its descriptor has become readable. */
class Patient implements DataDevice {
  readonly event = EventFd.open();
  readonly #services: DataPlaneServices;
  #queue: Virtqueue | null = null;

  constructor(services: DataPlaneServices) {
    this.#services = services;
    services.watch(this.event.fd.number, this);
  }

  start(queue: Virtqueue): void {
    this.#queue = queue;
  }

  drain(): void {}

  ready(): void {
    this.event.clear();
    ECHO.drain(this.#queue!);
  }

  [Symbol.dispose](): void {
    this.#services.unwatch(this.event.fd.number);
    this.event[Symbol.dispose]();
  }
}

for (const watch of [true, false]) {
  const who = watch ? "the driver" : "the test";
  Deno.test(`a device is told of its descriptors by ${who}`, async () => {
    let patient: Patient | null = null;
    const open = (services: DataPlaneServices) =>
      patient = new Patient(services);
    using fake = FakeDriver.over(open, { watch });
    const answer = fake.request([{ room: 1 }]);
    assertEquals(fake.rings[0]!.requests.outCount, 1);
    patient!.event.signal();
    if (!watch) {
      fake.turn();
      assertEquals(fake.rings[0]!.queue.hasAvailable(), true);
      fake.watched.get(patient!.event.fd.number)!.ready();
    }
    assertEquals((await answer).written, 0);
  });
}

Deno.test("memory and rings are where they were wanted", () => {
  const regions = [
    { guestAddress: 0x1_0000, size: 1 << 20 },
    { guestAddress: 0x8_0000_0000, size: 1 << 20 },
  ];
  const memory = DriverMemory.shared(regions);
  using fake = FakeDriver.over(() => ECHO, {
    memory,
    ringRegion: 1,
    queueCount: 3,
    queueSize: 16,
  });
  assertEquals(fake.memory, memory);
  assertEquals(fake.rings.map(({ ring }) => ring.size), [16, 16, 16]);
  for (const { ring } of fake.rings) {
    for (
      const area of [ring.descriptorArea, ring.driverArea, ring.deviceArea]
    ) {
      assert(area >= 0x8_0000_0000, `${area}`);
    }
  }
});

/** A device that writes down what happens to it. */
function recorder(log: string[], fail = ""): DeviceDescriptor {
  let control: DeviceControl | null = null;
  return {
    name: "recorder",
    type: "none",
    virtioId: 0,
    summary: "",
    options: {},
    capabilities: [],
    open: () =>
      Promise.resolve({
        features: 3n,
        queueCount: 2,
        queueSizeMax: 1024,
        config: new ConfigSpace(4),
        data: {
          open: (seed) => {
            log.push(`open ${JSON.stringify(seed)}`);
            if (fail !== "") throw new Error(fail);
            return {
              ...ECHO,
              start: ({ index }) => log.push(`start ${index}`),
              update: (state) => log.push(`update ${JSON.stringify(state)}`),
              stop: ({ index }) => log.push(`stop ${index}`),
              [Symbol.dispose]: () => log.push("dispose"),
            };
          },
          url: import.meta.url,
        },
        seed: { a: 1 },
        attach: (given) => control = given,
        negotiated: async (features) => {
          log.push(`negotiated ${features}`);
          await control!.update({ features: Number(features) });
          control!.configChanged();
        },
        close: () => Promise.resolve(void log.push("close")),
      }),
  };
}

Deno.test("a device is opened, negotiated and closed as by the server", async () => {
  const log: string[] = [];
  {
    const options = { features: 5n };
    await using fake = await FakeDriver.open(recorder(log), {}, options);
    assertEquals(fake.updates, [{ features: 1 }]);
    assertEquals(fake.configChangeCount, 1);
    assertEquals(fake.device.queueCount, 2);
    await fake.request([{ room: 1 }]);
  }
  assertEquals(log, [
    'open {"a":1}',
    "start 0",
    "start 1",
    "negotiated 1",
    'update {"features":1}',
    "stop 0",
    "stop 1",
    "dispose",
    "close",
  ]);
});

Deno.test("a device that can't be opened is closed, and leaves nothing", async () => {
  const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
  const before = descriptors();
  const log: string[] = [];
  const error = await assertRejects(() =>
    FakeDriver.open(recorder(log, "No data side"), {}, { uring: true })
  );
  assertStringIncludes(String(error), "No data side");
  assertEquals(log, ['open {"a":1}', "close"]);
  assertEquals(descriptors(), before);
});

Deno.test("what there is to be closed says how", async () => {
  const fake = await FakeDriver.open(recorder([]));
  assertThrows(() => fake[Symbol.dispose](), TypeError, "`await using`");
  await fake[Symbol.asyncDispose]();
  using bare = FakeDriver.over(() => ECHO);
  assertThrows(() => bare.device, TypeError, "FakeDriver.open");
});

for (const kind of RING_KINDS) {
  Deno.test(`what a device throws is what its test sees (${kind.name})`, async () => {
    const data: DataDevice = {
      drain(queue) {
        while (queue.pop()) throw new Error("It is out of ink");
      },
    };
    const act = async (): Promise<void> => {
      using fake = FakeDriver.over(() => data, { kind });
      await fake.request([{ room: 1 }]);
    };
    await assertRejects(act, Error, "It is out of ink");
  });
}
