/**
 * The vhost-user protocol: its numbers and payloads, a session that serves a
 * {@linkcode Backend} to a front-end, and a {@linkcode Frontend}.
 *
 * @module
 */
export type { Backend, VringStart } from "./backend.ts";
export type { MemoryLayout, RegionLayout } from "../memory/guest_memory.ts";
export { Fd } from "../io/fd.ts";
export { Reactor } from "../io/reactor.ts";
export { type Received, UnixSocket } from "../io/unix_socket.ts";
export type { Message } from "./channel.ts";
export * from "./frontend.ts";
export * from "./message.ts";
export * from "./protocol.ts";
export { Session, type SessionEnd } from "./session.ts";
