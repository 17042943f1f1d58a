import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { SystemError, UsageError } from "../errors.ts";
import { withDeadline } from "../../tests/vm/deadline.ts";
import { DriverMemory } from "../testing/driver_memory.ts";
import { SplitDriver } from "../testing/split_driver.ts";
import { packError, unpackError } from "./mailbox.ts";
import type { RingCounters } from "./command.ts";
import { WorkerPlane } from "./worker_plane.ts";

const PATIENCE_MS = 20_000;

Deno.test("an error keeps its kind on its way from a worker", async () => {
  const url = `data:text/javascript,${
    encodeURIComponent(
      `import { UsageError } from "${import.meta.resolve("../errors.ts")}";
      export function open() { throw new UsageError("No such disk"); }`,
    )
  }`;
  const start = { seed: null, ringCount: 1, useUring: false };
  await assertRejects(
    () => WorkerPlane.open(2, url, start),
    UsageError,
    "No such disk",
  );
});

Deno.test("nothing is sent to threads behind their end", async () => {
  const url =
    `data:text/javascript,export const open = () => ({ drain() {} });`;
  const start = { seed: null, ringCount: 1, useUring: false };
  const plane = await WorkerPlane.open(2, url, start);
  let failure: unknown = null;
  plane.failure.catch((error) => failure = error);
  const closing = plane.send({ kind: "close" });
  const late = [plane.inspect(), plane.send({ kind: "close" })];
  for (const each of late) await assertRejects(() => each, Error, "is closed");
  await closing;
  await plane.close();
  assertEquals(failure, null);
});

Deno.test("commands behind the start of the first ring keep their turn", async () => {
  const url =
    `data:text/javascript,export const open = () => ({ drain() {} });`;
  const start = { seed: null, ringCount: 1, useUring: false };
  const plane = await WorkerPlane.open(1, url, start);
  using memory = DriverMemory.shared(1 << 20);
  const ring = new SplitDriver(memory, 16);
  const run = {
    kind: "startVring",
    config: ring.config(0),
    kickFd: -1,
    callFd: -1,
    errFd: -1,
    enabled: true,
  } as const;
  // Nobody waits for the thread to load what opens a ring.
  const answers = [
    plane.send({ kind: "setMemory", layout: memory.layout() }),
    plane.send(run),
    plane.inspect(),
    plane.send({ kind: "stopVring", index: 0 }),
    plane.inspect(),
    plane.send(run),
    plane.send({ kind: "stopVring", index: 0 }),
  ];
  const all = Promise.all(answers);
  const [, , running, , stopped] = await withDeadline(all, PATIENCE_MS);
  assertEquals((running as RingCounters[]).map(({ index }) => index), [0]);
  assertEquals(stopped, []);
  await plane.send({ kind: "close" });
  await plane.close();
});

Deno.test("a SystemError is the same on the other side", () => {
  const sent = new SystemError("mmap", 12, { path: "/x", code: "ENOMEM" });
  const got = unpackError(structuredClone(packError(sent)));
  assertInstanceOf(got, SystemError);
  assertEquals(
    [got.message, got.call, got.errno, got.code, got.path],
    [sent.message, "mmap", 12, "ENOMEM", "/x"],
  );
});
