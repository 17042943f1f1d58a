import { assert, assertEquals } from "@std/assert";
import { requirement } from "../../tests/support/require.ts";
import { draw, DRAWN } from "../../tests/support/random_numbers.ts";
import { openDescriptors } from "../../tests/support/descriptors.ts";
import { EFAULT, IOV_MAX } from "../ffi/abi.ts";
import { libc } from "../ffi/libc.ts";
import { Mapping } from "../ffi/mapping.ts";
import { IovecList } from "./iovec.ts";
import { KernelRandom } from "./random.ts";
import { RandomPool } from "./random_pool.ts";

const NUMBERS = import.meta.resolve("../../tests/support/random_numbers.ts");
/** What the pool's file is called in /proc. */
const POOL = "/memfd:ringside-random";
/** Bytes that no two draws have in common, but by a chance of 2^-100. */
const PIECE = 16;

const hasPool = requirement("a kernel that makes random numbers itself", () => {
  using pool = RandomPool.open();
  return pool !== null;
});

/** Whether `bytes` look random: any pattern of that size would be a miracle. */
function isFilled(bytes: Uint8Array): boolean {
  return new Set(bytes).size > 16;
}

/** The descriptors of pools. */
function poolFiles(): string[] {
  return openDescriptors().filter((line) => line.includes(POOL))
    .map((line) => line.split(" ")[0]!);
}

/** Opens one that has no pool, as on an older kernel. */
function openWithout(): KernelRandom {
  const { memfdCreate } = libc;
  const functions = libc as { memfdCreate: unknown };
  functions.memfdCreate = () => -1;
  try {
    return KernelRandom.open();
  } finally {
    functions.memfdCreate = memfdCreate;
  }
}

/** Registers a test for both ways to get numbers. */
function each(name: string, fn: (random: KernelRandom) => void): void {
  Deno.test({
    name: `${name} (pool)`,
    ignore: !hasPool,
    fn() {
      using random = KernelRandom.open();
      assertEquals(poolFiles().length, 1);
      fn(random);
    },
  });
  Deno.test(`${name} (calls)`, () => {
    using random = openWithout();
    assertEquals(poolFiles().length, 0);
    fn(random);
  });
}

each(
  "one element and several are filled, and nothing beside them",
  (random) => {
    using memory = Mapping.anonymous(8192);
    using list = new IovecList(4);
    const bytes = new Uint8Array(memory.buffer);
    list.set(0, memory.address + 64, 64);
    assertEquals(random.fill(list, 0, 1), 64);
    assert(isFilled(bytes.subarray(64, 128)));
    assertEquals(bytes.findIndex((byte) => byte !== 0) >= 64, true);
    assertEquals(bytes.subarray(128).some((byte) => byte !== 0), false);
    list.set(1, memory.address + 256, 100);
    list.set(2, memory.address + 1024, 200);
    assertEquals(random.fill(list, 1, 2), 300);
    assert(isFilled(bytes.subarray(256, 356)));
    assert(isFilled(bytes.subarray(1024, 1224)));
    assertEquals(bytes.subarray(356, 1024).some((byte) => byte !== 0), false);
    assertEquals(bytes.subarray(1224).some((byte) => byte !== 0), false);
    list.set(3, memory.address + 4096, 4000);
    assertEquals(random.fill(list, 3, 1), 4000);
    assert(isFilled(bytes.subarray(4096, 4096 + 4000)));
    assertEquals(bytes.subarray(4096 + 4000).some((byte) => byte !== 0), false);
  },
);

each("more elements than the kernel takes are filled in part", (random) => {
  using memory = Mapping.anonymous(4096);
  using list = new IovecList(IOV_MAX + 10);
  for (let i = 0; i < list.capacity; i++) list.set(i, memory.address + i, 1);
  assertEquals(random.fill(list, 0, list.capacity), IOV_MAX);
});

each("elements without a byte are no error", (random) => {
  using memory = Mapping.anonymous(4096);
  using list = new IovecList(3);
  for (let i = 0; i < 3; i++) list.set(i, memory.address, 0);
  assertEquals([random.fill(list, 0, 1), random.fill(list, 0, 3)], [0, 0]);
  list.set(1, memory.address, 8);
  assertEquals(random.fill(list, 0, 3), 8);
  assertEquals(
    new Uint8Array(memory.buffer, 0, 1024).subarray(8).some(Boolean),
    false,
  );
});

each("memory that isn't there is an error, no signal", (random) => {
  using list = new IovecList(2);
  list.set(0, 4096, 1024);
  list.set(1, 4096, 64);
  assertEquals(random.fill(list, 0, 1), -EFAULT);
  assertEquals(random.fill(list, 1, 1), -EFAULT);
  assertEquals(random.fill(list, 0, 2), -EFAULT);
});

