import {
  assert,
  assertEquals,
  assertGreater,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { rng } from "../../devices/rng/mod.ts";
import type { RngSeed } from "../../devices/rng/queue.ts";
import type { Device, DeviceDescriptor } from "../../src/device/mod.ts";
import { SystemError, UsageError } from "../../src/errors.ts";
import { libc } from "../../src/ffi/libc.ts";
import { Reactor } from "../../src/io/reactor.ts";
import {
  DriverMemory,
  FakeDriver,
  type FakeDriverOptions,
  type FakeRing,
  type GivenOptions,
  Prng,
  type RequestPart,
  RING_KINDS,
  type RingRequest,
  RngDriver,
} from "../../src/testing/mod.ts";
import {
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from "../../src/virtqueue/layout.ts";

const KIB = 1024;
/** What one request gets at most. */
const SHARE = 64 * KIB;

/** An open entropy device and its driver. */
interface Open extends AsyncDisposable {
  fake: FakeDriver;
  port: FakeRing;
  driver: RngDriver;
}

type OpenRng = (
  given?: GivenOptions,
  options?: FakeDriverOptions,
  descriptor?: DeviceDescriptor,
) => Promise<Open>;

/** Registers a test for each kind of ring, with what opens a device on it. */
function each(name: string, fn: (openRng: OpenRng) => Promise<void>): void {
  for (const kind of RING_KINDS) {
    const openRng: OpenRng = (given, options, descriptor = rng) =>
      openDevice(descriptor, given, { kind, ...options });
    Deno.test(`${name} (${kind.name})`, () => fn(openRng));
  }
}

async function openDevice(
  descriptor: DeviceDescriptor,
  given: GivenOptions = {},
  options: FakeDriverOptions = {},
): Promise<Open> {
  // The tests tell the device of its descriptors.
  const fake = await FakeDriver.open(descriptor, given, {
    watch: false,
    ...options,
  });
  const port = fake.rings[0]!;
  const driver = new RngDriver(fake.memory, port.ring, port);
  const close = () => fake[Symbol.asyncDispose]();
  return { fake, port, driver, [Symbol.asyncDispose]: close };
}

/** A file that is a source of `bytes`. */
class SourceFile implements Disposable {
  readonly path = Deno.makeTempFileSync({ prefix: "ringside-rng-" });

  constructor(bytes: Uint8Array) {
    Deno.writeFileSync(this.path, bytes);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path);
  }
}

/** A device whose seed can be changed. */
type Writable = Device & { seed: RngSeed };

/** A FIFO as a source. */
class Fifo implements Disposable {
  readonly #directory = Deno.makeTempDirSync({ prefix: "ringside-rng-" });
  readonly path = `${this.#directory}/fifo`;

  constructor() {
    const { success } = new Deno.Command("mkfifo", { args: [this.path] })
      .outputSync();
    assert(success);
  }

  /** Writes for a reader that is there. */
  write(bytes: Uint8Array): void {
    using file = Deno.openSync(this.path, { write: true });
    assertEquals(file.writeSync(bytes), bytes.length);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.#directory, { recursive: true });
  }
}

/** Bytes by which a place in a source is known. */
function pattern(size: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: size }, (_, i) => 1 + i % 251);
}

/** Turns the device as often as a busy thread does. */
function turns(fake: FakeDriver): void {
  for (let i = 0; i < 100; i++) fake.turn();
}

/** Whether `bytes` look random: any other way would be a miracle. */
function assertRandom(bytes: Uint8Array): void {
  const counts = new Array<number>(256).fill(0);
  for (const byte of bytes) counts[byte]!++;
  const wanted = bytes.length / 256;
  const chi = counts.reduce((sum, n) => sum + (n - wanted) ** 2 / wanted, 0);
  // 255 degrees of freedom: 10 standard deviations around the mean.
  assert(Math.abs(chi - 255) < 10 * Math.sqrt(510), `chi-square is ${chi}`);
}

each("the device is the one of virtio 1.3 §5.4", async (openRng) => {
  await using open = await openRng();
  const { device } = open.fake;
  assertEquals([rng.name, rng.type, rng.virtioId], ["rng", "rng", 4]);
  assertEquals([device.features, device.queueCount], [0n, 1]);
  assertEquals(device.config.bytes.length, 0);
});

