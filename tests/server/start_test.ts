/**
 * A server between the moment it listens and the moment its threads take part.
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { ConfigSpace, type Device, UsageError } from "../../src/device/mod.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import { setLogLevel } from "../../src/log.ts";
import { Server } from "../../src/server/server.ts";
import { BlockConnection } from "../../src/testing/block_connection.ts";
import { Running, Scratch } from "../cli/program.ts";
import { eventually } from "../vm/deadline.ts";

setLogLevel("error");

const START_MS = 20_000;

/** Resolves as soon as somebody may connect. */
async function socketAt(path: string): Promise<void> {
  await eventually(
    () => {
      using socket = UnixSocket.tryConnect(path);
      return socket !== null;
    },
    START_MS,
    () => `Nobody listens at ${path}`,
  );
}

function start(socketPath: string, image: string): Running {
  const args = ["block", "--socket-path", socketPath, "--blk-file", image];
  return new Running(["--allow-ffi", "--allow-read"], args);
}

/** A device whose data side can't be opened, and whether it was closed. */
function unopenable(): { device: Device; closed: () => boolean } {
  const errors = import.meta.resolve("../../src/errors.ts");
  const source = `import { UsageError } from ${JSON.stringify(errors)};
    export function open() { throw new UsageError("No such disk"); }`;
  let closed = false;
  const device: Device = {
    features: 0n,
    queueCount: 1,
    queueSizeMax: 1024,
    config: new ConfigSpace(0),
    data: {
      open: () => {
        throw new UsageError("No such disk");
      },
      url: `data:text/javascript,${encodeURIComponent(source)}`,
    },
    seed: null,
    close: () => {
      closed = true;
      return Promise.resolve();
    },
  };
  return { device, closed: () => closed };
}

Deno.test("who connects before the threads take part is served", async () => {
  await using scratch = new Scratch();
  const image = await scratch.image(1 << 20);
  const socketPath = scratch.file("disk.sock");
  await using running = start(socketPath, image);
  await socketAt(socketPath);
  {
    using disk = await BlockConnection.open(socketPath);
    assertEquals(await disk.driver.read(0, 512), new Uint8Array(512));
  }
  assertEquals((await running.end("SIGTERM")).code, 0);
});

Deno.test("SIGTERM before the threads take part is a clean end", async () => {
  await using scratch = new Scratch();
  const image = await scratch.image(1 << 20);
  const socketPath = scratch.file("disk.sock");
  await using running = start(socketPath, image);
  await socketAt(socketPath);
  assertEquals((await running.end("SIGTERM")).code, 0);
  await assertRejects(() => Deno.lstat(socketPath), Deno.errors.NotFound);
});

for (const dataPlane of ["inline", "worker"] as const) {
  Deno.test(`a data side that can't be opened leaves no server (${dataPlane})`, async () => {
    await using scratch = new Scratch();
    const socketPath = scratch.file("a.sock");
    const { device, closed } = unopenable();
    await assertRejects(
      () => Server.open("none", device, { socketPath, dataPlane }),
      UsageError,
      "No such disk",
    );
    assertEquals(closed(), true);
    await assertRejects(() => Deno.lstat(socketPath), Deno.errors.NotFound);
  });
}

Deno.test("a server that listens already ends where its threads can't be had", async () => {
  await using scratch = new Scratch();
  const socketPath = scratch.file("a.sock");
  const { device, closed } = unopenable();
  const server = await Server.listen("none", device, {
    socketPath,
    dataPlane: "worker",
  });
  using _waiting = UnixSocket.connect(socketPath);
  await assertRejects(() => server.ready, UsageError, "No such disk");
  await assertRejects(() => server.run(), UsageError, "No such disk");
  assertEquals(closed(), true);
  await assertRejects(() => Deno.lstat(socketPath), Deno.errors.NotFound);
});
