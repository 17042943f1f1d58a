/**
 * The status that a connection sets once its rings are started.
 */
import { assertEquals } from "@std/assert";
import { rng } from "../../devices/rng/mod.ts";
import { completeOptions } from "../../src/device/mod.ts";
import { Server } from "../../src/server/server.ts";
import { Connection, RngDriver } from "../../src/testing/mod.ts";
import {
  WANTED_PROTOCOL_FEATURES,
} from "../../src/vhost_user/frontend_setup.ts";
import {
  protocolBit,
  VHOST_USER_PROTOCOL_F,
} from "../../src/vhost_user/protocol.ts";

/** ACKNOWLEDGE, DRIVER, FEATURES_OK and DRIVER_OK, virtio 1.3 §2.1. */
const DRIVER_OK = 1 | 2 | 8 | 4;

/** Serves an entropy device for as long as `work` takes. */
async function served(work: (path: string) => Promise<void>): Promise<void> {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-status-" });
  const socketPath = `${directory}/rng.sock`;
  const device = await rng.open(completeOptions(rng.options, {}));
  const options = { socketPath, dataPlane: "inline" } as const;
  const server = await Server.open("rng", device, options);
  const running = server.run();
  try {
    await work(socketPath);
  } finally {
    await server.stop();
    await running;
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("a connection says that its driver is ready, each time", async () => {
  await served(async (path) => {
    using connection = await Connection.open(path);
    assertEquals(await connection.frontend.getStatus(), DRIVER_OK);
    await connection.reconnect();
    assertEquals(await connection.frontend.getStatus(), DRIVER_OK);
  });
});

Deno.test("a connection without STATUS sets none, and is served", async () => {
  await served(async (path) => {
    const status = protocolBit(VHOST_USER_PROTOCOL_F.STATUS);
    // SET_STATUS would be refused, and the connection rejected.
    using connection = await Connection.open(path, {
      protocolFeatures: WANTED_PROTOCOL_FEATURES & ~status,
    });
    const [port] = connection.rings;
    const driver = new RngDriver(connection.memory, port!.ring, port!);
    assertEquals((await driver.bytes(16)).length, 16);
  });
});
