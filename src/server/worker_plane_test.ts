import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { SystemError, UsageError } from "../errors.ts";
import { packError, unpackError } from "./mailbox.ts";
import { WorkerPlane } from "./worker_plane.ts";
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

Deno.test("a SystemError is the same on the other side", () => {
  const sent = new SystemError("mmap", 12, { path: "/x", code: "ENOMEM" });
  const got = unpackError(structuredClone(packError(sent)));
  assertInstanceOf(got, SystemError);
  assertEquals(
    [got.message, got.call, got.errno, got.code, got.path],
    [sent.message, "mmap", 12, "ENOMEM", "/x"],
  );
});
