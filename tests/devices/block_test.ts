import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { block } from "../../devices/block/mod.ts";
import { SystemError, UsageError } from "../../src/errors.ts";
import { libc } from "../../src/ffi/libc.ts";
import { VIRTIO_F_INDIRECT_DESC } from "../../src/device/features.ts";
import {
  asSplit,
  BLOCK_REQUEST,
  BLOCK_STATUS,
  BlockDriver,
  BlockError,
  blockHeader,
  DriverMemory,
  FakeDriver,
  type FakeDriverOptions,
  type FakeRing,
  type GivenOptions,
  openRing,
  Prng,
  rangeBytes,
  type RequestPart,
  RING_KINDS,
  type RingKind,
} from "../../src/testing/mod.ts";
import { requirement } from "../support/require.ts";
import { hasUring } from "../support/uring.ts";

const { IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES } = BLOCK_REQUEST;
const { OK, IOERR, UNSUPP } = BLOCK_STATUS;
/** The status where the device wrote none. */
const UNTOUCHED = 0xa5;
const SECTOR = 512;
const MIB = 1 << 20;
const FLUSH_FEATURE = 1n << 9n;
const WCE_FEATURE = 1n << 11n;

/** An open disk, its driver and the file behind it. */
interface Disk extends AsyncDisposable {
  fake: FakeDriver;
  port: FakeRing;
  driver: BlockDriver;
  path: string;
}

interface Variant {
  name: string;
  engine: "sync" | "io_uring";
  indirect: boolean;
  kind: RingKind;
}

const VARIANTS: readonly Variant[] = RING_KINDS.flatMap((kind) =>
  (["sync", "io_uring"] as const).flatMap((engine) =>
    [false, true].map((indirect) => ({
      name: `${engine}, ${kind.name} ${indirect ? "indirect" : "direct"}`,
      engine,
      indirect,
      kind,
    }))
  )
);

/** A byte pattern that differs from sector to sector and within one. */
function pattern(size: number, salt = 0): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => i * 7 + (i >> 9) + salt);
}

function makeFile(size: number, dir?: string): string {
  const path = Deno.makeTempFileSync({
    prefix: "ringside-block-",
    ...(dir === undefined ? {} : { dir }),
  });
  Deno.truncateSync(path, size);
  return path;
}

async function openDisk(
  variant: Variant,
  given: GivenOptions = {},
  options: FakeDriverOptions = {},
  path = makeFile(MIB),
): Promise<Disk> {
  const { engine, indirect, kind } = variant;
  const all = { "blk-file": path, "io-engine": engine, ...given };
  try {
    const fake = await FakeDriver.open(block, all, {
      uring: engine === "io_uring",
      kind,
      ...options,
    });
    const port = fake.rings[0]!;
    const driver = new BlockDriver(fake.memory, port.ring, port, { indirect });
    const close = async () => {
      await fake[Symbol.asyncDispose]();
      Deno.removeSync(path);
    };
    return { fake, port, driver, path, [Symbol.asyncDispose]: close };
  } catch (error) {
    Deno.removeSync(path);
    throw error;
  }
}

/** Registers a test for each kind of ring, engine and layout. */
function each(
  name: string,
  fn: (variant: Variant) => Promise<void>,
  variants = VARIANTS,
): void {
  for (const variant of variants) {
    Deno.test({
      name: `${name} (${variant.name})`,
      ignore: variant.engine === "io_uring" && !hasUring,
      fn: () => fn(variant),
    });
  }
}

/** Cuts `bytes` behind each of `sizes`; the rest is the last part. */
function cut(bytes: Uint8Array, sizes: readonly number[]): RequestPart[] {
  const parts: RequestPart[] = [];
  let done = 0;
  for (const size of [...sizes, bytes.length]) {
    const piece = bytes.subarray(done, done + size);
    if (piece.length > 0) parts.push({ bytes: piece });
    done += size;
  }
  return parts;
}

async function statusOf(
  driver: BlockDriver,
  type: number,
  sector: number | bigint,
  data: readonly RequestPart[] = [],
): Promise<number> {
  const header = { bytes: blockHeader(type, sector) };
  const answer = await driver.request([header, ...data, { room: 1 }]);
  if (answer.rooms.length === 1) assertEquals(answer.written, 1);
  return answer.status;
}

/** The device is as good as new after what was done to it. */
async function assertAlive({ port, driver, path }: Disk): Promise<void> {
  assertEquals(port.queue.broken, "");
  assertEquals(port.queue.inFlight, 0);
  const bytes = pattern(SECTOR, 99);
  const file = Deno.openSync(path, { read: true, write: true });
  file.seekSync(SECTOR, Deno.SeekMode.Start);
  file.writeSync(bytes);
  file.close();
  assertEquals(await driver.read(1, SECTOR), bytes);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(
    parts.reduce((sum, { length }) => sum + length, 0),
  );
  let done = 0;
  for (const part of parts) {
    all.set(part, done);
    done += part.length;
  }
  return all;
}

function allocated(path: string): number {
  return Deno.statSync(path).blocks! * 512;
}

each("what was written is read again, and is in the file", async (variant) => {
  await using disk = await openDisk(variant);
  const bytes = pattern(64 << 10);
  await disk.driver.write(5, bytes);
  await disk.driver.flush();
  assertEquals(await disk.driver.read(5, bytes.length), bytes);
  const file = Deno.readFileSync(disk.path);
  assertEquals(file.subarray(5 * SECTOR, 5 * SECTOR + bytes.length), bytes);
});