each(
  "a request is filled with bytes that differ each time",
  async (openRng) => {
    await using open = await openRng();
    const first = await open.driver.bytes(64);
    const second = await open.driver.bytes(64);
    assertEquals([first.length, second.length], [64, 64]);
    assertNotEquals(first, second);
    assertRandom(await open.driver.bytes(SHARE));
  },
);

each(
  "[C67] any number of writable descriptors, in any layout, is filled",
  async (openRng) => {
    for (const indirect of [false, true]) {
      await using open = await openRng();
      const { fake, driver } = open;
      const layouts = [
        [1],
        [1, 1],
        [7, 64, 3],
        [4096, 1, 4096],
        Array.from({ length: 128 }, (_, i) => 1 + i),
      ];
      const requests = layouts.map((sizes) => driver.ask(sizes, { indirect }));
      fake.settle();
      driver.requests.collect();
      for (const [i, sizes] of layouts.entries()) {
        const size = sizes.reduce((sum, n) => sum + n);
        assertEquals(requests[i]!.written, size);
        assertEquals(requests[i]!.bytes().length, size);
      }
      assertRandom(requests[3]!.bytes());
      assertRandom(requests[4]!.bytes());
    }
  },
);

each(
  "[C67] a table of more descriptors than the kernel takes at once is filled as far as it goes",
  async (openRng) => {
    await using open = await openRng({}, { queueSize: 1024 });
    const { fake, driver } = open;
    // As large as a table may be; regions cut each of its buffers in no two.
    const request = driver.ask(Array.from({ length: 1024 }, () => 3), {
      indirect: true,
    });
    const next = driver.ask([5]);
    fake.settle();
    driver.requests.collect();
    assertGreater(request.written, 0);
    assertEquals(request.bytes().length, request.written);
    assertEquals(next.written, 5);
  },
);

each(
  "[C67] a readable descriptor is no reason to refuse the writable ones",
  async (openRng) => {
    await using open = await openRng();
    const { fake, driver } = open;
    const address = fake.memory.allocate(64);
    const readable = { address, size: 64, writable: false };
    const mixed = driver.ask([readable, 32]);
    const only = driver.ask([readable]);
    const after = driver.ask([16]);
    fake.settle();
    driver.requests.collect();
    assertEquals([mixed.written, only.written, after.written], [32, 0, 16]);
    mixed.bytes();
    assertEquals(fake.memory.read(address, 64), new Uint8Array(64));
  },
);

each(
  "[C67] [H29] a request of no bytes is given back with 0",
  async (openRng) => {
    await using open = await openRng();
    const { fake, driver } = open;
    const address = fake.memory.allocate(16);
    const nothing: RequestPart = { address, size: 0, writable: true };
    const requests = [
      driver.ask([nothing]),
      driver.ask([nothing, nothing]),
      driver.ask([nothing, 8, nothing]),
    ];
    fake.settle();
    driver.requests.collect();
    assertEquals(requests.map(({ written }) => written), [0, 0, 8]);
  },
);

each(
  "[C67] [H29] a huge request gets a share of 64 KiB and no byte more",
  async (openRng) => {
    const memory = DriverMemory.shared([
      { guestAddress: 0x1_0000, size: 8 << 20 },
      { guestAddress: 0x1_0000_0000, size: 2 ** 30 },
    ]);
    await using open = await openRng({}, { memory });
    const { fake, driver } = open;
    const address = 0x1_0000_0000;
    const huge = driver.ask([{ address, size: 2 ** 30, writable: true }]);
    const next = driver.ask([64]);
    fake.turn();
    driver.requests.collect();
    assertEquals([huge.written, next.written], [SHARE, -1]);
    assertRandom(memory.read(address, SHARE));
    assertEquals(memory.read(address + SHARE, SHARE), new Uint8Array(SHARE));
    fake.turn();
    driver.requests.collect();
    assertEquals(next.written, 64);
  },
);

