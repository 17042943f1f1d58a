/**
 * Errors for three audiences: the operator ({@linkcode SystemError},
 * {@linkcode UsageError}), the front-end ({@linkcode ProtocolError}) and the
 * driver ({@linkcode GuestError}). A failed `assert` is for us.
 *
 * Messages start with a capital, have no full stop, and say what is, what was
 * wanted and the remedy.
 *
 * @module
 */

/** What a {@linkcode SystemError} may add to the bare system call. */
export interface SystemErrorDetail {
  /** The file, socket or device that the call was about. */
  path?: string;
  /** What the operator can do about it. */
  remedy?: string;
  /** The symbolic name of the error number, as `ENOENT`. */
  code?: string;
}

/**
 * A system call failed. For the operator.
 *
 * @example Nobody listens there
 * ```ts
 * import { Frontend, SystemError } from "@ringside/ringside/vhost-user";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const path = "/nowhere/disk.sock";
 * const error = assertThrows(() => Frontend.connect(path), SystemError);
 * assertEquals([error.code, error.path], ["ENOENT", path]);
 * ```
 */
export class SystemError extends Error {
  /** The name of the class, as in a stack. */
  override readonly name = "SystemError";
  /** The system call, as `openat`. */
  readonly call: string;
  /** The positive error number. */
  readonly errno: number;
  /** The symbolic name of the error number, as `ENOENT`. */
  readonly code: string;
  /** The file, socket or device that the call was about, or "". */
  readonly path: string;

  /** Makes the error of `call` having failed with the positive `errno`. */
  constructor(call: string, errno: number, detail: SystemErrorDetail = {}) {
    const code = detail.code ?? `errno ${errno}`;
    const path = detail.path ?? "";
    const on = path === "" ? "" : ` on ${path}`;
    const remedy = detail.remedy === undefined ? "" : `: ${detail.remedy}`;
    super(`${call} failed with ${code}${on}${remedy}`);
    this.call = call;
    this.errno = errno;
    this.code = code;
    this.path = path;
  }
}

/**
 * The command line or a configuration file is wrong. For the operator.
 *
 * @example An option that must be given
 * ```ts
 * import { completeOptions, UsageError } from "@ringside/ringside/device";
 * import { assertThrows } from "@std/assert";
 *
 * const specs = {
 *   file: { type: "string", describe: "What to serve", required: true },
 * } as const;
 * assertThrows(() => completeOptions(specs, {}), UsageError, "file");
 * ```
 */
export class UsageError extends Error {
  /** The name of the class, as in a stack. */
  override readonly name = "UsageError";
}

/**
 * The front-end broke the vhost-user protocol: answered by a NACK or a close.
 *
 * @example A payload that is cut short
 * ```ts
 * import { ProtocolError, u64 } from "@ringside/ringside/vhost-user";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(
 *   () => u64.decode(new Uint8Array(4)),
 *   ProtocolError,
 *   "The payload has 4 bytes, at least 8 are wanted",
 * );
 * ```
 */
export class ProtocolError extends Error {
  /** The name of the class, as in a stack. */
  override readonly name: string = "ProtocolError";
}

/**
 * The front-end broke it beyond a NACK: the session ends.
 *
 * @example One that a back-end throws to end the session
 * ```ts
 * import { FatalProtocolError, ProtocolError } from "@ringside/ringside";
 * import { assert } from "@std/assert";
 *
 * const error = new FatalProtocolError("The ring is not one of ours");
 * assert(error instanceof ProtocolError);
 * ```
 */
export class FatalProtocolError extends ProtocolError {
  /** The name of the class, as in a stack. */
  override readonly name = "FatalProtocolError";
}

/**
 * The driver broke a ring. The ring stops; the process and its siblings live.
 *
 * @example A ring that no device can open
 * ```ts
 * import { GuestError } from "@ringside/ringside";
 * import { DriverMemory, SplitDriver } from "@ringside/ringside/testing";
 * import { openVirtqueue } from "@ringside/ringside/virtqueue";
 * import { assertThrows } from "@std/assert";
 *
 * using memory = DriverMemory.plain(1 << 16);
 * const config = new SplitDriver(memory, 8).config();
 * assertThrows(
 *   () => openVirtqueue({ ...config, size: 7 }, memory.guestMemory()),
 *   GuestError,
 * );
 * ```
 */
export class GuestError extends Error {
  /** The name of the class, as in a stack. */
  override readonly name = "GuestError";
}