each("[C62] a header that is writable goes back unread", async (variant) => {
  await using disk = await openDisk(variant);
  const answer = await disk.driver.request([{ room: 16 }, { room: 1 }]);
  assertEquals(answer.written, 0);
  await assertAlive(disk);
});

each("[C62] a status that is readable goes back unread", async (variant) => {
  await using disk = await openDisk(variant);
  const answer = await disk.driver.request([
    { bytes: blockHeader(FLUSH, 0) },
    { bytes: new Uint8Array(1) },
  ]);
  assertEquals(answer.written, 0);
  await assertAlive(disk);
});

each("[C62] a status of 0 bytes goes back unread", async (variant) => {
  await using disk = await openDisk(variant);
  const answer = await disk.driver.request([
    { bytes: blockHeader(FLUSH, 0) },
    { room: 0 },
  ]);
  assertEquals(answer.written, 0);
  await assertAlive(disk);
});

each("[C62] FLUSH takes no notice of the sector", async (variant) => {
  await using disk = await openDisk(variant);
  assertEquals(await statusOf(disk.driver, FLUSH, 12345), OK);
  assertEquals(await statusOf(disk.driver, FLUSH, 2n ** 64n - 1n), OK);
});

each("[C62] types that are not served are UNSUPP", async (variant) => {
  await using disk = await openDisk(variant);
  for (const type of [2, 3, 5, 10, 14, 15, 16, 0x80000001, 0xffffffff]) {
    assertEquals(await statusOf(disk.driver, type, 0), UNSUPP, `type ${type}`);
    const data = { bytes: new Uint8Array(SECTOR) };
    assertEquals(await statusOf(disk.driver, type, 0, [data]), UNSUPP);
  }
  await assertAlive(disk);
});

each("[C63] the last sector is there, the next is not", async (variant) => {
  await using disk = await openDisk(variant);
  const last = MIB / SECTOR - 1;
  await disk.driver.write(last, pattern(SECTOR));
  assertEquals(await disk.driver.read(last, SECTOR), pattern(SECTOR));
  const before = Deno.readFileSync(disk.path);
  const beyond: [number | bigint, number][] = [
    [last, 2 * SECTOR],
    [last + 1, SECTOR],
    [0, MIB + SECTOR],
    [2n ** 32n, SECTOR],
    [2n ** 53n, SECTOR],
    [2n ** 55n - 1n, SECTOR],
    [2n ** 64n - 1n, SECTOR],
    [2n ** 64n - 1n, 2 * SECTOR],
  ];
  for (const [sector, size] of beyond) {
    const name = `${size} bytes at ${sector}`;
    const bytes = pattern(size, 3);
    const wrote = await statusOf(disk.driver, OUT, sector, [{ bytes }]);
    assertEquals(wrote, IOERR, name);
    const read = await statusOf(disk.driver, IN, sector, [{ room: size }]);
    assertEquals(read, IOERR, name);
  }
  assertEquals(Deno.readFileSync(disk.path), before);
  await assertAlive(disk);
});

each("[C63] data that is no number of sectors is IOERR", async (variant) => {
  await using disk = await openDisk(variant);
  const before = Deno.readFileSync(disk.path);
  for (const size of [1, 511, 513, 4095]) {
    const bytes = new Uint8Array(size).fill(255);
    const wrote = await statusOf(disk.driver, OUT, 0, [{ bytes }]);
    assertEquals(wrote, IOERR, `writing ${size} bytes`);
    const read = await statusOf(disk.driver, IN, 0, [{ room: size }]);
    assertEquals(read, IOERR, `reading ${size} bytes`);
  }
  assertEquals(Deno.readFileSync(disk.path), before);
});

each("data of 0 bytes is moved", async (variant) => {
  await using disk = await openDisk(variant);
  assertEquals(await statusOf(disk.driver, IN, 0), OK);
  assertEquals(await statusOf(disk.driver, OUT, 0), OK);
  assertEquals(await statusOf(disk.driver, OUT, MIB / SECTOR), OK);
  assertEquals(await statusOf(disk.driver, OUT, MIB / SECTOR + 1), IOERR);
});

each("[C63] a read-only disk refuses to change", async (variant) => {
  const path = makeFile(MIB);
  Deno.writeFileSync(path, pattern(MIB));
  await using disk = await openDisk(variant, { "read-only": true }, {}, path);
  const { driver } = disk;
  const bytes = new Uint8Array(SECTOR);
  const range = { bytes: rangeBytes([{ sector: 0, sectors: 1 }]) };
  assertEquals(await statusOf(driver, OUT, 0, [{ bytes }]), IOERR);
  assertEquals(await statusOf(driver, DISCARD, 0, [range]), IOERR);
  assertEquals(await statusOf(driver, WRITE_ZEROES, 0, [range]), IOERR);
  assertEquals(await statusOf(driver, FLUSH, 0), OK);
  assertEquals(await driver.read(0, MIB >> 1), pattern(MIB).slice(0, MIB >> 1));
  assertEquals(Deno.readFileSync(path), pattern(MIB));
  const { features } = disk.fake.device;
  assertEquals(features & (1n << 5n), 1n << 5n, "RO");
  assertEquals(features & (3n << 13n), 0n, "no DISCARD, no WRITE_ZEROES");
});