each(
  "[C67] a chain that is broken, or lies outside of memory, is given back and the next one is served",
  async (openRng) => {
    await using open = await openRng();
    const { fake, port, driver } = open;
    const layout = { indirect: true };
    const broken = driver.requests.stage([{ room: 64 }], layout);
    port.ring.amend(broken.head, 0, { size: 7 });
    const outside = driver.ask([{
      address: 0x7fff_ffff_f000n,
      size: 64,
      writable: true,
    }]);
    const wraps = driver.ask([{
      address: 0xffff_ffff_ffff_fff0n,
      size: 64,
      writable: true,
    }]);
    const good = driver.ask([64]);
    fake.settle();
    driver.requests.collect();
    assertEquals([broken.written, outside.written, wraps.written], [0, 0, 0]);
    assertEquals(good.bytes().length, 64);
    assertEquals(port.queue.broken, "");
  },
);

Deno.test("[C67] a chain that loops is given back and the next one is served", async () => {
  await using open = await openDevice(rng);
  const { port, driver } = open;
  const loop = driver.requests.stage([{ room: 64 }]);
  port.ring.amend(loop.head, 0, {
    flags: VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_NEXT,
    next: loop.head,
  });
  assertEquals((await driver.bytes(64)).length, 64);
  assertEquals([loop.written, port.queue.broken], [0, ""]);
});

each(
  "requests of random layouts get exactly what is told, in the order of the ring",
  async (openRng) => {
    const prng = Prng.fromEnvironment("rng requests");
    await using open = await openRng({}, { queueSize: 64 });
    const { fake, port, driver } = open;
    const rooms = Array.from(
      { length: 64 },
      () => fake.memory.allocate(4096, 1),
    );
    for (let round = 0; round < 200; round++) {
      const asked: [RingRequest, number][] = [];
      while (port.ring.freeCount > 8) {
        const count = prng.below(5);
        const segments = Array.from({ length: count + 1 }, () => ({
          address: prng.pick(rooms),
          size: prng.below(4) === 0 ? prng.below(4096) : prng.below(65),
          writable: true,
        }));
        if (prng.below(3) === 0) segments[0]!.writable = false;
        const wanted = segments.reduce(
          (sum, { size, writable }) => writable ? sum + size : sum,
          0,
        );
        asked.push([driver.ask(segments), wanted]);
      }
      fake.settle();
      while (asked.some(([request]) => request.written < 0)) {
        fake.turn();
        driver.requests.collect();
      }
      // None is cut: half a share is left for whoever is popped.
      for (const [{ written }, wanted] of asked) {
        assertEquals(written, wanted, `seed ${prng.seed}`);
      }
    }
  },
);

each(
  "the driver gets what there is after half a share, and the rest next",
  async (openRng) => {
    await using open = await openRng();
    const { fake, driver } = open;
    const requests = Array.from({ length: 16 }, () => driver.ask([4 * KIB]));
    const answered = () => {
      fake.turn();
      driver.requests.collect();
      return requests.filter(({ written }) => written === 4 * KIB).length;
    };
    assertEquals([answered(), answered()], [8, 16]);
  },
);

each(
  "memory that was truncated under us is a short request, no signal",
  async (openRng) => {
    await using open = await openRng({}, {
      memory: DriverMemory.shared([
        { guestAddress: 0x10000, size: 8 << 20, shrinkable: true },
      ]),
    });
    const { fake, driver } = open;
    const page = 4096;
    const end = fake.memory.regions[0]!.guestAddress + (8 << 20);
    const address = end - 2 * page;
    const lost = driver.ask([{ address, size: 2 * page, writable: true }]);
    const gone = driver.ask([
      { address: end - page, size: 64, writable: true },
      { address: end - 64, size: 64, writable: true },
    ]);
    const good = driver.ask([64]);
    const { fd } = fake.memory.regions[0]!;
    assertEquals(libc.ftruncate(fd!.number, BigInt((8 << 20) - page)), 0);
    fake.settle();
    driver.requests.collect();
    assertEquals([lost.written, gone.written, good.written], [page, 0, 64]);
  },
);

