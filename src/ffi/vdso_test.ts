import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { requirement } from "../../tests/support/require.ts";
import { VdsoRandom } from "./vdso.ts";

const isThere = requirement("a kernel that makes random numbers itself", () => {
  using random = VdsoRandom.open();
  return random !== null;
});

/** Opens what a machine with a kernel of 6.11 has. */
function open(): VdsoRandom {
  const random = VdsoRandom.open();
  assert(random !== null);
  return random;
}

/** What the kernel says of the mappings whose flags are `flag` among others. */
function mappingsWith(flag: string): number {
  const text = Deno.readTextFileSync("/proc/self/smaps");
  return [...text.matchAll(/^VmFlags: (.*)$/gm)]
    .filter(([, flags]) => flags!.split(" ").includes(flag)).length;
}

Deno.test({
  name: "as many bytes as wanted are filled, and none beside them",
  ignore: !isThere,
  fn() {
    using random = open();
    const bytes = new Uint8Array(100_000);
    for (const size of [1, 7, 64, 96, 97, 4096, 65_536, 99_999]) {
      bytes.fill(0);
      assertEquals(random.fill(bytes, size), size);
      // Zeros at the end are a chance of 2^-64 where there are 8 bytes.
      if (size > 8) {
        const end = bytes.findLastIndex((byte) => byte !== 0);
        assert(end >= size - 8 && end < size, `${end} of ${size}`);
      }
    }
  },
});

Deno.test({
  name: "no byte is wanted: none is touched",
  ignore: !isThere,
  fn() {
    using random = open();
    const bytes = new Uint8Array(64);
    assertEquals(random.fill(bytes, 0), 0);
    assertEquals(bytes, new Uint8Array(64));
  },
});

Deno.test({
  name: "a state is wiped in a child, and dumped nowhere",
  ignore: !isThere,
  fn() {
    // The kernel reseeds a state that it finds wiped.
    const before = ["wf", "dd"].map(mappingsWith);
    const random = open();
    assertEquals(random.fill(new Uint8Array(8), 8), 8);
    assertEquals(["wf", "dd"].map(mappingsWith), before.map((n) => n + 1));
    random[Symbol.dispose]();
    random[Symbol.dispose]();
    assertEquals(["wf", "dd"].map(mappingsWith), before);
  },
});

Deno.test({
  name: "each has numbers of its own",
  ignore: !isThere,
  fn() {
    using first = open();
    using second = open();
    const [a, b, c] = [first, second, first].map((random) => {
      const bytes = new Uint8Array(64);
      assertEquals(random.fill(bytes, 64), 64);
      return bytes;
    });
    assertNotEquals(a, b);
    assertNotEquals(a, c);
  },
});

/** Runs `fn` where the loader finds `symbols`, or nothing. */
function withLibrary(symbols: unknown, fn: () => void): void {
  const { dlopen } = Deno;
  const stub = () => {
    if (symbols === null) throw new Error("no such library");
    return { symbols };
  };
  Deno.dlopen = stub as unknown as typeof dlopen;
  try {
    fn();
  } finally {
    Deno.dlopen = dlopen;
  }
}

Deno.test("where the kernel has no such page there is none, and no error", () => {
  withLibrary(null, () => assertEquals(VdsoRandom.open(), null));
});

Deno.test("where the kernel does not say what a state takes there is none", () => {
  const ENOSYS = 38;
  const silent = { describe: () => -ENOSYS };
  withLibrary(silent, () => assertEquals(VdsoRandom.open(), null));
  // Nor where it says what we can't have: no size, or more than a page.
  for (const size of [0, 2 ** 20]) {
    const odd = {
      describe(_: null, _size: bigint, _flags: number, params: Uint32Array) {
        params[0] = size;
        return 0;
      },
    };
    withLibrary(odd, () => assertEquals(VdsoRandom.open(), null));
  }
});