each("[C64] segments with flags we don't know are UNSUPP", async (variant) => {
  await using disk = await openDisk(variant);
  const { driver } = disk;
  await driver.write(0, pattern(8 * SECTOR));
  const withFlags = (flags: number) => ({
    bytes: rangeBytes([{ sector: 0, sectors: 1 }, {
      sector: 1,
      sectors: 1,
      flags,
    }]),
  });
  for (const flags of [1, 2, 3, 0x80000000]) {
    const status = await statusOf(driver, DISCARD, 0, [withFlags(flags)]);
    assertEquals(status, UNSUPP, `DISCARD with flags ${flags}`);
  }
  for (const flags of [2, 3, 0x80000001]) {
    const status = await statusOf(driver, WRITE_ZEROES, 0, [withFlags(flags)]);
    assertEquals(status, UNSUPP, `WRITE_ZEROES with flags ${flags}`);
  }
  assertEquals(await driver.read(0, 8 * SECTOR), pattern(8 * SECTOR));
});

each(
  "[C64] a bad list of segments is IOERR, and none is done",
  async (variant) => {
    await using disk = await openDisk(variant);
    const { driver } = disk;
    await driver.write(0, pattern(8 * SECTOR));
    const end = MIB / SECTOR;
    const good = { sector: 0, sectors: 1 };
    const ranges = (...bad: Parameters<typeof rangeBytes>[0]) =>
      rangeBytes([good, ...bad]);
    const bad: [string, Uint8Array][] = [
      ["no segment", new Uint8Array(0)],
      ["a part of one", ranges().subarray(0, 15)],
      ["one and a part of one", new Uint8Array(24)],
      ["beyond the end", ranges({ sector: end, sectors: 1 })],
      ["over the end", ranges({ sector: end - 1, sectors: 2 })],
      ["overflowing", ranges({ sector: 2 ** 53 - 1, sectors: 0xffffffff })],
      ["too long", ranges({ sector: 0, sectors: (1 << 22) + 1 })],
      ["too many", rangeBytes(new Array(257).fill(good))],
    ];
    for (const type of [DISCARD, WRITE_ZEROES]) {
      for (const [name, bytes] of bad) {
        const data = bytes.length === 0 ? [] : [{ bytes }];
        assertEquals(await statusOf(driver, type, 0, data), IOERR, name);
      }
    }
    assertEquals(await driver.read(0, 8 * SECTOR), pattern(8 * SECTOR));
  },
);

each("[C64] segments are split over descriptors anywhere", async (variant) => {
  await using disk = await openDisk(variant);
  const { driver } = disk;
  const ranges = [
    { sector: 8, sectors: 8, flags: 1 },
    { sector: 32, sectors: 0, flags: 1 },
    { sector: 24, sectors: 16, flags: 1 },
    { sector: 3, sectors: 1, flags: 1 },
  ];
  for (const sizes of [[1], [7, 2], [12, 1, 1, 1], [16, 16], [31, 2]]) {
    await driver.write(0, pattern(64 * SECTOR));
    const data = cut(rangeBytes(ranges), sizes);
    assertEquals(await statusOf(driver, WRITE_ZEROES, 0, data), OK);
    const wanted = pattern(64 * SECTOR);
    for (const { sector, sectors } of ranges) {
      wanted.fill(0, sector * SECTOR, (sector + sectors) * SECTOR);
    }
    assertEquals(await driver.read(0, 64 * SECTOR), wanted, `${sizes}`);
  }
});

each("[C64] as many segments as we say are taken", async (variant) => {
  await using disk = await openDisk(variant);
  const { driver } = disk;
  await driver.write(0, pattern(512 * SECTOR));
  const ranges = Array.from(
    { length: 256 },
    (_, i) => ({ sector: 2 * i, sectors: 1 }),
  );
  await driver.writeZeroes(ranges);
  const wanted = pattern(512 * SECTOR);
  for (const { sector } of ranges) {
    wanted.fill(0, sector * SECTOR, (sector + 1) * SECTOR);
  }
  assertEquals(await driver.read(0, 512 * SECTOR), wanted);
});

each("[C64] DISCARD and unmapping give space back", async (variant) => {
  await using disk = await openDisk(variant);
  const { driver, path } = disk;
  const half = MIB / 2;
  const sectors = half / SECTOR;
  await driver.write(0, pattern(half));
  await driver.write(sectors, pattern(half));
  await driver.flush();
  const full = allocated(path);
  assert(full >= MIB);
  await driver.writeZeroes([{ sector: 0, sectors }]);
  assertGreater(allocated(path), full - half / 2, "zeros without unmapping");
  assertEquals(await driver.read(0, half), new Uint8Array(half));
  await driver.writeZeroes([{ sector: 0, sectors, flags: 1 }]);
  const less = allocated(path);
  assertLess(less, full - half / 2, "zeros with unmapping");
  assertEquals(await driver.read(0, half), new Uint8Array(half));
  await driver.discard([{ sector: sectors, sectors: sectors / 2 }, {
    sector: sectors + sectors / 2,
    sectors: sectors / 2,
  }]);
  assertLess(allocated(path), less - half / 2, "discarding");
  assertEquals(Deno.statSync(path).size, MIB);
});

each(
  "[C65] GET_ID answers the serial as far as there is room",
  async (variant) => {
    await using disk = await openDisk(variant, {
      serial: "0123456789abcdefghij",
    });
    const text = new TextEncoder().encode("0123456789abcdefghij");
    const ask = async (sizes: number[]) => {
      const header = { bytes: blockHeader(GET_ID, 0) };
      const rooms = sizes.map((room) => ({ room }));
      const answer = await disk.driver.request([header, ...rooms, { room: 1 }]);
      assertEquals(answer.status, OK);
      const bytes = concat(answer.rooms.slice(0, -1));
      return { bytes, written: answer.written };
    };
    assertEquals(await ask([20]), { bytes: text, written: 21 });
    assertEquals(await ask([1, 12, 7]), { bytes: text, written: 21 });
    assertEquals(await ask([5]), { bytes: text.slice(0, 5), written: 6 });
    assertEquals(await ask([]), { bytes: new Uint8Array(0), written: 1 });
    const long = await ask([32]);
    assertEquals(long.bytes.subarray(0, 20), text);
    assertEquals(long.written, 20, "no byte that was not written is counted");
    assertEquals(await disk.driver.getId(), "0123456789abcdefghij");
  },
);

