import { assertRejects, assertStringIncludes } from "@std/assert";
import { ConfigSpace } from "../../src/device/config_space.ts";
import type { Device } from "../../src/device/device.ts";
import { Server } from "../../src/server/server.ts";
import { BlockConnection } from "../../src/testing/block_connection.ts";
import { withDeadline } from "../vm/deadline.ts";
import { open } from "./throwing_device.ts";

const device: Device = {
  features: 0n,
  queueCount: 1,
  queueSizeMax: 128,
  config: new ConfigSpace(8, []),
  data: { open, url: import.meta.resolve("./throwing_device.ts") },
  seed: null,
  close: () => Promise.resolve(),
};

for (const dataPlane of ["inline", "worker"] as const) {
  Deno.test(`a defect of a device's data side ends the server, it does not wedge it (${dataPlane})`, async () => {
    const directory = await Deno.makeTempDir();
    try {
      const socketPath = `${directory}/broken.sock`;
      const server = await Server.open("broken", device, {
        socketPath,
        dataPlane,
      });
      const ended = assertRejects(() => server.run(), Error);
      using disk = await BlockConnection.open(socketPath);
      disk.driver.flush().catch(() => {});
      const error = await withDeadline(ended, 10_000);
      assertStringIncludes(error.message, "broken on purpose");
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}
