/**
 * ringside: the device side of virtio, a vhost-user back-end on Deno.
 *
 * This is what an embedder needs: the server, the devices, and the contract for
 * a device of one's own (also under `./device`).
 *
 * ```ts ignore
 * import { completeOptions, devices, Server } from "@ringside/ringside";
 *
 * const { block } = devices;
 * const disk = await block.open(
 *   completeOptions(block.options, { "blk-file": "disk.img" }),
 * );
 * const server = await Server.open("disk", disk, { socketPath: "disk.sock" });
 * await server.run();
 * ```
 *
 * @module
 */
export { devices } from "./devices/mod.ts";
export * from "./src/device/mod.ts";
export * from "./src/errors.ts";
export type { FrontEndOptions } from "./src/server/front_ends.ts";
export {
  type CarrierOptions,
  type DataPlaneKind,
  type ServeOptions,
  Server,
  type ServerStatus,
} from "./src/server/server.ts";
export type { RingCounters } from "./src/server/command.ts";
export type { SessionRing } from "./src/vhost_user/session.ts";
