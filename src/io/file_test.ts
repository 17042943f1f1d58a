import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertThrows,
} from "@std/assert";
import { openDescriptors } from "../../tests/support/descriptors.ts";
import { loopDevice } from "../../tests/support/loop_device.ts";
import { SystemError, UsageError } from "../errors.ts";
import {
  EBADF,
  EFAULT,
  EINVAL,
  EOPNOTSUPP,
  O_CLOEXEC,
  O_RDONLY,
} from "../ffi/abi.ts";
import { libc } from "../ffi/libc.ts";
import { Mapping } from "../ffi/mapping.ts";
import { cString } from "../ffi/pointer.ts";
import { Fd } from "./fd.ts";
import { DiskFile } from "./file.ts";
import { IovecList } from "./iovec.ts";
import { createMemfd } from "./memfd.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** A disk image of `size` bytes, memory, and iovecs, for one test. */
class Fixture implements Disposable {
  readonly folder: string = Deno.makeTempDirSync();
  readonly path: string = `${this.folder}/disk`;
  readonly memory: Mapping = Mapping.anonymous(MIB);
  readonly bytes: Uint8Array = new Uint8Array(this.memory.buffer);
  readonly iovecs: IovecList = new IovecList(2000);

  constructor(size: number) {
    Deno.createSync(this.path).close();
    Deno.truncateSync(this.path, size);
  }

  [Symbol.dispose](): void {
    this.iovecs[Symbol.dispose]();
    this.memory[Symbol.dispose]();
    Deno.removeSync(this.folder, { recursive: true });
  }
}

