/**
 * The contract between a device and the house: what a device declares, what it
 * implements and what it is offered.
 *
 * @module
 */
export type {
  DataDevice,
  DataModule,
  DataPlaneServices,
  Device,
  DeviceControl,
  DeviceDescriptor,
  OpenDataDevice,
  ReadySource,
  ResizeRequest,
} from "./device.ts";
export type { IoUring, UringConsumer } from "../io/io_uring.ts";
export type { Virtqueue } from "../virtqueue/virtqueue.ts";
export { IovecList } from "../io/iovec.ts";
export { UsageError } from "../errors.ts";
export { CONFIG_SPACE_MAX, ConfigSpace } from "./config_space.ts";
export * from "./features.ts";
export { decodeState, encodeState, type StateKind } from "./state.ts";
export {
  type Absent,
  type BooleanSpec,
  type ChoiceSpec,
  completeOptions,
  formatSize,
  type NumberSpec,
  type OptionBase,
  type OptionSpec,
  type OptionSpecs,
  type OptionValue,
  type OptionValues,
  parseOptionValue,
  type StringSpec,
} from "./options.ts";
