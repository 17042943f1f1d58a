/**
 * Commands to a worker that blocks: a message, then a write to its eventfd,
 * which makes it return to its event loop, where the message waits. Each is
 * acknowledged.
 *
 * @module
 */
import { SystemError, UsageError } from "../errors.ts";
import type { LogLevel } from "../log.ts";
import type { Command, IotlbMiss, RingCounters } from "./command.ts";

/** What the worker is started with. */
export interface WorkerStart {
  /** The device's seed. */
  readonly seed: unknown;
  /** Rings of the device. */
  readonly ringCount: number;
  /** Whether the thread drives an io_uring. */
  readonly useUring: boolean;
  /** What the thread logs. */
  readonly logLevel: LogLevel;
  /** Whether the thread says what all threads of the device have to say. */
  readonly speaks: boolean;
  /** The mailbox's eventfd. */
  readonly eventFd: number;
  /** Of the crowd of all threads of rings. */
  readonly crowd: SharedArrayBuffer;
}

/** The part of {@linkcode WorkerStart} that is the same for all threads. */
export type DeviceStart = Omit<
  WorkerStart,
  "crowd" | "eventFd" | "logLevel" | "speaks"
>;

/** To the worker. */
export type MailboxMessage =
  | {
    readonly kind: "open";
    readonly id: number;
    readonly start: WorkerStart;
  }
  | {
    readonly kind: "command";
    readonly id: number;
    readonly command: Command;
  };

/** From the worker: the acknowledgement of message `id`. */
export interface Acknowledgement {
  readonly id: number;
  readonly result: number;
  /** What went wrong, or null. */
  readonly failure: Failure | null;
  /** The answer of `inspect`. */
  readonly rings: RingCounters[];
}

/** From the worker, by itself. */
export interface MissNotice {
  readonly miss: IotlbMiss;
}

/** An error on its way between threads, which would lose its class. */
export interface Failure {
  /** For whom it is: the operator has two. */
  readonly kind: "usage" | "system" | "other";
  readonly message: string;
  /** Of a SystemError, else "" and 0. */
  readonly call: string;
  readonly errno: number;
  readonly code: string;
  readonly path: string;
}

/** `error` as it can be posted. */
export function packError(error: Error): Failure {
  const { message } = error;
  if (error instanceof SystemError) {
    const { call, errno, code, path } = error;
    return { kind: "system", message, call, errno, code, path };
  }
  const kind = error instanceof UsageError ? "usage" : "other";
  return { kind, message, call: "", errno: 0, code: "", path: "" };
}

/** The error that {@linkcode packError} packed, without its stack. */
export function unpackError(failure: Failure): Error {
  const { kind, message, call, errno, code, path } = failure;
  if (kind === "usage") return new UsageError(message);
  if (kind === "other") return new Error(message);
  const error = new SystemError(call, errno, { code, path });
  error.message = message;
  return error;
}