each("[C65] GET_ID without a serial answers NULs", async (variant) => {
  await using disk = await openDisk(variant);
  const answer = await disk.driver.request([
    { bytes: blockHeader(GET_ID, 0) },
    { room: 20 },
    { room: 1 },
  ]);
  assertEquals(answer.rooms[0], new Uint8Array(20));
  assertEquals(answer.written, 21);
});

each("[C65] used lengths are exact", async (variant) => {
  await using disk = await openDisk(variant);
  const written = async (type: number, sector: number, data: RequestPart[]) => {
    const header = { bytes: blockHeader(type, sector) };
    const parts = [header, ...data, { room: 1 }];
    return (await disk.driver.request(parts)).written;
  };
  assertEquals(await written(IN, 0, [{ room: 3 * SECTOR }]), 0x601);
  assertEquals(await written(OUT, 0, [{ bytes: pattern(3 * SECTOR) }]), 1);
  assertEquals(await written(FLUSH, 0, []), 1);
  const range = rangeBytes([{ sector: 0, sectors: 1 }]);
  assertEquals(await written(DISCARD, 0, [{ bytes: range }]), 1);
  assertEquals(await written(WRITE_ZEROES, 0, [{ bytes: range }]), 1);
  assertEquals(await written(OUT, 1 << 20, [{ bytes: pattern(SECTOR) }]), 1);
  // The status is behind data of which not one byte was written.
  assertEquals(await written(IN, 1 << 20, [{ room: SECTOR }]), 0);
  assertEquals(await written(77, 0, [{ room: SECTOR }]), 0);
});

each("[C66] headers, data and status lie anywhere", async (variant) => {
  await using disk = await openDisk(variant);
  const { driver } = disk;
  const bytes = pattern(2 * SECTOR, 5);
  const out = concat([blockHeader(OUT, 9), bytes]);
  const layouts = [[], [16], [8], [1, 1, 1], [15, 2], [16, 1], [16, 511, 2], [
    500,
    500,
  ]];
  for (const sizes of layouts) {
    await driver.write(9, new Uint8Array(bytes.length));
    const answer = await driver.request([...cut(out, sizes), { room: 1 }]);
    assertEquals(answer.status, OK, `OUT in ${sizes}`);
    assertEquals(await driver.read(9, bytes.length), bytes);
  }
  const rooms = [[1025], [1024, 1], [1, 1024], [511, 2, 512], [1023, 2]];
  for (const sizes of rooms) {
    for (const header of [[], [8], [1, 14], [4, 4, 4]]) {
      const answer = await driver.request([
        ...cut(blockHeader(IN, 9), header),
        ...sizes.map((room) => ({ room })),
      ]);
      assertEquals(answer.status, OK, `IN in ${sizes}`);
      assertEquals(answer.written, 1025);
      assertEquals(concat(answer.rooms).subarray(0, 1024), bytes);
    }
  }
});

each("[C66] data in descriptors of one byte", async (variant) => {
  await using disk = await openDisk(variant, {}, { queueSize: 1024 });
  const { driver } = disk;
  const bytes = pattern(SECTOR, 8);
  const ones = Array.from(bytes, () => 1);
  const header = { bytes: blockHeader(OUT, 4) };
  const parts = [header, ...cut(bytes, ones), { room: 1 }];
  assertEquals((await driver.request(parts)).status, OK);
  const read = await driver.request([
    { bytes: blockHeader(IN, 4) },
    ...ones.map((room) => ({ room })),
    { room: 1 },
  ]);
  assertEquals(read.status, OK);
  assertEquals(concat(read.rooms).subarray(0, SECTOR), bytes);
});

each("more segments than the kernel takes at once", async (variant) => {
  const count = 1500;
  const path = makeFile(2 * MIB);
  const options = { queueSize: 2048, memory: DriverMemory.shared(32 * MIB) };
  await using disk = await openDisk(variant, {}, options, path);
  const bytes = pattern(count * SECTOR);
  const sizes = new Array(count).fill(SECTOR);
  const header = { bytes: blockHeader(OUT, 100) };
  const wrote = await disk.driver.request(
    [header, ...cut(bytes, sizes), { room: 1 }],
  );
  assertEquals(wrote.status, OK);
  const read = await disk.driver.request([
    { bytes: blockHeader(IN, 100) },
    ...sizes.map((room) => ({ room })),
    { room: 1 },
  ]);
  assertEquals(read.status, OK);
  assertEquals(read.written, bytes.length + 1);
  assertEquals(concat(read.rooms.slice(0, -1)), bytes);
});

