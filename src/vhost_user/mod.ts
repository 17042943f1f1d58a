/**
 * The vhost-user protocol: its numbers and payloads, a session that serves a
 * {@linkcode Backend} to a front-end, and a {@linkcode Frontend}.
 *
 * @module
 */
export type { Backend, VringStart } from "./backend.ts";
export type { MemoryLayout, RegionLayout } from "../memory/guest_memory.ts";
export { ProtocolError, SystemError } from "../errors.ts";
export { Fd } from "../io/fd.ts";
export { CancelledError, Reactor } from "../io/reactor.ts";
export { type Received, UnixSocket } from "../io/unix_socket.ts";
export type { Message } from "./channel.ts";
export * from "./frontend.ts";
export type { CryptoRequests } from "./frontend_crypto.ts";
export type {
  BackendHandlers,
  Done,
  HostNotifier,
} from "./frontend_handlers.ts";
export { InflightBuffer, type InflightRequests } from "./frontend_inflight.ts";
export { FrontendListener } from "./frontend_listener.ts";
export {
  IOTLB_ACCESS,
  IOTLB_TYPE,
  type IotlbMapping,
  type IotlbRequests,
} from "./frontend_iotlb.ts";
export type {
  DeviceStateDirection,
  DirtyLogArea,
  MigrationRequests,
} from "./frontend_migration.ts";
export type { NetworkRequests } from "./frontend_network.ts";
export type { PostcopyRequests } from "./frontend_postcopy.ts";
export type { SharingRequests } from "./frontend_sharing.ts";
export * from "./message.ts";
export * from "./protocol.ts";
export { Session, type SessionEnd } from "./session.ts";
export type { IotlbBackend, IotlbEntry, IotlbQuestion } from "./backend.ts";
export type { SessionRing } from "./session.ts";
export type { InflightArea } from "../virtqueue/inflight.ts";
export type { LogArea } from "../memory/dirty_log.ts";
