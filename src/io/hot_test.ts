import { assert, assertEquals, assertGreater } from "@std/assert";
import { hasUring } from "../../tests/support/uring.ts";
import { uncounted } from "../../tests/support/uncounted.ts";

const OPERATIONS = 100_000;
const MARK = "--- round ---";

/** Runs before `loop(count)`, which the operation in question fills in. */
const PREAMBLE = `
const { DiskFile } = await import(BASE + "file.ts");
const { createMemfd } = await import(BASE + "memfd.ts");
const { IovecList } = await import(BASE + "iovec.ts");
const { IoUring } = await import(BASE + "io_uring.ts");
const { EventFd, signalEventFd, clearEventFd } =
  await import(BASE + "event_fd.ts");
const { Epoll } = await import(BASE + "epoll.ts");
const { Mapping } = await import(BASE + "../ffi/mapping.ts");
const bad = new Int32Array(1);
const GIB = 2 ** 30;
using memory = Mapping.anonymous(1 << 20);
using iovecs = new IovecList(8);
using file = DiskFile.fromFd(createMemfd("hot", 9 * GIB), "memfd");
using event = EventFd.open();
const offsets = new Float64Array(1);
const offsetOf = (i) => 5 * GIB + (i & 1023) * 4096;
`;

// Allocations are what the heap grows by where no collection is due: hence the
// large young generation. V8 traces through the buffers of the C library, so
// these are flushed around the marks. V8 compiles on other threads, so the
// first rounds may well allocate: it takes one without.
const MEASUREMENT = `
const c = Deno.dlopen("libc.so.6", {
  fflush: { parameters: ["pointer"], result: "i32" },
});
let clean = 0;
for (let round = 0; round < 20 && clean < 3; round++) {
  await new Promise((resolve) => setTimeout(resolve, 5));
  c.symbols.fflush(null);
  console.log("${MARK}");
  const before = Deno.memoryUsage().heapUsed;
  loop(${OPERATIONS});
  const allocated = Deno.memoryUsage().heapUsed - before;
  c.symbols.fflush(null);
  console.log(JSON.stringify({ allocated, bad: bad[0] }));
  if (allocated < ${OPERATIONS}) clean++;
}
`;

interface Round {
  /** Bytes. */
  allocated: number;
  /** Operations that failed so far. */
  bad: number;
  /** Each deoptimisation, as V8 tells it. */
  deoptimised: string[];
}

function parseRound(text: string): Round {
  const [line] = text.match(/^\{"allocated".*\}$/m)!;
  const trace = text.slice(0, text.indexOf(line));
  const all = trace.match(/bailout.*/g) ?? [];
  // Going from one tier to the next is told in the same words.
  const deoptimised = all.filter((entry) => !entry.includes("(OSR)"));
  return { deoptimised, ...JSON.parse(line) };
}

async function measure(body: string): Promise<Round[]> {
  const path = await Deno.makeTempFile({ suffix: ".js" });
  const base = JSON.stringify(import.meta.resolve("./"));
  try {
    await Deno.writeTextFile(
      path,
      `const BASE = ${base};${PREAMBLE}${body}${MEASUREMENT}`,
    );
    const v8 = "--trace-deopt,--min-semi-space-size=64";
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-check",
        "--allow-ffi",
        "--allow-read",
        `--v8-flags=${v8}`,
        path,
      ],
      ...uncounted(),
    }).output();
    const text = new TextDecoder().decode(stdout);
    const [, ...rounds] = text.split(MARK + "\n");
    assert(rounds.length > 0, new TextDecoder().decode(stderr));
    return rounds.map(parseRound);
  } finally {
    await Deno.remove(path);
  }
}

function hot(name: string, body: string, ignore = false): void {
  Deno.test({
    name: `hot: ${name} neither allocates nor deoptimises`,
    ignore,
    async fn() {
      const rounds = await measure(body);
      assertEquals(rounds.at(-1)!.bad, 0);
      // Less than a byte an operation: none of them allocates.
      const clean = rounds.filter(({ allocated, deoptimised }) =>
        allocated < OPERATIONS && deoptimised.length === 0
      );
      assertGreater(clean.length, 0, JSON.stringify(rounds, null, 1));
    },
  });
}

hot(
  "a synchronous read",
  `
  function loop(count) {
    for (let i = 0; i < count; i++) {
      iovecs.set(1, memory.address, 512);
      offsets[0] = offsetOf(i);
      if (file.readList(iovecs, 1, 1, offsets, 0) !== 512) bad[0]++;
    }
  }`,
);

hot(
  "a synchronous write",
  `
  function loop(count) {
    for (let i = 0; i < count; i++) {
      iovecs.set(2, memory.address, 512);
      offsets[0] = offsetOf(i);
      const done = file.writeList(iovecs, 2, 1, offsets, 0, false);
      if (done !== 512) bad[0]++;
    }
  }`,
);

hot(
  "giving back space",
  `
  function loop(count) {
    for (let i = 0; i < count; i++) {
      if (file.punchHole(offsetOf(i), 4096) !== 0) bad[0]++;
    }
  }`,
);

hot(
  "signalling and waiting",
  `
  using epoll = Epoll.open();
  epoll.add(event.fd.number, Epoll.IN | Epoll.EDGE, 5);
  const fd = event.fd.number;
  function loop(count) {
    for (let i = 0; i < count; i++) {
      if (signalEventFd(fd) !== 0) bad[0]++;
      if (epoll.wait(-1) !== 1 || epoll.dataAt(0) !== 5) bad[0]++;
      if (clearEventFd(fd) !== 1) bad[0]++;
    }
  }`,
);

for (const singleThread of [false, true]) {
  hot(
    `io_uring${singleThread ? ", single-threaded" : ""}`,
    `
    using uring = IoUring.open(64, { singleThread: ${singleThread} });
    const seen = new Int32Array(1);
    const consumer = uring.addConsumer({
      complete(slot, result, flags) {
        seen[0]++;
        if (result !== 0 && result !== 512) bad[0]++;
      },
    });
    const fd = file.fd.number;
    function loop(count) {
      for (let i = 0; i < count; i += 32) {
        for (let k = 0; k < 16; k++) {
          uring.nop(consumer, k);
          uring.read(consumer, k, fd, memory.address, 512, offsetOf(i));
        }
        seen[0] = 0;
        while (seen[0] < 32) {
          uring.submitAndWait(1);
          uring.reap(64);
        }
      }
    }`,
    !hasUring,
  );
}