Deno.test("what is written is read, scattered, at any offset", () => {
  using fixture = new Fixture(8 * GIB);
  const { bytes, iovecs, memory } = fixture;
  using file = DiskFile.open(fixture.path);
  assertEquals(file.size, 8 * GIB);
  assertEquals([file.alignment, file.memoryAlignment], [1, 1]);
  for (const offset of [0, 511, 4 * GIB - 3, 5 * GIB, 8 * GIB - 9]) {
    bytes.fill(0);
    bytes.set([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    iovecs.set(1, memory.address, 4);
    iovecs.set(2, memory.address + 4, 5);
    assertEquals(file.writev(iovecs, 1, 2, offset, offset === 511), 9);
    iovecs.set(0, memory.address + 1000, 2);
    iovecs.set(1, memory.address + 2000, 7);
    assertEquals(file.readv(iovecs, 0, 2, offset), 9);
    assertEquals([...bytes.subarray(1000, 1002)], [1, 2]);
    assertEquals([...bytes.subarray(2000, 2007)], [3, 4, 5, 6, 7, 8, 9]);
  }
  assertEquals(file.dataSync(), 0);
});

Deno.test("a read ends with the file, more iovecs than fit are a short transfer", () => {
  using fixture = new Fixture(5000);
  const { iovecs, memory } = fixture;
  using file = DiskFile.open(fixture.path);
  iovecs.set(0, memory.address, 4096);
  assertEquals(file.readv(iovecs, 0, 1, 4096), 904);
  assertEquals(file.readv(iovecs, 0, 1, 5000), 0);
  for (let i = 0; i < 2000; i++) iovecs.set(i, memory.address + i, 1);
  assertEquals(file.readv(iovecs, 0, 2000, 0), 1024);
});

Deno.test("failures are negative error numbers", () => {
  using fixture = new Fixture(5000);
  const { iovecs } = fixture;
  using file = DiskFile.open(fixture.path);
  const gone = Mapping.anonymous(4096);
  iovecs.set(0, gone.address, 4096);
  gone[Symbol.dispose]();
  assertEquals(file.writev(iovecs, 0, 1, 0, false), -EFAULT);
  assertEquals(file.punchHole(0, 0), -EINVAL);
  file[Symbol.dispose]();
  assertEquals(file.dataSync(), -EBADF);
});

Deno.test("holes give space back, zeroing need not", () => {
  using fixture = new Fixture(16 * MIB);
  const { bytes, iovecs, memory } = fixture;
  using file = DiskFile.open(fixture.path);
  bytes.fill(7);
  iovecs.set(0, memory.address, MIB);
  for (let i = 0; i < 4; i++) {
    assertEquals(file.writev(iovecs, 0, 1, i * MIB, false), MIB);
  }
  assertEquals(file.dataSync(), 0);
  const full = file.allocatedBytes();
  assertEquals(file.punchHole(0, MIB), 0);
  assertLess(file.allocatedBytes(), full);
  const less = file.allocatedBytes();
  assertEquals(file.zeroRange(MIB, MIB, true), 0);
  assertLess(file.allocatedBytes(), less);
  const least = file.allocatedBytes();
  const kept = file.zeroRange(2 * MIB, MIB, false);
  // Not every file system can; then the caller writes zeros.
  assert(kept === 0 || kept === -EOPNOTSUPP);
  assertGreater(file.allocatedBytes() + 1, least);
  for (let i = 0; i < (kept === 0 ? 3 : 2); i++) {
    bytes.fill(1);
    assertEquals(file.readv(iovecs, 0, 1, i * MIB), MIB);
    assertEquals(bytes.every((byte) => byte === 0), true);
  }
  assertEquals(file.readv(iovecs, 0, 1, 3 * MIB), MIB);
  assertEquals(bytes.every((byte) => byte === 7), true);
  assertEquals(file.refreshSize(), 16 * MIB);
});

Deno.test("zeroing without unmapping is refused by tmpfs", () => {
  using memory = createMemfd("test", MIB);
  using file = DiskFile.fromFd(memory.duplicate(), "memfd");
  assertEquals(file.zeroRange(0, 4096, false), -EOPNOTSUPP);
  assertEquals(file.zeroRange(0, 4096, true), 0);
});

Deno.test("a size that changes is seen when asked for", () => {
  using fixture = new Fixture(4096);
  using file = DiskFile.open(fixture.path);
  Deno.truncateSync(fixture.path, 8192);
  assertEquals(file.size, 4096);
  assertEquals(file.refreshSize(), 8192);
  assertEquals(file.size, 8192);
});

Deno.test("direct transfers tell their alignment and want it", () => {
  using fixture = new Fixture(MIB);
  const { bytes, iovecs, memory } = fixture;
  using file = DiskFile.open(fixture.path, { direct: true });
  const { alignment, memoryAlignment } = file;
  assert(alignment >= 512 && (alignment & (alignment - 1)) === 0);
  assert(memoryAlignment >= 1);
  bytes.fill(3, 0, alignment);
  iovecs.set(0, memory.address, alignment);
  assertEquals(file.writev(iovecs, 0, 1, alignment, true), alignment);
  iovecs.set(1, memory.address + 65536, alignment);
  assertEquals(file.readv(iovecs, 1, 1, alignment), alignment);
  assertEquals(bytes[65536 + alignment - 1], 3);
  assertEquals(file.readv(iovecs, 1, 1, alignment + 1), -EINVAL);
});

Deno.test("a file that is read-only is served with --read-only", () => {
  using fixture = new Fixture(4096);
  const { iovecs, memory } = fixture;
  iovecs.set(0, memory.address, 512);
  using file = DiskFile.open(fixture.path, { readOnly: true });
  assertEquals(file.readOnly, true);
  assertEquals(file.readv(iovecs, 0, 1, 0), 512);
  assertEquals(file.writev(iovecs, 0, 1, 0, false), -EBADF);
  using number = new Fd(
    libc.open(cString(fixture.path), O_RDONLY | O_CLOEXEC, 0),
  );
  assertThrows(
    () => DiskFile.fromFd(number, fixture.path),
    UsageError,
    "add --read-only",
  );
  // Nobody may write to a program that runs, not even root.
  assertThrows(
    () => DiskFile.open("/proc/self/exe"),
    SystemError,
    "ETXTBSY on /proc/self/exe: add --read-only",
  );
});

Deno.test("what no disk is made of is refused, and leaks nothing", () => {
  using fixture = new Fixture(4096);
  const { folder } = fixture;
  const fifo = `${folder}/fifo`;
  new Deno.Command("mkfifo", { args: [fifo] }).outputSync();
  const listener = Deno.listen({
    transport: "unix",
    path: `${folder}/socket`,
  });
  const before = openDescriptors();
  const cases: [string, string][] = [
    [folder, "is a directory, wanted a regular file or a block device"],
    [fifo, "is a FIFO, wanted"],
    ["/dev/null", "is a character device, wanted"],
    [`${folder}/socket`, "is a socket"],
  ];
  for (const [path, message] of cases) {
    for (const readOnly of [false, true]) {
      const open = () => DiskFile.open(path, { readOnly });
      assertThrows(open, UsageError, message);
    }
  }
  assertThrows(
    () => DiskFile.open(`${folder}/none`),
    SystemError,
    `open failed with ENOENT on ${folder}/none: make it first`,
  );
  assertThrows(
    () => DiskFile.open(`${fixture.path}/none`),
    SystemError,
    "ENOTDIR",
  );
  assertEquals(openDescriptors(), before);
  listener.close();
});

Deno.test("a block device is read, written, discarded and zeroed", () => {
  using fixture = new Fixture(16 * MIB);
  const { bytes, iovecs, memory } = fixture;
  using device = loopDevice(fixture.path);
  if (device === null) {
    console.error("SKIPPED: loop devices need root and a kernel that has them");
    return;
  }
  using file = DiskFile.open(device.path);
  assertEquals(file.isBlockDevice, true);
  assertEquals(file.size, 16 * MIB);
  assertEquals(file.refreshSize(), 16 * MIB);
  assertEquals(file.logicalBlockSize, 512);
  assert(file.physicalBlockSize >= 512);
  const holds = (offset: number, value: number) => {
    bytes.fill(99);
    assertEquals(file.readv(iovecs, 0, 1, offset), MIB);
    assertEquals(bytes.every((byte) => byte === value), true);
  };
  iovecs.set(0, memory.address, MIB);
  bytes.fill(7);
  for (let i = 0; i < 4; i++) {
    assertEquals(file.writev(iovecs, 0, 1, i * MIB, true), MIB);
  }
  assertEquals(file.zeroRange(0, MIB, false), 0);
  holds(0, 0);
  assertEquals(file.zeroRange(MIB, MIB, true), 0);
  holds(MIB, 0);
  assertEquals(file.punchHole(2 * MIB, MIB), 0);
  holds(3 * MIB, 7);
  assertEquals(file.dataSync(), 0);
  using direct = DiskFile.open(device.path, { direct: true });
  assertEquals(direct.alignment, 512);
});
