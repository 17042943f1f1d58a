/**
 * What can become of a request of a front-end, beyond its answer.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import { requestName } from "./protocol.ts";

/** The back-end refused a request. The connection is as good as before. */
export class NackError extends Error {
  /** As of every error of this class. */
  override readonly name = "NackError";
  /** The request that was refused. */
  readonly request: number;
  /** What was answered; 0 would have meant success. */
  readonly value: bigint;

  /** `request` was answered by `value`. */
  constructor(request: number, value: bigint) {
    super(`${requestName(request)} was refused with 0x${value.toString(16)}`);
    this.request = request;
    this.value = value;
  }
}

/** The back-end is gone: it hung up, or died. */
export class HangUpError extends ProtocolError {
  /** As of every error of this class. */
  override readonly name = "HangUpError";
  /** The request that was under way. */
  readonly request: number;

  /** The answer to `request` will never come. */
  constructor(request: number, options?: ErrorOptions) {
    super(
      `The back-end hung up instead of answering ${requestName(request)}`,
      options,
    );
    this.request = request;
  }
}

/**
 * The back-end did not answer in time. A late answer would be taken for that of
 * another request, so the connection is of no use any more.
 */
export class RequestTimeoutError extends Error {
  /** As of every error of this class. */
  override readonly name = "RequestTimeoutError";
  /** The request that was not answered. */
  readonly request: number;
  /** How long it was waited for, in milliseconds. */
  readonly timeoutMs: number;

  /** `request` was not answered within `timeoutMs` milliseconds. */
  constructor(request: number, timeoutMs: number) {
    super(
      `The back-end did not answer ${requestName(request)} within ` +
        `${timeoutMs} ms: connect anew, or allow more time`,
    );
    this.request = request;
    this.timeoutMs = timeoutMs;
  }
}
