import { assertEquals, assertThrows } from "@std/assert";
import { openDescriptors } from "../../tests/support/descriptors.ts";
import { SystemError } from "../errors.ts";
import { EPERM, F_GET_SEALS, F_SEAL_GROW, F_SEAL_SHRINK } from "../ffi/abi.ts";
import { errno } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { fileStatus } from "../ffi/status.ts";
import { createMemfd, HUGE_PAGE_SIZE, sealAgainstShrinking } from "./memfd.ts";

Deno.test("a memfd has its size and is sparse", () => {
  using fd = createMemfd("test", 5 * 2 ** 30);
  const status = fileStatus(fd.number);
  assertEquals(status.size, 5 * 2 ** 30);
  assertEquals(status.allocatedBytes, 0);
});

Deno.test("seals hold", () => {
  const seals = F_SEAL_SHRINK | F_SEAL_GROW;
  using fd = createMemfd("test", 8192, { seals });
  assertEquals(libc.fcntl(fd.number, F_GET_SEALS, 0), seals);
  assertEquals(libc.ftruncate(fd.number, 4096n), -1);
  assertEquals(errno(), EPERM);
});

Deno.test("a size that can't be is an error that leaks nothing", () => {
  const before = openDescriptors();
  assertThrows(() => createMemfd("test", -1), SystemError, "ftruncate");
  assertThrows(() => createMemfd("x".repeat(300), 1), SystemError, "EINVAL");
  assertEquals(openDescriptors(), before);
});

Deno.test("what can be sealed against shrinking is sealed", () => {
  using sealable = createMemfd("test", 8192, { seals: 0 });
  sealAgainstShrinking(sealable);
  assertEquals(libc.fcntl(sealable.number, F_GET_SEALS, 0), F_SEAL_SHRINK);
  assertEquals(libc.ftruncate(sealable.number, 4096n), -1);
  using other = createMemfd("test", 8192);
  sealAgainstShrinking(other);
  assertEquals(libc.ftruncate(other.number, 4096n), 0);
});

Deno.test("huge pages are there at once, or there is an error that says how", () => {
  const before = openDescriptors();
  const meminfo = Deno.readTextFileSync("/proc/meminfo");
  const free = Number(/HugePages_Free: +(\d+)/.exec(meminfo)?.[1] ?? 0);
  if (free >= 2) {
    using fd = createMemfd("test", 2 * HUGE_PAGE_SIZE, { hugePages: true });
    const { allocatedBytes, blockSize } = fileStatus(fd.number);
    assertEquals([allocatedBytes, blockSize], [4 << 20, HUGE_PAGE_SIZE]);
  }
  // More than any machine has.
  const size = 2 ** 46;
  assertThrows(
    () => createMemfd("test", size, { hugePages: true }),
    SystemError,
    "raise /proc/sys/vm/nr_hugepages",
  );
  assertEquals(openDescriptors(), before);
});