each(
  "[H27] whatever the request, the disk serves the next one",
  async (variant) => {
    const memory = DriverMemory.shared(32 * MIB);
    await using disk = await openDisk(variant, {}, { queueSize: 1024, memory });
    const { driver } = disk;
    const address = memory.allocate(4 * MIB, 4096);
    const segments = { bytes: new Uint8Array(4 * MIB), address };
    const header = (type: number, sector: number | bigint = 0) => ({
      bytes: blockHeader(type, sector),
    });
    const short = { bytes: blockHeader(IN, 0).subarray(0, 15) };
    const data = { bytes: pattern(SECTOR) };
    const zero = [header(WRITE_ZEROES), ...new Array(4).fill(segments)];
    const cases: [string, RequestPart[], number, number][] = [
      ["a header of 15 bytes", [short, { room: 513 }], 0, UNTOUCHED],
      ["no status byte", [header(OUT), data], 0, -1],
      ["a status instead of data", [header(IN), { room: 1 }], 1, OK],
      ["sector ~0", [header(IN, 2n ** 64n - 1n), { room: 513 }], 0, IOERR],
      ["511 bytes", [header(IN), { room: 512 }], 0, IOERR],
      ["2^20 segments", [...zero, { room: 1 }], 1, IOERR],
      ["an unknown type", [header(99), { room: 1 }], 1, UNSUPP],
    ];
    for (const [name, parts, written, status] of cases) {
      const answer = await driver.request(parts);
      assertEquals(answer.written, written, name);
      assertEquals(answer.status, status, name);
      await assertAlive(disk);
    }
  },
);

/** Reads 1022 x 4 MiB: what the device says it wrote, and the status. */
async function readAlmost4GiB(fake: FakeDriver): Promise<[number, number]> {
  const address = fake.memory.allocate(4 * MIB);
  const data = { address, size: 4 * MIB, writable: true };
  const answer = await fake.request([
    { bytes: blockHeader(IN, 1) },
    ...new Array(1022).fill(data),
    { room: 1 },
  ]);
  return [answer.written, answer.rooms()[0]![0]!];
}

Deno.test("[H27] almost 4 GiB from a disk that has them", async () => {
  const given = { "blk-null": 8 * 2 ** 30 };
  await using fake = await FakeDriver.open(block, given, { queueSize: 1024 });
  assertEquals(await readAlmost4GiB(fake), [1022 * 4 * MIB + 1, OK]);
});

each("[H27] almost 4 GiB from a small disk", async (variant) => {
  await using disk = await openDisk(variant, {}, { queueSize: 1024 });
  assertEquals(await readAlmost4GiB(disk.fake), [0, IOERR]);
  await assertAlive(disk);
});

each(
  "[C16] a head that is published twice is served twice",
  async (variant) => {
    await using disk = await openDisk(variant);
    const { fake, port } = disk;
    const ring = asSplit(port.ring);
    const request = port.requests.stage([
      { bytes: blockHeader(IN, 0) },
      { room: SECTOR + 1 },
    ]);
    ring.rawAvailable(request.head);
    ring.publish();
    for (let i = 0; i < 10; i++) fake.turn();
    const used = { head: request.head, written: SECTOR + 1 };
    assertEquals(port.requests.take(), request);
    assertEquals(request.written, SECTOR + 1);
    assertEquals(port.requests.take(), null);
    assertEquals(port.requests.strays, [used]);
    await assertAlive(disk);
  },
  VARIANTS.filter(({ kind }) => kind.name === "split"),
);

each(
  "many requests in flight, in the layout of the driver's liking",
  async (variant) => {
    const prng = Prng.fromEnvironment("requests in flight");
    const memory = DriverMemory.shared(16 * MIB);
    await using disk = await openDisk(variant, {}, { memory });
    const model = new Uint8Array(MIB);
    const regions = 32;
    const sectors = MIB / SECTOR / regions;
    for (let round = 0; round < 12; round++) {
      const work: Promise<void>[] = [];
      for (let region = 0; region < regions; region++) {
        const first = region * sectors + prng.below(sectors / 2);
        const count = 1 + prng.below(sectors / 2);
        work.push(oneRequest(disk.driver, model, prng, first, count));
      }
      work.push(disk.driver.flush());
      await Promise.all(work);
    }
    assertEquals(Deno.readFileSync(disk.path), model);
  },
);

/** A random request on sectors that no other one touches meanwhile. */
async function oneRequest(
  driver: BlockDriver,
  model: Uint8Array,
  prng: Prng,
  sector: number,
  sectors: number,
): Promise<void> {
  const part = model.subarray(sector * SECTOR, (sector + sectors) * SECTOR);
  const sizes = Array.from({ length: prng.below(6) }, () => prng.below(700));
  const kind = prng.below(4);
  if (kind === 0) {
    part.fill(0);
    await driver.writeZeroes([{ sector, sectors, flags: prng.below(2) }]);
  } else if (kind === 1) {
    const bytes = pattern(part.length, prng.below(256));
    part.set(bytes);
    const out = concat([blockHeader(OUT, sector), bytes]);
    const answer = await driver.request([...cut(out, sizes), { room: 1 }]);
    assertEquals(answer.status, OK);
  } else {
    const wanted = part.slice();
    const answer = await driver.request([
      { bytes: blockHeader(IN, sector) },
      ...cut(new Uint8Array(part.length + 1), sizes).map((piece) => ({
        room: "bytes" in piece ? piece.bytes.length : 0,
      })),
    ]);
    assertEquals(answer.status, OK);
    assertEquals(concat(answer.rooms).subarray(0, part.length), wanted);
  }
}

each("a ring that is stopped goes on where it was", async (variant) => {
  await using disk = await openDisk(variant);
  for (let i = 0; i < 5; i++) {
    await disk.driver.write(i, pattern(SECTOR, i));
    disk.port.restart();
  }
  for (let i = 0; i < 5; i++) {
    assertEquals(await disk.driver.read(i, SECTOR), pattern(SECTOR, i));
  }
});

each("a ring that is started again takes nothing new", async (variant) => {
  await using disk = await openDisk(variant);
  const { uring } = disk.fake;
  const consumer = { complete: () => {} };
  const before = uring?.addConsumer(consumer) ?? 0;
  for (let i = 0; i < 5; i++) disk.port.restart();
  const after = uring?.addConsumer(consumer) ?? 1;
  assertEquals(after, before + 1);
});

