import { assertEquals } from "@std/assert";
import type { DiskFile } from "../../src/io/file.ts";
import type { IoUring } from "../../src/io/io_uring.ts";
import type { IovecList } from "../../src/io/iovec.ts";
import { type Engine, PENDING } from "./engine.ts";
import { SyncEngine } from "./engine_sync.ts";
import { UringEngine } from "./engine_uring.ts";
import type { Requests } from "./request.ts";

// What reaches the kernel can't be seen by reading the disk: whether a write
// is durable shows only when the power fails.

const LIST = {} as IovecList;
const OFFSETS = Float64Array.of(0, 0, 4096);
const REQUESTS = { offset: OFFSETS } as Requests;

/** An object whose every method writes its call down, and answers `answer`. */
function recorder<T>(calls: unknown[][], answer: unknown): T {
  const get = (_: unknown, name: string) => (...args: unknown[]) => {
    calls.push([name, ...args]);
    return name === "addConsumer" ? 7 : answer;
  };
  return new Proxy({}, { get }) as T;
}

function exercise(engine: Engine): number[] {
  return [
    engine.read(REQUESTS, 2, LIST, 3, 4),
    engine.write(REQUESTS, 2, LIST, 3, 4, false),
    engine.write(REQUESTS, 2, LIST, 3, 4, true),
    engine.flush(2),
    engine.discard(2, 8192, 512),
    engine.zero(2, 8192, 512, false),
    engine.zero(2, 8192, 512, true),
  ];
}

Deno.test("the sync engine calls the file, and answers at once", () => {
  const calls: unknown[][] = [];
  const results = exercise(new SyncEngine(recorder<DiskFile>(calls, 11)));
  assertEquals(results, new Array(7).fill(11));
  assertEquals(calls, [
    ["readList", LIST, 3, 4, REQUESTS.offset, 2],
    ["writeList", LIST, 3, 4, REQUESTS.offset, 2, false],
    ["writeList", LIST, 3, 4, REQUESTS.offset, 2, true],
    ["dataSync"],
    ["punchHole", 8192, 512],
    ["zeroRange", 8192, 512, false],
    ["zeroRange", 8192, 512, true],
  ]);
});

Deno.test("the io_uring engine prepares requests, and answers later", () => {
  const calls: unknown[][] = [];
  const ring = { complete: () => {} };
  const uring = recorder<IoUring>(calls, undefined);
  const results = exercise(new UringEngine(uring, 9, [5, 6], ring));
  assertEquals(results, new Array(7).fill(PENDING));
  const RWF_DSYNC = 2;
  const [KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE] = [1, 2, 16];
  // The second one is who gathers flushes, in calls with numbers of their own.
  assertEquals(calls.splice(0, 2).map(([name]) => name), [
    "addConsumer",
    "addConsumer",
  ]);
  assertEquals(calls, [
    ["readList", 7, 2, 9, LIST, 3, 4, OFFSETS],
    ["writeList", 7, 2, 9, LIST, 3, 4, OFFSETS, 0],
    ["writeList", 7, 2, 9, LIST, 3, 4, OFFSETS, RWF_DSYNC],
    ["fsync", 7, 1, 6, true],
    ["fallocate", 7, 2, 9, PUNCH_HOLE | KEEP_SIZE, 8192, 512],
    ["fallocate", 7, 2, 9, ZERO_RANGE | KEEP_SIZE, 8192, 512],
    ["fallocate", 7, 2, 9, PUNCH_HOLE | KEEP_SIZE, 8192, 512],
  ]);
});