each(
  "[C68] a budget gives so many bytes a period, and requests wait in order",
  async (openRng) => {
    await using open = await openRng({ "max-bytes": 100, "period": 1 });
    const { fake, port, driver } = open;
    const [source] = fake.watched.values();
    const [timer] = fake.watched.keys();
    const requests = Array.from({ length: 20 }, () => driver.ask([64]));
    const given = () =>
      requests.reduce((sum, { written }) => sum + Math.max(written, 0), 0);
    let periods = 1;
    for (;;) {
      turns(fake);
      driver.requests.collect();
      assertEquals(given(), Math.min(100 * periods, given()));
      const waiting = requests.findIndex(({ written }) => written < 0);
      if (waiting < 0) break;
      // What waits is in the ring, and nobody overtook it.
      assertEquals(given(), 100 * periods);
      assertEquals(port.queue.inFlight, 0);
      assert(requests.slice(waiting).every(({ written }) => written < 0));
      await Reactor.main.readable(timer!);
      source!.ready();
      periods++;
    }
    // 64 and 36: the last of a period is short.
    assertEquals(requests[1]!.written, 36);
    assert(requests.every(({ written }) => written === 64 || written === 36));
    for (const request of requests) request.bytes();
    await Reactor.main.idle();
  },
);

each(
  "[C68] without requests nothing ticks, and what is left over is lost",
  async (openRng) => {
    await using open = await openRng({ "max-bytes": 100, "period": 1 });
    const { fake, driver } = open;
    const [source] = fake.watched.values();
    const [timer] = fake.watched.keys();
    const setting = () => timerSetting(timer!);
    assertEquals(setting(), { seconds: 0, interval: 0 });
    assertEquals((await driver.bytes(10)).length, 10);
    assertNotEquals(setting().interval, 0);
    await Reactor.main.readable(timer!);
    source!.ready();
    // One period without a byte ends it.
    await Reactor.main.readable(timer!);
    source!.ready();
    assertEquals(setting(), { seconds: 0, interval: 0 });
    assertEquals((await driver.bytes(200)).length, 100);
    const more = driver.ask([10]);
    turns(fake);
    driver.requests.collect();
    assertEquals(more.written, -1);
    await Reactor.main.idle();
  },
);

/** What the kernel says of a timerfd: until it expires, and how often. */
function timerSetting(fd: number): { seconds: number; interval: number } {
  const info = Deno.readTextFileSync(`/proc/self/fdinfo/${fd}`);
  const value = (name: string) => {
    const [, seconds, nanoseconds] = new RegExp(
      `${name}: \\((\\d+), (\\d+)\\)`,
    ).exec(info)!;
    return Number(seconds) + Number(nanoseconds) / 1e9;
  };
  return { seconds: value("it_value"), interval: value("it_interval") };
}

each(
  "[C68] a ring whose requests wait for the budget can be stopped, and goes on",
  async (openRng) => {
    await using open = await openRng({ "max-bytes": 1, "period": 3_600_000 });
    const { fake, port, driver } = open;
    const requests = [driver.ask([8]), driver.ask([8]), driver.ask([8])];
    turns(fake);
    driver.requests.collect();
    assertEquals(requests.map(({ written }) => written), [1, -1, -1]);
    // As GET_VRING_BASE does: at once.
    assertEquals([port.queue.inFlight, port.queue.nextAvail & 0x7fff], [
      0,
      1,
    ]);
    fake.data.stop?.(port.queue);
    fake.data.start?.(port.queue);
    turns(fake);
    driver.requests.collect();
    assertEquals(requests.map(({ written }) => written), [1, -1, -1]);
  },
);

each(
  "a file is read on from request to request, and never again",
  async (openRng) => {
    const content = pattern(1000);
    using file = new SourceFile(content);
    await using open = await openRng({ source: file.path });
    const { fake, port, driver } = open;
    assertEquals(await driver.bytes(300), content.subarray(0, 300));
    const split = driver.ask([100, 1, 199]);
    await driver.requests.answer(split);
    assertEquals(split.bytes(), content.subarray(300, 600));
    // The last ones are short, and then there is no more.
    assertEquals(await driver.bytes(600), content.subarray(600));
    const more = driver.ask([8]);
    turns(fake);
    driver.requests.collect();
    assertEquals([more.written, port.queue.inFlight], [-1, 0]);
    // When the driver starts anew, what was added meanwhile is found.
    Deno.writeFileSync(file.path, content.subarray(0, 8), { append: true });
    turns(fake);
    driver.requests.collect();
    assertEquals(more.written, -1);
    fake.data.stop?.(port.queue);
    fake.data.start?.(port.queue);
    turns(fake);
    driver.requests.collect();
    assertEquals(more.bytes(), content.subarray(0, 8));
  },
);