each("a ring may be larger when it is started again", async (variant) => {
  await using disk = await openDisk(variant, {}, { queueSize: 4 });
  const { fake, port } = disk;
  await disk.driver.write(0, pattern(SECTOR));
  port.stop();
  const features = variant.kind.features | VIRTIO_F_INDIRECT_DESC;
  port.start(openRing(fake.memory, 2048, features));
  const driver = new BlockDriver(fake.memory, port.ring, port);
  const work = Array.from({ length: 600 }, () => driver.read(0, SECTOR));
  for (const bytes of await Promise.all(work)) {
    assertEquals(bytes, pattern(SECTOR));
  }
});

each("two rings on one thread", async (variant) => {
  await using disk = await openDisk(variant, {}, { queueCount: 2 });
  const second = disk.fake.rings[1]!;
  const other = new BlockDriver(disk.fake.memory, second.ring, second);
  const work: Promise<unknown>[] = [];
  for (let i = 0; i < 40; i++) {
    work.push(disk.driver.write(2 * i, pattern(SECTOR, 2 * i)));
    work.push(other.write(2 * i + 1, pattern(SECTOR, 2 * i + 1)));
  }
  await Promise.all(work);
  for (let i = 0; i < 80; i++) {
    assertEquals(await other.read(i, SECTOR), pattern(SECTOR, i));
    assertEquals(await disk.driver.read(i, SECTOR), pattern(SECTOR, i));
  }
});

each("memory that the front-end took away is IOERR", async (variant) => {
  const memory = DriverMemory.shared([
    { guestAddress: 0x10000, size: MIB },
    { guestAddress: 0x1000000, size: MIB, shrinkable: true },
  ]);
  await using disk = await openDisk(variant, {}, { memory });
  assertEquals(libc.ftruncate(memory.regions[1]!.fd!.number, 0n), 0);
  const address = 0x1000000 + 8192;
  for (const type of [IN, OUT]) {
    const answer = await disk.driver.request([
      { bytes: blockHeader(type, 0) },
      { address, size: SECTOR, writable: type === IN },
      { room: 1 },
    ]);
    assertEquals(answer.written, type === IN ? 0 : 1);
    assertEquals(answer.status, IOERR);
  }
  await assertAlive(disk);
});

each("a disk whose file was cut short fails there", async (variant) => {
  await using disk = await openDisk(variant);
  const { driver } = disk;
  await driver.write(0, pattern(MIB / 2));
  Deno.truncateSync(disk.path, MIB / 4);
  const sector = MIB / 4 / SECTOR;
  const over = await assertRejects(
    () => driver.read(sector - 1, 2 * SECTOR),
    BlockError,
  );
  assertEquals(over.status, IOERR);
  await assertRejects(() => driver.read(sector, SECTOR), BlockError);
  assertEquals((await driver.read(0, SECTOR)).length, SECTOR);
});

const hasDirect = requirement("a file system with direct I/O", () => {
  const path = makeFile(MIB);
  try {
    const flags = 0o40000 | 0o2;
    const fd = libc.open(new TextEncoder().encode(path + "\0"), flags, 0);
    if (fd >= 0) libc.close(fd);
    return fd >= 0;
  } finally {
    Deno.removeSync(path);
  }
});

if (hasDirect) {
  each("--direct moves buffers of any alignment", async (variant) => {
    const memory = DriverMemory.shared(32 * MIB);
    await using disk = await openDisk(variant, { direct: true }, { memory });
    const { driver } = disk;
    const size = 320 << 10; // more than a bounce buffer
    const bytes = pattern(size, 1);
    await driver.write(0, bytes);
    assertEquals(await driver.read(0, size), bytes);
    const at = memory.allocate(2 * MIB, 4096);
    for (const shift of [1, 2, 8, 511, 513]) {
      const odd = pattern(size, shift);
      const address = at + shift;
      const header = { bytes: blockHeader(OUT, 8) };
      const wrote = await driver.request([
        header,
        { bytes: odd, address },
        { room: 1 },
      ]);
      assertEquals(wrote.status, OK);
      assertEquals(await driver.read(8, size), odd);
      memory.write(address, new Uint8Array(size));
      const read = await driver.request([
        { bytes: blockHeader(IN, 8) },
        { room: size, address },
        { room: 1 },
      ]);
      assertEquals(read.status, OK);
      assertEquals(read.written, size + 1);
      assertEquals(read.rooms[0], odd);
    }
  });

  each("--direct moves what is split at odd places, deep", async (variant) => {
    const memory = DriverMemory.shared(32 * MIB);
    await using disk = await openDisk(variant, { direct: true }, { memory });
    const { driver } = disk;
    const size = 8 << 10;
    const write = async (i: number) => {
      const bytes = concat([blockHeader(OUT, i * 16), pattern(size, i)]);
      const sizes = [100 + i, 1000 + i];
      const answer = await driver.request([...cut(bytes, sizes), { room: 1 }]);
      assertEquals(answer.status, OK);
    };
    const read = async (i: number) => {
      const answer = await driver.request([
        { bytes: blockHeader(IN, i * 16) },
        { room: 1000 + i },
        { room: size - 1000 - i + 1 },
      ]);
      assertEquals(answer.status, OK);
      assertEquals(concat(answer.rooms).subarray(0, size), pattern(size, i));
    };
    const all = Array.from({ length: 60 }, (_, i) => i);
    await Promise.all(all.map(write));
    await Promise.all(all.map(read));
    const file = Deno.readFileSync(disk.path);
    assertEquals(file.subarray(size * 59, size * 60), pattern(size, 59));
  });

  each("--direct refuses a block size that can't be", async (variant) => {
    await using disk = await openDisk(variant, { direct: true });
    const { seed } = disk.fake.device as unknown as {
      seed: { alignment: number };
    };
    const { alignment } = seed;
    assertEquals(disk.fake.device.config.view.getUint32(20, true), alignment);
    if (alignment === SECTOR) return;
    const status = await statusOf(disk.driver, IN, 1, [{ room: SECTOR }]);
    assertEquals(status, IOERR, "a part of a block");
    const given = { direct: true, "block-size": SECTOR };
    await assertRejects(() => openDisk(variant, given), UsageError, "--direct");
  });
}

