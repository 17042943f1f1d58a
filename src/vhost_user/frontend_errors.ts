/**
 * What can become of a request of a front-end, beyond its answer.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import { requestName } from "./protocol.ts";

/**
 * The back-end refused a request. The connection is as good as before.
 *
 * @example A vring of 3 entries
 * ```ts
 * import { completeOptions, devices, Server } from "@ringside/ringside";
 * import { Frontend, NackError, UnixSocket } from "@ringside/ringside/vhost-user";
 * import { assertRejects } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * const device = await devices.block.open(
 *   completeOptions(devices.block.options, { "blk-null": 1 << 20 }),
 * );
 * const fd = theirs.fd.release();
 * const server = await Server.open("disk", device, { fd, dataPlane: "inline" });
 * const served = server.run();
 * {
 *   using frontend = Frontend.fromSocket(ours);
 *   await frontend.negotiate();
 *   await assertRejects(() => frontend.setVringNum(0, 3), NackError);
 *   await frontend.setVringNum(0, 128);
 * }
 * await served;
 * ```
 */
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

/**
 * The back-end is gone: it hung up, or died.
 *
 * @example A back-end that is gone
 * ```ts
 * import { Frontend, HangUpError, UnixSocket } from "@ringside/ringside/vhost-user";
 * import { assertRejects } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * using frontend = Frontend.fromSocket(ours);
 * theirs[Symbol.dispose]();
 * await assertRejects(() => frontend.getFeatures(), HangUpError);
 * ```
 */
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
 *
 * @example A back-end that is wedged
 * ```ts
 * import { Frontend, UnixSocket } from "@ringside/ringside/vhost-user";
 * import { RequestTimeoutError } from "@ringside/ringside/vhost-user";
 * import { assertRejects } from "@std/assert";
 *
 * const [ours, theirs] = UnixSocket.pair();
 * using _wedged = theirs;
 * using frontend = Frontend.fromSocket(ours);
 * frontend.timeoutMs = 10;
 * await assertRejects(() => frontend.getFeatures(), RequestTimeoutError);
 * ```
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