each(
  "a FIFO without bytes keeps the requests, and not the thread",
  async (openRng) => {
    using fifo = new Fifo();
    await using open = await openRng({ source: fifo.path });
    const { fake, port, driver } = open;
    const [source] = fake.watched.values();
    const [watched] = fake.watched.keys();
    const first = driver.ask([64]);
    const second = driver.ask([4]);
    turns(fake);
    driver.requests.collect();
    assertEquals([first.written, second.written], [-1, -1]);
    assertEquals(port.queue.inFlight, 0);
    // One writer after the other: it does not end when one leaves.
    for (const bytes of [pattern(10), pattern(3)]) {
      const request = first.written < 0 ? first : second;
      fifo.write(bytes);
      await Reactor.main.readable(watched!);
      source!.ready();
      turns(fake);
      driver.requests.collect();
      assertEquals(request.bytes(), bytes);
    }
    await Reactor.main.idle();
  },
);

each("a character device is a source", async (openRng) => {
  await using zero = await openRng({ source: "/dev/zero" });
  assertEquals(await zero.driver.bytes(64), new Uint8Array(64));
  await using urandom = await openRng({ source: "/dev/urandom" });
  assertRandom(await urandom.driver.bytes(SHARE));
  await using none = await openRng({ source: "/dev/null" });
  const request = none.driver.ask([8]);
  turns(none.fake);
  none.driver.requests.collect();
  assertEquals([request.written, none.port.queue.inFlight], [-1, 0]);
});

each("a source has its budget too", async (openRng) => {
  using file = new SourceFile(pattern(1000));
  await using open = await openRng({
    "source": file.path,
    "max-bytes": 100,
    "period": 3_600_000,
  });
  const { fake, driver } = open;
  assertEquals(await driver.bytes(64), pattern(64));
  assertEquals(await driver.bytes(64), pattern(100).subarray(64));
  const more = driver.ask([64]);
  turns(fake);
  driver.requests.collect();
  assertEquals(more.written, -1);
});

each(
  "a source that has nothing and can't be watched is asked again",
  async (openRng) => {
    // As /dev/hwrng is.
    const descriptor: DeviceDescriptor = {
      ...rng as DeviceDescriptor,
      async open(options) {
        const device = await rng.open(options as never) as Writable;
        const { source } = device.seed;
        device.seed = {
          ...device.seed,
          source: { ...source!, isWatchable: false },
        };
        return device;
      },
    };
    using fifo = new Fifo();
    await using open = await openRng({ source: fifo.path }, {}, descriptor);
    const { fake, port, driver } = open;
    const [source] = fake.watched.values();
    const [timer] = fake.watched.keys();
    const request = driver.ask([8]);
    for (let i = 0; i < 3; i++) {
      turns(fake);
      driver.requests.collect();
      assertEquals([request.written, port.queue.inFlight], [-1, 0]);
      await Reactor.main.readable(timer!);
      // Once for each look.
      assertEquals(timerSetting(timer!), { seconds: 0, interval: 0 });
      source!.ready();
    }
    fifo.write(pattern(8));
    turns(fake);
    driver.requests.collect();
    assertEquals(request.bytes(), pattern(8));
    await Reactor.main.idle();
  },
);

each("what can't be a source is said in one line", async (openRng) => {
  const refused = (given: GivenOptions) => openRng(given);
  const directory = Deno.makeTempDirSync({ prefix: "ringside-rng-" });
  const socket = `${directory}/socket`;
  const listener = Deno.listen({ transport: "unix", path: socket });
  try {
    for (const path of [directory, socket]) {
      const error = await assertRejects(
        () => refused({ source: path }),
        UsageError,
      );
      assertStringIncludes(error.message, "wanted a regular file, a FIFO or");
    }
    const missing = await assertRejects(
      () => refused({ source: `${directory}/absent` }),
      SystemError,
    );
    assertStringIncludes(missing.message, "ENOENT");
  } finally {
    listener.close();
    Deno.removeSync(directory, { recursive: true });
  }
  const period = await assertRejects(() => refused({ period: 5 }), UsageError);
  assertStringIncludes(period.message, "--period without --max-bytes");
});