const hasShm = requirement("a tmpfs at /dev/shm", () => {
  return Deno.statSync("/dev/shm").isDirectory;
});

if (hasShm) {
  each("zeros are written where the file can't be told to", async (variant) => {
    // A tmpfs punches holes, but has no FALLOC_FL_ZERO_RANGE.
    const path = makeFile(4 * MIB, "/dev/shm");
    await using disk = await openDisk(variant, {}, {}, path);
    const { driver } = disk;
    Deno.writeFileSync(path, pattern(4 * MIB));
    const sectors = 3 * MIB / SECTOR;
    await driver.writeZeroes([{ sector: 1, sectors }, {
      sector: 7000,
      sectors: 3,
    }, { sector: 8000, sectors: 1 }]);
    const wanted = pattern(4 * MIB);
    wanted.fill(0, SECTOR, SECTOR + 3 * MIB);
    wanted.fill(0, 7000 * SECTOR, 7003 * SECTOR);
    wanted.fill(0, 8000 * SECTOR, 8001 * SECTOR);
    assert(Deno.readFileSync(path).every((byte, i) => byte === wanted[i]));
    await driver.writeZeroes([{ sector: 0, sectors, flags: 1 }]);
    assertLess(allocated(path), 2 * MIB, "unmapping still works");
  });
}

Deno.test("--blk-null answers at once and moves nothing", async () => {
  await using fake = await FakeDriver.open(block, { "blk-null": 2 ** 40 });
  const port = fake.rings[0]!;
  const driver = new BlockDriver(fake.memory, port.ring, port);
  await driver.write(0, pattern(SECTOR));
  const address = fake.memory.allocate(SECTOR);
  fake.memory.write(address, pattern(SECTOR, 4));
  const answer = await driver.request([
    { bytes: blockHeader(IN, 2 ** 31 - 1) },
    { room: SECTOR, address },
    { room: 1 },
  ]);
  assertEquals(answer.written, SECTOR + 1);
  assertEquals(answer.rooms[0], pattern(SECTOR, 4));
  await driver.flush();
  await driver.discard([{ sector: 0, sectors: 1 }]);
  await assertRejects(() => driver.read(2 ** 31, SECTOR), BlockError);
});

Deno.test("the configuration space tells of the disk", async () => {
  const variant = VARIANTS[0]!;
  const given = { "block-size": 4096, "num-queues": 3, "queue-size": 128 };
  const path = makeFile(5 * 2 ** 40); // beyond 2^32 sectors, sparse
  await using disk = await openDisk(variant, given, {}, path);
  const { config, queueCount, queueSizeMax } = disk.fake.device;
  assertEquals([queueCount, queueSizeMax], [3, 128]);
  const { view } = config;
  assertEquals(view.getBigUint64(0, true), 5n * 2n ** 31n, "capacity");
  assertEquals(view.getUint32(8, true), 0, "size_max");
  assertEquals(view.getUint32(12, true), 126, "seg_max");
  assertEquals(view.getUint32(20, true), 4096, "blk_size");
  assertEquals(view.getUint8(24), 0, "physical_block_exp");
  assertEquals(view.getUint8(32), 1, "writeback");
  assertEquals(view.getUint16(34, true), 3, "num_queues");
  assertEquals(view.getUint32(36, true), 1 << 22, "max_discard_sectors");
  assertEquals(view.getUint32(40, true), 256, "max_discard_seg");
  assertEquals(view.getUint32(44, true), 8, "discard_sector_alignment");
  assertEquals(view.getUint32(48, true), 1 << 22, "max_write_zeroes_sectors");
  assertEquals(view.getUint32(52, true), 256, "max_write_zeroes_seg");
  assertEquals(view.getUint8(56), 1, "write_zeroes_may_unmap");
  for (const size of [36, 48, 57, 60, 72, 96]) {
    assertEquals(config.read(0, size)!.length, size);
  }
  assertEquals(config.write(0, new Uint8Array(8)), false, "capacity");
  assertEquals(config.write(32, new Uint8Array(2)), false, "more than a byte");
});

each("without a way to flush every write is durable", async (variant) => {
  const features = 0n;
  await using disk = await openDisk(variant, {}, { features });
  assertEquals(disk.fake.updates, [], "it starts so");
  await disk.driver.write(0, pattern(SECTOR));
  assertEquals(await disk.driver.read(0, SECTOR), pattern(SECTOR));
});

each("the driver switches the write cache", async (variant) => {
  await using disk = await openDisk(variant);
  const { device, updates } = disk.fake;
  assertEquals(updates, [{ writethrough: false }]);
  await disk.driver.write(0, pattern(SECTOR));
  assert(device.config.write(32, new Uint8Array([0])));
  await device.configWritten!(32, 1);
  assertEquals(updates.at(-1), { writethrough: true });
  await disk.driver.write(1, pattern(SECTOR, 1));
  await disk.driver.writeZeroes([{ sector: 2, sectors: 1 }]);
  await disk.driver.discard([{ sector: 2, sectors: 1 }]);
  assertEquals(await disk.driver.read(1, SECTOR), pattern(SECTOR, 1));
  assert(device.config.write(32, new Uint8Array([1])));
  await device.configWritten!(32, 1);
  assertEquals(updates.at(-1), { writethrough: false });
});

