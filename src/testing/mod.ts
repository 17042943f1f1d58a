/**
 * What it takes to test a device: guest memory, the driver side of a ring, and
 * random numbers that can be had again.
 *
 * @module
 */
export { EventFd } from "../io/event_fd.ts";
export { Fd } from "../io/fd.ts";
export {
  DriverMemory,
  type DriverRegion,
  type DriverRegionSpec,
} from "./driver_memory.ts";
export { Prng } from "./prng.ts";
export { openRing, type RingOptions } from "./open_ring.ts";
export {
  type AddOptions,
  type DriverSegment,
  type RawDescriptor,
  type RingDriver,
  type UsedChain,
} from "./ring_driver.ts";
export {
  asSplit,
  SplitDriver,
  type SplitDriverOptions,
} from "./split_driver.ts";
export {
  BlockConnection,
  type BlockConnectionOptions,
  type ConnectedRing,
} from "./block_connection.ts";
export {
  BLOCK_REQUEST,
  BLOCK_STATUS,
  type BlockAnswer,
  BlockDriver,
  type BlockDriverOptions,
  BlockError,
  blockHeader,
  type BlockRange,
  rangeBytes,
} from "./block_driver.ts";
export {
  Connection,
  type ConnectionOptions,
  ConnectionRing,
  type ReconnectOptions,
} from "./connection.ts";
export {
  FakeDriver,
  type FakeDriverOptions,
  type GivenOptions,
} from "./fake_driver.ts";
export { FakeRing, type FakeRingHost } from "./fake_ring.ts";
export {
  NET_HEADER_SIZE,
  NetDriver,
  type NetDriverOptions,
  type NetRing,
  type ReceivedFrame,
} from "./net_driver.ts";
export { NetConnection, type NetConnectionOptions } from "./net_connection.ts";
export type {
  BytesPart,
  RequestLayout,
  RequestPart,
  RoomPart,
} from "./request_layout.ts";
export {
  RequestRing,
  type RequestRingOptions,
  type RingPort,
  type WaitOptions,
} from "./request_ring.ts";
export {
  asPacked,
  PackedDriver,
  type PackedDriverOptions,
} from "./packed_driver.ts";
export { RING_KINDS, type RingKind } from "./ring_kinds.ts";
export { RingRequest, StalledError } from "./ring_request.ts";
export { RngDriver, type RngStreamOptions } from "./rng_driver.ts";
