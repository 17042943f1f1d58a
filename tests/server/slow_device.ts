/**
 * A device whose every request takes a while, in which its thread can do
 * nothing else: for tests of what has to come through all the same. Run as
 * `slow_device.ts SOCKET-PATH PLANE` it is served.
 *
 * @module
 */
import { ConfigSpace } from "../../src/device/config_space.ts";
import type { DataDevice, Device } from "../../src/device/device.ts";
import { type DataPlaneKind, Server } from "../../src/server/server.ts";

/** How long a request takes. */
const REQUEST_MS = 15;

/** The most requests that fit its ring. */
export const SLOW_QUEUE_SIZE = 256;

/** The data side. */
export function open(): DataDevice {
  return {
    drain(queue): void {
      if (!queue.pop()) return;
      const until = performance.now() + REQUEST_MS;
      while (performance.now() < until);
      queue.push(queue.chain.head, 0);
    },
  };
}

if (import.meta.main) {
  const [socketPath, dataPlane] = Deno.args;
  const device: Device = {
    features: 0n,
    queueCount: 1,
    queueSizeMax: SLOW_QUEUE_SIZE,
    // As large as the fields that a block device's driver asks for.
    config: new ConfigSpace(8, []),
    data: { open, url: import.meta.url },
    seed: null,
    usesUring: false,
    close: () => Promise.resolve(),
  };
  const server = await Server.open("slow", device, {
    socketPath: socketPath!,
    dataPlane: dataPlane as DataPlaneKind,
  });
  Deno.addSignalListener("SIGTERM", () => server.stop());
  await server.run();
  Deno.exit(0);
}