Deno.test("switching the cache off puts on the medium what is in it", async () => {
  const given = { "blk-file": makeFile(MIB), "io-engine": "sync" };
  const fake = await FakeDriver.open(block, given);
  const { device } = fake;
  const { file } = device.seed as { file: { fd: number; path: string } };
  // That it is tried shows by its failing.
  libc.close(file.fd);
  assert(device.config.write(32, new Uint8Array([0])));
  const error = await assertRejects(
    () => device.configWritten!(32, 1),
    SystemError,
  );
  assertEquals([error.call, error.code], ["fdatasync", "EBADF"]);
  assertEquals(fake.updates.at(-1), { writethrough: true });
  await assertRejects(() => fake[Symbol.asyncDispose](), SystemError);
  Deno.removeSync(file.path);
});

Deno.test("who may switch the cache but can't flush starts with it off", async () => {
  const features = WCE_FEATURE;
  await using disk = await openDisk(VARIANTS[0]!, {}, { features });
  assertEquals(disk.fake.device.config.read(32, 1), new Uint8Array([0]));
  assertEquals(disk.fake.updates, []);
});

Deno.test("who flushes without a switch has the cache on", async () => {
  const features = FLUSH_FEATURE;
  await using disk = await openDisk(VARIANTS[0]!, {}, { features });
  assertEquals(disk.fake.updates, [{ writethrough: false }]);
});

Deno.test("the mode of the cache outlives a reset and a front-end", async () => {
  await using disk = await openDisk(VARIANTS[0]!);
  const { device, updates } = disk.fake;
  device.config.write(32, new Uint8Array([0]));
  await device.configWritten!(32, 1);
  await device.reset?.();
  await device.negotiated!(device.features);
  assertEquals(updates.at(-1), { writethrough: true });
  assertEquals(device.config.read(32, 1), new Uint8Array([0]));
});

Deno.test("opening says what is wrong and what to do", async () => {
  const dir = Deno.makeTempDirSync();
  const empty = `${dir}/empty`;
  const odd = `${dir}/odd`;
  Deno.writeFileSync(empty, new Uint8Array(0));
  Deno.writeFileSync(odd, new Uint8Array(1000));
  const single = `${dir}/a byte`;
  Deno.writeFileSync(single, new Uint8Array(1));
  const foreign = `${dir}/disk.qcow2`;
  Deno.writeFileSync(foreign, new Uint8Array([0x51, 0x46, 0x49, 0xfb, 0]));
  const cases: [GivenOptions, string][] = [
    [{}, "give --blk-file PATH or --blk-null SIZE"],
    [{ "blk-file": odd, "blk-null": SECTOR }, "leave one of them out"],
    [{ "blk-file": `${dir}/none` }, "truncate -s 1G"],
    [{ "blk-file": dir }, "is a directory"],
    [{ "blk-file": "/dev/null" }, "is a character device"],
    [{ "blk-file": empty }, `truncate -s 1G ${empty}`],
    [
      { "blk-file": odd },
      `${odd} has 1000 bytes, wanted a multiple of the block size 512: ` +
      `make it longer with truncate -s 1024 ${odd}`,
    ],
    [
      { "blk-file": single },
      "has 1 byte, wanted a multiple of the block size 512: " +
      `make it longer with truncate -s 512 '${single}'`,
    ],
    [{ "blk-file": foreign }, `size 512: it looks like a qcow2 image`],
    [{ "blk-file": odd, "read-only": true }, "size 512: name another disk"],
    [{ "blk-file": empty, "read-only": true }, "is empty: name another disk"],
    [{ "blk-file": `${dir}/x`, "read-only": true }, "file, name another"],
    [{ "blk-null": 1025 }, "give --blk-null 1536"],
    [{ "blk-null": 1024, serial: "ä".repeat(11) }, "--serial has 22 bytes"],
  ];
  const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
  for (const [given, message] of cases) {
    const before = descriptors();
    const error = await assertRejects(() => FakeDriver.open(block, given));
    assertEquals(descriptors(), before, "descriptors");
    assert(error instanceof UsageError || error instanceof SystemError);
    assertStringIncludes(error.message, message);
    assertEquals(error.message.includes("\n"), false);
  }
  Deno.removeSync(dir, { recursive: true });
});

Deno.test("--io-engine io_uring without one says what to do", async () => {
  const path = makeFile(MIB);
  const given = { "blk-file": path, "io-engine": "io_uring" };
  const error = await assertRejects(
    () => FakeDriver.open(block, given, { uring: false }),
    UsageError,
  );
  assertStringIncludes(error.message, "--io-engine auto");
  Deno.removeSync(path);
});

each("an open disk leaves nothing behind", async (variant) => {
  const count = () => [...Deno.readDirSync("/proc/self/fd")].length;
  const maps = () =>
    Deno.readTextFileSync("/proc/self/maps").split("\n")
      .filter((line) => line.includes("io_uring") || line.includes("memfd"))
      .length;
  const once = async () => {
    await using disk = await openDisk(variant);
    await disk.driver.write(0, pattern(SECTOR));
  };
  await once();
  const before = [count(), maps()];
  for (let i = 0; i < 5; i++) await once();
  assertEquals([count(), maps()], before);
});
