import { assertEquals, assertRejects } from "@std/assert";
import { UsageError } from "../../src/errors.ts";
import { DiskFile } from "../../src/io/file.ts";
import { setLogLevel } from "../../src/log.ts";
import { ImageClaim } from "./claim.ts";

setLogLevel("error");

const NEVER = new AbortController().signal;

/** Two disks on the same image. */
async function withTwo(
  body: (one: DiskFile, other: DiskFile) => Promise<void>,
): Promise<void> {
  const path = Deno.makeTempFileSync({ prefix: "ringside-claim-" });
  try {
    Deno.truncateSync(path, 4096);
    using one = DiskFile.open(path);
    using other = DiskFile.open(path);
    await body(one, other);
  } finally {
    Deno.removeSync(path);
  }
}

Deno.test("an image is had by the second once the first gives it back", () =>
  withTwo(async (one, other) => {
    const first = new ImageClaim(one);
    await first.take(NEVER);
    await first.take(NEVER);
    const second = new ImageClaim(other);
    let taken = false;
    const taking = second.take(NEVER).then(() => taken = true);
    await Promise.resolve();
    assertEquals(taken, false);
    first.release();
    await taking;
    await assertRejects(() => new ImageClaim(one, 0).take(NEVER), UsageError);
  }));

Deno.test("who has an image for too long is told of", () =>
  withTwo(async (one, other) => {
    await new ImageClaim(one).take(NEVER);
    await assertRejects(
      () => new ImageClaim(other, 0).take(NEVER),
      UsageError,
      "is in use by another process",
    );
  }));

Deno.test("nobody waits who is not wanted any more", () =>
  withTwo(async (one, other) => {
    await new ImageClaim(one).take(NEVER);
    const ending = new AbortController();
    const taking = new ImageClaim(other).take(ending.signal);
    ending.abort(new Error("It is over"));
    await assertRejects(() => taking, Error, "It is over");
  }));

Deno.test("what a file system can't lock is had at once", () =>
  withTwo(async (one) => {
    const closed = DiskFile.open(one.path);
    closed[Symbol.dispose]();
    await new ImageClaim(closed).take(NEVER);
  }));