each("memory that ends is filled up to there", (random) => {
  using memory = Mapping.anonymous(4096);
  using list = new IovecList(2);
  // Nothing is mapped at 4096.
  list.set(0, memory.address, 4096);
  list.set(1, 4096, 64);
  assertEquals(random.fill(list, 0, 2), 4096);
  assert(isFilled(new Uint8Array(memory.buffer)));
});

Deno.test({
  name: "of what is much, as much as the pool holds comes at once",
  ignore: !hasPool,
  fn() {
    using random = KernelRandom.open();
    using memory = Mapping.anonymous(200_000);
    using list = new IovecList(4);
    for (let i = 0; i < 4; i++) {
      list.set(i, memory.address + 50_000 * i, 50_000);
    }
    assertEquals(random.fill(list, 0, 4), 64 << 10);
    const bytes = new Uint8Array(memory.buffer);
    assertEquals(bytes.subarray(64 << 10).some((byte) => byte !== 0), false);
  },
});

Deno.test({
  name: "what was handed out stays nowhere, taken or not",
  ignore: !hasPool,
  fn() {
    using random = KernelRandom.open();
    using memory = Mapping.anonymous(64 << 10);
    using list = new IovecList(1);
    const [file] = poolFiles();
    const left = () => Deno.readFileSync(`/proc/self/fd/${file}`);
    for (const address of [memory.address, 4096]) {
      list.set(0, address, 64 << 10);
      random.fill(list, 0, 1);
      assertEquals(left().length, 64 << 10);
      assertEquals(left().some((byte) => byte !== 0), false);
    }
  },
});

Deno.test("nothing stays open", () => {
  const before = openDescriptors();
  KernelRandom.open()[Symbol.dispose]();
  assertEquals(openDescriptors(), before);
});

each("bits, bytes and pairs of them are as often as by chance", (random) => {
  const size = 1 << 20;
  using memory = Mapping.anonymous(size);
  using list = new IovecList(1);
  for (let at = 0; at < size; at += 4096) {
    list.set(0, memory.address + at, 4096);
    assertEquals(random.fill(list, 0, 1), 4096);
  }
  const bytes = new Uint8Array(memory.buffer);
  const counts = new Uint32Array(256);
  const pairs = new Uint32Array(65_536);
  let ones = 0;
  for (let i = 0; i < size; i++) {
    const byte = bytes[i]!;
    counts[byte]!++;
    pairs[byte << 8 | bytes[(i + 1) % size]!]!++;
    for (let bit = byte; bit !== 0; bit >>= 1) ones += bit & 1;
  }
  // Each by how many standard deviations it is off: 8 is a chance of 10^-15.
  const off = (chi: number, freedom: number) =>
    Math.abs(chi - freedom) / Math.sqrt(2 * freedom);
  const chi = (all: Uint32Array, wanted: number) =>
    all.reduce((sum, n) => sum + (n - wanted) ** 2 / wanted, 0);
  assert(Math.abs(ones - 4 * size) / Math.sqrt(2 * size) < 8, `${ones} ones`);
  assert(off(chi(counts, size / 256), 255) < 8, "bytes");
  assert(off(chi(pairs, size / 65_536), 65_535) < 8, "pairs");
});

/** What a worker that starts now draws. */
function drawnByWorker(): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  const worker = new Worker(NUMBERS, { type: "module" });
  worker.onerror = (event) => {
    event.preventDefault();
    reject(new Error(event.message));
  };
  worker.onmessage = ({ data }) => resolve(data);
  return promise.finally(() => worker.terminate());
}

/** What a process that starts now draws. */
async function drawnByProcess(): Promise<Uint8Array> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--allow-ffi", NUMBERS],
  }).output();
  assert(success);
  return stdout;
}

Deno.test("no thread and no process gets what another one got", async () => {
  // Threads and processes that start while numbers are in use.
  const drawn: Uint8Array[] = [draw(DRAWN)];
  for (let round = 0; round < 2; round++) {
    const others = [drawnByWorker, drawnByWorker, drawnByProcess];
    drawn.push(draw(DRAWN));
    drawn.push(...await Promise.all(others.map((other) => other())));
  }
  const seen = new Set<string>();
  for (const bytes of drawn) {
    assertEquals(bytes.length, DRAWN);
    for (let at = 0; at < DRAWN; at += PIECE) {
      seen.add(bytes.subarray(at, at + PIECE).toHex());
    }
  }
  assertEquals(seen.size, drawn.length * DRAWN / PIECE);
});
