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
import { DriverMemory } from "../../src/testing/driver_memory.ts";
import { Prng } from "../../src/testing/prng.ts";
import {
  RngDriver,
  type RngRequest,
  type RngRoom,
} from "../../src/testing/rng_driver.ts";
import {
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from "../../src/virtqueue/layout.ts";
import { type Given, Harness, type HarnessOptions } from "./harness.ts";

const KIB = 1024;
/** What one request gets at most. */
const SHARE = 64 * KIB;

/** An open entropy device and its driver. */
interface Open extends AsyncDisposable {
  h: Harness;
  driver: RngDriver;
}

async function openRng(
  given: Given = {},
  options: HarnessOptions = {},
  descriptor: DeviceDescriptor = rng,
): Promise<Open> {
  const h = await Harness.open(descriptor, given, options);
  const driver = new RngDriver(h.memory, h.ring, h.port);
  const close = () => h[Symbol.asyncDispose]();
  return { h, driver, [Symbol.asyncDispose]: close };
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
function turns(h: Harness): void {
  for (let i = 0; i < 100; i++) h.turn();
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

Deno.test("the device is the one of virtio 1.3 §5.4", async () => {
  await using open = await openRng();
  const { device } = open.h;
  assertEquals([rng.name, rng.type, rng.virtioId], ["rng", "rng", 4]);
  assertEquals([device.features, device.queueCount], [0n, 1]);
  assertEquals(device.config.bytes.length, 0);
});

Deno.test("a request is filled with bytes that differ each time", async () => {
  await using open = await openRng();
  const first = await open.driver.bytes(64);
  const second = await open.driver.bytes(64);
  assertEquals([first.length, second.length], [64, 64]);
  assertNotEquals(first, second);
  assertRandom(await open.driver.bytes(SHARE));
});

Deno.test("[C67] any number of writable descriptors, in any layout, is filled", async () => {
  for (const indirect of [false, true]) {
    await using open = await openRng();
    const { h, driver } = open;
    const layouts = [
      [1],
      [1, 1],
      [7, 64, 3],
      [4096, 1, 4096],
      Array.from({ length: 128 }, (_, i) => 1 + i),
    ];
    const requests = layouts.map((sizes) => driver.ask(sizes, { indirect }));
    h.settle();
    driver.collect();
    for (const [i, sizes] of layouts.entries()) {
      const size = sizes.reduce((sum, n) => sum + n);
      assertEquals(requests[i]!.written, size);
      assertEquals(driver.read(requests[i]!).length, size);
    }
    assertRandom(driver.read(requests[3]!));
    assertRandom(driver.read(requests[4]!));
  }
});

Deno.test("[C67] a table of more descriptors than the kernel takes at once is filled as far as it goes", async () => {
  await using open = await openRng({}, { size: 1024 });
  const { h, driver } = open;
  // As large as a table may be; regions cut each of its buffers in no two.
  const request = driver.ask(Array.from({ length: 1024 }, () => 3), {
    indirect: true,
  });
  const next = driver.ask([5]);
  h.settle();
  driver.collect();
  assertGreater(request.written, 0);
  assertEquals(driver.read(request).length, request.written);
  assertEquals(next.written, 5);
});

Deno.test("[C67] a readable descriptor is no reason to refuse the writable ones", async () => {
  await using open = await openRng();
  const { h, driver } = open;
  const address = h.memory.allocate(64);
  const readable = { address, size: 64, writable: false };
  const mixed = driver.ask([readable, 32]);
  const only = driver.ask([readable]);
  const after = driver.ask([16]);
  h.settle();
  driver.collect();
  assertEquals([mixed.written, only.written, after.written], [32, 0, 16]);
  driver.read(mixed);
  assertEquals(h.memory.read(address, 64), new Uint8Array(64));
});

Deno.test("[C67] [H29] a request of no bytes is given back with 0", async () => {
  await using open = await openRng();
  const { h, driver } = open;
  const address = h.memory.allocate(16);
  const nothing: RngRoom = { address, size: 0, writable: true };
  const requests = [
    driver.ask([nothing]),
    driver.ask([nothing, nothing]),
    driver.ask([nothing, 8, nothing]),
  ];
  h.settle();
  driver.collect();
  assertEquals(requests.map(({ written }) => written), [0, 0, 8]);
});

Deno.test("[C67] [H29] a huge request gets a share of 64 KiB and no byte more", async () => {
  const memory = DriverMemory.shared([
    { guestAddress: 0x1_0000, size: 8 << 20 },
    { guestAddress: 0x1_0000_0000, size: 2 ** 30 },
  ]);
  await using open = await openRng({}, { memory });
  const { h, driver } = open;
  const address = 0x1_0000_0000;
  const huge = driver.ask([{ address, size: 2 ** 30, writable: true }]);
  const next = driver.ask([64]);
  h.turn();
  driver.collect();
  assertEquals([huge.written, next.written], [SHARE, -1]);
  assertRandom(memory.read(address, SHARE));
  assertEquals(memory.read(address + SHARE, SHARE), new Uint8Array(SHARE));
  h.turn();
  driver.collect();
  assertEquals(next.written, 64);
});

Deno.test("[C67] a chain that loops, or lies outside of memory, is given back and the next one is served", async () => {
  await using open = await openRng();
  const { h, driver } = open;
  const loop = driver.ask([64]);
  h.ring.rawDescriptor(headOf(h, 0), {
    ...loop.segments[0]!,
    flags: VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_NEXT,
    next: headOf(h, 0),
  });
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
  h.settle();
  driver.collect();
  assertEquals([loop.written, outside.written, wraps.written], [0, 0, 0]);
  assertEquals(driver.read(good).length, 64);
  assertEquals(h.queue.broken, "");
});

/** The head in slot `slot` of the available ring. */
function headOf(h: Harness, slot: number): number {
  const [view, at] = h.memory.view(h.ring.driverArea + 4 + 2 * slot);
  return view.getUint16(at, true);
}

Deno.test("requests of random layouts get exactly what is told, in the order of the ring", async () => {
  const prng = Prng.fromEnvironment("rng requests");
  await using open = await openRng({}, { size: 64 });
  const { h, driver } = open;
  const rooms = Array.from({ length: 64 }, () => h.memory.allocate(4096, 1));
  for (let round = 0; round < 200; round++) {
    const asked: [RngRequest, number][] = [];
    while (h.ring.freeCount > 8) {
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
    h.settle();
    while (asked.some(([request]) => request.written < 0)) {
      h.turn();
      driver.collect();
    }
    // A look gives 64 KiB, so that one request of many can be cut.
    const short = asked.filter(([{ written }, wanted]) => written !== wanted);
    for (const [{ written }, wanted] of short) {
      assert(written > 0 && written < wanted, `seed ${prng.seed}`);
    }
    const total = asked.reduce((sum, [, wanted]) => sum + wanted, 0);
    assert(short.length <= total / SHARE, `seed ${prng.seed}`);
  }
});

Deno.test("memory that was truncated under us is a short request, no signal", async () => {
  await using open = await openRng();
  const { h, driver } = open;
  const page = 4096;
  const end = h.memory.regions[0]!.guestAddress + (8 << 20);
  const address = end - 2 * page;
  const lost = driver.ask([{ address, size: 2 * page, writable: true }]);
  const gone = driver.ask([
    { address: end - page, size: 64, writable: true },
    { address: end - 64, size: 64, writable: true },
  ]);
  const good = driver.ask([64]);
  const { fd } = h.memory.regions[0]!;
  assertEquals(libc.ftruncate(fd!.number, BigInt((8 << 20) - page)), 0);
  h.settle();
  driver.collect();
  assertEquals([lost.written, gone.written, good.written], [page, 0, 64]);
});

Deno.test("[C68] a budget gives so many bytes a period, and requests wait in order", async () => {
  await using open = await openRng({ "max-bytes": 100, "period": 1 });
  const { h, driver } = open;
  const [source] = h.watched.values();
  const [timer] = h.watched.keys();
  const requests = Array.from({ length: 20 }, () => driver.ask([64]));
  const given = () =>
    requests.reduce((sum, { written }) => sum + Math.max(written, 0), 0);
  let periods = 1;
  for (;;) {
    turns(h);
    driver.collect();
    assertEquals(given(), Math.min(100 * periods, given()));
    const waiting = requests.findIndex(({ written }) => written < 0);
    if (waiting < 0) break;
    // What waits is in the ring, and nobody overtook it.
    assertEquals(given(), 100 * periods);
    assertEquals(h.queue.inFlight, 0);
    assert(requests.slice(waiting).every(({ written }) => written < 0));
    await Reactor.main.readable(timer!);
    source!.ready();
    periods++;
  }
  // 64 and 36: the last of a period is short.
  assertEquals(requests[1]!.written, 36);
  assert(requests.every(({ written }) => written === 64 || written === 36));
  for (const request of requests) driver.read(request);
  await Reactor.main.idle();
});

Deno.test("[C68] without requests nothing ticks, and what is left over is lost", async () => {
  await using open = await openRng({ "max-bytes": 100, "period": 1 });
  const { h, driver } = open;
  const [source] = h.watched.values();
  const [timer] = h.watched.keys();
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
  turns(h);
  driver.collect();
  assertEquals(more.written, -1);
  await Reactor.main.idle();
});

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

Deno.test("[C68] a ring whose requests wait for the budget can be stopped, and goes on", async () => {
  await using open = await openRng({ "max-bytes": 1, "period": 3_600_000 });
  const { h, driver } = open;
  const requests = [driver.ask([8]), driver.ask([8]), driver.ask([8])];
  turns(h);
  driver.collect();
  assertEquals(requests.map(({ written }) => written), [1, -1, -1]);
  // As GET_VRING_BASE does: at once.
  assertEquals([h.queue.inFlight, h.queue.nextAvail], [0, 1]);
  h.data.stop?.(h.queue);
  h.data.start?.(h.queue);
  turns(h);
  driver.collect();
  assertEquals(requests.map(({ written }) => written), [1, -1, -1]);
});

Deno.test("a file is read on from request to request, and never again", async () => {
  const content = pattern(1000);
  using file = new SourceFile(content);
  await using open = await openRng({ source: file.path });
  const { h, driver } = open;
  assertEquals(await driver.bytes(300), content.subarray(0, 300));
  const split = driver.ask([100, 1, 199]);
  await driver.answer(split);
  assertEquals(driver.read(split), content.subarray(300, 600));
  // The last ones are short, and then there is no more.
  assertEquals(await driver.bytes(600), content.subarray(600));
  const more = driver.ask([8]);
  turns(h);
  driver.collect();
  assertEquals([more.written, h.queue.inFlight], [-1, 0]);
  // When the driver starts anew, what was added meanwhile is found.
  Deno.writeFileSync(file.path, content.subarray(0, 8), { append: true });
  turns(h);
  driver.collect();
  assertEquals(more.written, -1);
  h.data.stop?.(h.queue);
  h.data.start?.(h.queue);
  turns(h);
  driver.collect();
  assertEquals(driver.read(more), content.subarray(0, 8));
});

Deno.test("a FIFO without bytes keeps the requests, and not the thread", async () => {
  using fifo = new Fifo();
  await using open = await openRng({ source: fifo.path });
  const { h, driver } = open;
  const [source] = h.watched.values();
  const [watched] = h.watched.keys();
  const first = driver.ask([64]);
  const second = driver.ask([4]);
  turns(h);
  driver.collect();
  assertEquals([first.written, second.written], [-1, -1]);
  assertEquals(h.queue.inFlight, 0);
  // One writer after the other: it does not end when one leaves.
  for (const bytes of [pattern(10), pattern(3)]) {
    const request = first.written < 0 ? first : second;
    fifo.write(bytes);
    await Reactor.main.readable(watched!);
    source!.ready();
    turns(h);
    driver.collect();
    assertEquals(driver.read(request), bytes);
  }
  await Reactor.main.idle();
});

Deno.test("a character device is a source", async () => {
  await using zero = await openRng({ source: "/dev/zero" });
  assertEquals(await zero.driver.bytes(64), new Uint8Array(64));
  await using urandom = await openRng({ source: "/dev/urandom" });
  assertRandom(await urandom.driver.bytes(SHARE));
  await using none = await openRng({ source: "/dev/null" });
  const request = none.driver.ask([8]);
  turns(none.h);
  none.driver.collect();
  assertEquals([request.written, none.h.queue.inFlight], [-1, 0]);
});

Deno.test("a source has its budget too", async () => {
  using file = new SourceFile(pattern(1000));
  await using open = await openRng({
    "source": file.path,
    "max-bytes": 100,
    "period": 3_600_000,
  });
  const { h, driver } = open;
  assertEquals(await driver.bytes(64), pattern(64));
  assertEquals(await driver.bytes(64), pattern(100).subarray(64));
  const more = driver.ask([64]);
  turns(h);
  driver.collect();
  assertEquals(more.written, -1);
});

Deno.test("a source that has nothing and can't be watched is asked again", async () => {
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
  const { h, driver } = open;
  const [source] = h.watched.values();
  const [timer] = h.watched.keys();
  const request = driver.ask([8]);
  for (let i = 0; i < 3; i++) {
    turns(h);
    driver.collect();
    assertEquals([request.written, h.queue.inFlight], [-1, 0]);
    await Reactor.main.readable(timer!);
    // Once for each look.
    assertEquals(timerSetting(timer!), { seconds: 0, interval: 0 });
    source!.ready();
  }
  fifo.write(pattern(8));
  turns(h);
  driver.collect();
  assertEquals(driver.read(request), pattern(8));
  await Reactor.main.idle();
});

Deno.test("what can't be a source is said in one line", async () => {
  const refused = (given: Given) => openRng(given);
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
