import {
  assert,
  assertEquals,
  assertGreater,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { openDescriptors } from "../../tests/support/descriptors.ts";
import { hasUring } from "../../tests/support/uring.ts";
import { SystemError } from "../errors.ts";
import {
  EBADF,
  EBUSY,
  ECANCELED,
  EFAULT,
  EINVAL,
  ENOMEM,
  ENOSYS,
  EPERM,
  ETIME,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  IORING_CQE_F_MORE,
  POLLIN,
  RWF_DSYNC,
} from "../ffi/abi.ts";
import { libc } from "../ffi/libc.ts";
import { borrow, Mapping } from "../ffi/mapping.ts";
import { addressFrom } from "../ffi/pointer.ts";
import { EventFd } from "./event_fd.ts";
import { DiskFile } from "./file.ts";
import { IoUring, type UringConsumer } from "./io_uring.ts";
import { IovecList } from "./iovec.ts";
import { Reactor } from "./reactor.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** Keeps what completes. */
class Recorder implements UringConsumer {
  readonly seen: [slot: number, result: number, flags: number][] = [];

  complete(slot: number, result: number, flags: number): void {
    this.seen.push([slot, result, flags]);
  }

  take(): [slot: number, result: number, flags: number][] {
    return this.seen.splice(0);
  }
}

/** A kernel that answers `name` with the errno that `refuse` gives, unless 0. */
function pretend(
  name: "ioUringEnter" | "ioUringSetup",
  refuse: (...args: unknown[]) => number,
): Disposable {
  const location = new Int32Array(borrow(addressFrom(libc.errnoLocation()), 4));
  const functions = libc as unknown as Record<
    string,
    (...args: unknown[]) => number
  >;
  const real = functions[name]!;
  functions[name] = (...args) => {
    const failure = refuse(...args);
    if (failure === 0) return real(...args);
    location[0] = failure;
    return -1;
  };
  return { [Symbol.dispose]: () => functions[name] = real };
}

/** Submits and reaps until `count` completions were seen. */
function finish(uring: IoUring, count: number): void {
  let seen = 0;
  while (seen < count) {
    const result = uring.submitAndWait(1);
    assert(result >= 0, `submitAndWait gives ${result}`);
    seen += uring.reap(count - seen);
  }
}

function test(name: string, run: (uring: IoUring) => void): void {
  for (const singleThread of [false, true]) {
    Deno.test({
      name: `${name}, ${singleThread ? "single-threaded" : "pollable"}`,
      ignore: !hasUring,
      fn() {
        const before = openDescriptors();
        {
          using uring = IoUring.open(8, { singleThread });
          run(uring);
        }
        assertEquals(openDescriptors(), before);
      },
    });
  }
}

function temporaryDisk(size: number): DiskFile {
  const path = Deno.makeTempFileSync();
  Deno.truncateSync(path, size);
  const file = DiskFile.open(path);
  Deno.removeSync(path);
  return file;
}

test("reads and writes at any offset", (uring) => {
  using file = temporaryDisk(8 * GIB);
  using memory = Mapping.anonymous(MIB);
  const bytes = new Uint8Array(memory.buffer);
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  const fd = file.fd.number;
  for (const offset of [0, 511, 4 * GIB - 100, 7 * GIB + 12345]) {
    bytes.fill(offset % 251 + 1, 0, 4096);
    bytes.fill(0, 4096);
    uring.write(consumer, 1, fd, memory.address, 4096, offset, RWF_DSYNC);
    finish(uring, 1);
    uring.read(consumer, 2, fd, memory.address + 8192, 4096, offset);
    finish(uring, 1);
    assertEquals(recorder.take(), [[1, 4096, 0], [2, 4096, 0]]);
    assertEquals(bytes[8192], offset % 251 + 1);
    assertEquals(bytes[8192 + 4095], offset % 251 + 1);
    assertEquals(bytes[8192 + 4096], 0);
  }
});

test("scattered reads and writes", (uring) => {
  using file = temporaryDisk(8 * GIB);
  using memory = Mapping.anonymous(MIB);
  using iovecs = new IovecList(6);
  const bytes = new Uint8Array(memory.buffer);
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  const fd = file.fd.number;
  bytes.set([1, 2, 3, 4, 5, 6]);
  iovecs.set(1, memory.address, 2);
  iovecs.set(2, memory.address + 2, 4);
  const offset = 5 * GIB;
  uring.writev(consumer, 7, fd, iovecs.addressOf(1), 2, offset, RWF_DSYNC);
  finish(uring, 1);
  iovecs.set(3, memory.address + 100, 5);
  iovecs.set(4, memory.address + 200, 5);
  uring.readv(consumer, 8, fd, iovecs.addressOf(3), 2, offset);
  finish(uring, 1);
  assertEquals(recorder.take(), [[7, 6, 0], [8, 10, 0]]);
  assertEquals([...bytes.subarray(100, 105)], [1, 2, 3, 4, 5]);
  assertEquals([...bytes.subarray(200, 205)], [6, 0, 0, 0, 0]);
});

test("reads and writes from a list, of one element and of several", (uring) => {
  using file = temporaryDisk(8 * GIB);
  using memory = Mapping.anonymous(MIB);
  using iovecs = new IovecList(6);
  const bytes = new Uint8Array(memory.buffer);
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  const fd = file.fd.number;
  const offsets = Float64Array.of(0, 5 * GIB, 5 * GIB + 3);
  bytes.set([1, 2, 3, 4, 5, 6]);
  iovecs.set(1, memory.address, 3);
  iovecs.set(2, memory.address + 3, 1);
  iovecs.set(3, memory.address + 4, 2);
  uring.writeList(consumer, 1, fd, iovecs, 1, 1, offsets, 0);
  uring.writeList(consumer, 2, fd, iovecs, 2, 2, offsets, RWF_DSYNC);
  finish(uring, 2);
  iovecs.set(0, memory.address + 100, 5);
  iovecs.set(1, memory.address + 200, 5);
  uring.readList(consumer, 1, fd, iovecs, 0, 2, offsets);
  finish(uring, 1);
  assertEquals([...bytes.subarray(100, 106)], [1, 2, 3, 4, 5, 0]);
  assertEquals([...bytes.subarray(200, 202)], [6, 0]);
  uring.readList(consumer, 2, fd, iovecs, 1, 1, offsets);
  finish(uring, 1);
  assertEquals([...bytes.subarray(200, 204)], [4, 5, 6, 0]);
  const seen = recorder.take().sort((a, b) => a[1] - b[1]);
  assertEquals(seen.map(([, result]) => result), [3, 3, 5, 10]);
});

test("registered files need no descriptor", (uring) => {
  using memory = Mapping.anonymous(4096);
  const bytes = new Uint8Array(memory.buffer);
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  const one = temporaryDisk(4096);
  const two = temporaryDisk(4096);
  const files = [one, two].map(({ fd }) => uring.registerFile(fd.number));
  assert(files.every((file) => file < -1), "the kernel takes files");
  one[Symbol.dispose]();
  two[Symbol.dispose]();
  for (const value of [0, 1]) {
    bytes.fill(value + 7, 0, 512);
    uring.write(consumer, value, files[value]!, memory.address, 512, 512);
    finish(uring, 1);
  }
  for (const value of [0, 1]) {
    uring.read(consumer, 2, files[value]!, memory.address, 512, 512);
    finish(uring, 1);
    assertEquals(bytes[0], value + 7);
  }
  uring.fsync(consumer, 3, files[0]!, true);
  finish(uring, 1);
  recorder.take();
  uring.unregisterFile(files[0]!);
  uring.read(consumer, 4, files[0]!, memory.address, 512, 0);
  uring.read(consumer, 5, files[1]!, memory.address, 512, 0);
  finish(uring, 2);
  const seen = recorder.take().sort((a, b) => a[0] - b[0]);
  assertEquals(seen, [[4, -EBADF, 0], [5, 512, 0]]);
  using third = temporaryDisk(4096);
  assertEquals(uring.registerFile(third.fd.number), files[0]);
});

test("where files can't be registered, their descriptors do", (uring) => {
  using file = temporaryDisk(4096);
  const { number } = file.fd;
  assertEquals(uring.registerFile(-1), -1);
  const places = new Set<number>();
  for (let i = 0; i < 64; i++) places.add(uring.registerFile(number));
  assertEquals([places.size, places.has(number)], [64, false]);
  assertEquals(uring.registerFile(number), number);
  uring.unregisterFile(number);
});

test("syncs and punches holes", (uring) => {
  using file = temporaryDisk(8 * GIB);
  using memory = Mapping.anonymous(MIB);
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  const fd = file.fd.number;
  new Uint8Array(memory.buffer).fill(1);
  uring.write(consumer, 1, fd, memory.address, MIB, 6 * GIB);
  finish(uring, 1);
  uring.fsync(consumer, 2, fd, true);
  uring.fsync(consumer, 3, fd, false);
  finish(uring, 2);
  const full = file.allocatedBytes();
  assertGreater(full, MIB - 1);
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  uring.fallocate(consumer, 4, fd, mode, 6 * GIB, MIB);
  finish(uring, 1);
  const seen = recorder.take().sort((a, b) => a[0] - b[0]);
  assertEquals(seen, [[1, MIB, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0]]);
  assertEquals(file.allocatedBytes() <= full - MIB, true);
});

test("failures are negative error numbers", (uring) => {
  using file = temporaryDisk(4096);
  const gone = Mapping.anonymous(4096);
  const { address } = gone;
  gone[Symbol.dispose]();
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  uring.write(consumer, 1, file.fd.number, address, 512, 0);
  uring.read(consumer, 2, -1, address, 512, 0);
  finish(uring, 2);
  const seen = recorder.take().sort((a, b) => a[0] - b[0]);
  assertEquals(seen, [[1, -EFAULT, 0], [2, -EBADF, 0]]);
});

test("a multishot poll goes on until it is removed", (uring) => {
  using event = EventFd.open();
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  const slot = 0xffff_ffff;
  uring.pollAdd(consumer, slot, event.fd.number, POLLIN, true);
  assertEquals(uring.submitAndWait(1, 0) >= 0, true);
  assertEquals(uring.reap(10), 0);
  for (let i = 0; i < 5; i++) {
    event.signal();
    finish(uring, 1);
    const [[seen, result, flags]] = recorder.take() as [
      [number, number, number],
    ];
    assertEquals([seen, result & POLLIN], [slot, POLLIN]);
    assertEquals(flags & IORING_CQE_F_MORE, IORING_CQE_F_MORE);
    event.clear();
  }
  assertEquals(uring.inFlight, 1);
  uring.pollRemove(consumer, slot);
  finish(uring, 2);
  assertEquals(recorder.take(), [[slot, -ECANCELED, 0]]);
  assertEquals(uring.inFlight, 0);
  // There is none any more, which nobody is told.
  uring.pollRemove(consumer, slot);
  finish(uring, 1);
  assertEquals(recorder.take(), []);
});

test("a single poll ends by itself, or is cancelled", (uring) => {
  using event = EventFd.open();
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  uring.pollAdd(consumer, 1, event.fd.number, POLLIN, false);
  event.signal();
  finish(uring, 1);
  assertEquals(recorder.take(), [[1, POLLIN, 0]]);
  event.clear();
  uring.pollAdd(consumer, 2, event.fd.number, POLLIN, false);
  uring.submit();
  uring.cancel(consumer, 2);
  finish(uring, 2);
  assertEquals(recorder.take(), [[2, -ECANCELED, 0]]);
});

test("timers end, in their order", (uring) => {
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  uring.timeout(consumer, 1, 3_000_000_000_000);
  uring.timeout(consumer, 2, 3_000_000);
  uring.timeout(consumer, 3, 0);
  finish(uring, 2);
  assertEquals(recorder.take(), [[3, -ETIME, 0], [2, -ETIME, 0]]);
  uring.cancel(consumer, 1);
  finish(uring, 2);
  assertEquals(recorder.take(), [[1, -ECANCELED, 0]]);
});

test("a part is handed over, the oldest first", (uring) => {
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  for (const slot of [1, 2, 3]) uring.nop(consumer, slot);
  assertEquals([uring.submit(2), uring.pending, uring.inFlight], [2, 1, 3]);
  assertEquals([uring.reap(10), uring.inFlight], [2, 1]);
  assertEquals(recorder.take(), [[1, 0, 0], [2, 0, 0]]);
  assertEquals([uring.submit(2), uring.submit(2)], [1, 0]);
  finish(uring, 1);
  assertEquals(recorder.take(), [[3, 0, 0]]);
});

test("a wait ends when its time is up", (uring) => {
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  assertEquals(uring.submitAndWait(1, 0), 0);
  assertEquals(uring.submitAndWait(1, 2), 0);
  uring.nop(consumer, 5);
  assertEquals(uring.pending, 1);
  assertEquals(uring.submitAndWait(2, 2), 1);
  assertEquals(uring.pending, 0);
  assertEquals(uring.reap(10), 1);
  assertEquals(recorder.take(), [[5, 0, 0]]);
});

test("preparing never fails: a full submission queue is handed over", (uring) => {
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  const count = 5 * uring.entries + 3;
  for (let i = 0; i < count; i++) uring.nop(consumer, i);
  assertEquals(uring.inFlight, count);
  finish(uring, count);
  const slots = recorder.take().map(([slot]) => slot);
  assertEquals(slots, Array.from({ length: count }, (_, i) => i));
  assertEquals(uring.inFlight, 0);
});

test("no completion is lost where there are more than the queue holds", (uring) => {
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  const count = 10_000;
  for (let i = 0; i < count; i++) uring.nop(consumer, i);
  finish(uring, count);
  const slots = recorder.take().map(([slot]) => slot).sort((a, b) => a - b);
  assertEquals(slots, Array.from({ length: count }, (_, i) => i));
  assertEquals(uring.reap(1), 0);
});

test("a consumer may prepare as much as it likes while it is called", (uring) => {
  let left = 3000;
  let done = 0;
  const consumer = uring.addConsumer({
    complete() {
      done++;
      for (let i = 0; i < 20 && left > 0; i++, left--) {
        uring.nop(consumer, left);
      }
    },
  });
  uring.nop(consumer, 0);
  while (uring.inFlight > 0) {
    uring.submitAndWait(1);
    uring.reap(100);
  }
  assertEquals(done, 3001);
});

test("a kernel that wants its completions taken first loses none", (uring) => {
  // Linux before 5.19 answers EBUSY while completions wait for room.
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  const count = 20 * uring.entries;
  let refusals = 0;
  let calls = 0;
  {
    using _kernel = pretend("ioUringEnter", (_call, _fd, submitted) => {
      if (submitted === 0 || ++calls % 2 === 0) return 0;
      refusals++;
      return EBUSY;
    });
    for (let i = 0; i < count; i++) uring.nop(consumer, i);
  }
  assertGreater(refusals, 2);
  finish(uring, count);
  const slots = recorder.take().map(([slot]) => slot).sort((a, b) => a - b);
  assertEquals(slots, Array.from({ length: count }, (_, i) => i));
});

test("reap takes no more than its limit, and in order", (uring) => {
  const recorder = new Recorder();
  const consumer = uring.addConsumer(recorder);
  for (let i = 0; i < 6; i++) uring.nop(consumer, i);
  uring.submitAndWait(6);
  assertEquals(uring.reap(4), 4);
  assertEquals(uring.reap(4), 2);
  assertEquals(uring.reap(4), 0);
  assertEquals(recorder.take().map(([slot]) => slot), [0, 1, 2, 3, 4, 5]);
});

test("each consumer gets its own, and none once it left", (uring) => {
  const [one, two, three] = [new Recorder(), new Recorder(), new Recorder()];
  const first = uring.addConsumer(one);
  const second = uring.addConsumer(two);
  uring.nop(first, 1);
  uring.nop(second, 1);
  finish(uring, 2);
  assertEquals([one.take().length, two.take().length], [1, 1]);
  uring.nop(first, 2);
  uring.removeConsumer(first);
  uring.removeConsumer(first);
  const third = uring.addConsumer(three);
  assert(third !== first);
  uring.nop(third, 3);
  finish(uring, 2);
  assertEquals(one.take(), []);
  assertEquals(three.take(), [[3, 0, 0]]);
  for (let i = 0; i < 10_000; i++) {
    uring.removeConsumer(uring.addConsumer(one));
  }
  uring.nop(third, 4);
  finish(uring, 1);
  assertEquals(three.take(), [[4, 0, 0]]);
});

Deno.test({
  name: "a ring that is not single-threaded is polled from elsewhere",
  ignore: !hasUring,
  async fn() {
    await using reactor = new Reactor();
    using uring = IoUring.open(8);
    using event = EventFd.open();
    const recorder = new Recorder();
    const consumer = uring.addConsumer(recorder);
    uring.pollAdd(consumer, 1, event.fd.number, POLLIN, true);
    uring.submit();
    for (let i = 0; i < 20; i++) {
      const wait = reactor.readable(uring.fd.number);
      event.signal();
      await wait;
      assertEquals(uring.reap(10), 1);
      assertEquals(recorder.take().length, 1);
    }
  },
});

Deno.test({
  name: "a ring that can't be opened says what to do, and leaks nothing",
  ignore: !hasUring,
  fn() {
    const before = openDescriptors();
    assertThrows(() => IoUring.open(0), SystemError, "io_uring_setup");
    assertEquals(openDescriptors(), before);
  },
});

Deno.test("a kernel that forbids io_uring is an error that says what to do", () => {
  const before = openDescriptors();
  for (const failure of [EPERM, ENOSYS]) {
    using _kernel = pretend("ioUringSetup", () => failure);
    const error = assertThrows(() => IoUring.open(8), SystemError);
    assertStringIncludes(error.message, "sysctl kernel.io_uring_disabled");
    assertStringIncludes(error.message, "seccomp profile");
    assertStringIncludes(error.message, "--io-engine sync");
  }
  {
    using _kernel = pretend("ioUringSetup", () => ENOMEM);
    assertThrows(() => IoUring.open(8), SystemError, "ulimit -l");
  }
  assertEquals(openDescriptors(), before);
});

Deno.test({
  name: "an older kernel gets fewer flags",
  ignore: !hasUring,
  fn() {
    const asked: number[] = [];
    // Knows what Linux 5.11 knew.
    using _kernel = pretend("ioUringSetup", (_call, _entries, params) => {
      const { buffer } = params as Uint8Array<ArrayBuffer>;
      const flags = new DataView(buffer).getUint32(8, true);
      asked.push(flags);
      return flags > 0x7f ? EINVAL : 0;
    });
    using uring = IoUring.open(8, { singleThread: true });
    assertEquals(asked, [0x3398, 0x398, 0x18]);
    const recorder = new Recorder();
    uring.nop(uring.addConsumer(recorder), 1);
    finish(uring, 1);
    assertEquals(recorder.take(), [[1, 0, 0]]);
  },
});
