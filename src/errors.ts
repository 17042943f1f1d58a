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

/** A system call failed. For the operator. */
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

/** The command line or a configuration file is wrong. For the operator. */
export class UsageError extends Error {
  /** The name of the class, as in a stack. */
  override readonly name = "UsageError";
}

/** The front-end broke the vhost-user protocol: answered by a NACK or a close. */
export class ProtocolError extends Error {
  /** The name of the class, as in a stack. */
  override readonly name: string = "ProtocolError";
}

/** The front-end broke it beyond a NACK: the session ends. */
export class FatalProtocolError extends ProtocolError {
  /** The name of the class, as in a stack. */
  override readonly name = "FatalProtocolError";
}

/** The driver broke a ring. The ring stops; the process and its siblings live. */
export class GuestError extends Error {
  /** The name of the class, as in a stack. */
  override readonly name = "GuestError";
}
