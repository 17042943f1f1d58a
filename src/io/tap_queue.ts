// Data plane: frames of one queue of a TAP interface.
/**
 * @module
 */
import {
  EAGAIN,
  EINTR,
  IFF_ATTACH_QUEUE,
  IFF_DETACH_QUEUE,
  TUNGETSNDBUF,
  TUNSETQUEUE,
} from "../ffi/abi.ts";
import { errno } from "../ffi/errno.ts";
import { libc } from "../ffi/libc.ts";
import { IFREQ } from "../ffi/struct.ts";
import { duplicateFd, type Fd } from "./fd.ts";
import type { IovecList } from "./iovec.ts";

/** No limit, as whoever opens an interface has it. */
const UNLIMITED = 0x7fff_ffff;

/** One queue: a frame with its header of 12 bytes each call. */
export class TapQueue implements Disposable {
  /** A descriptor of our own. */
  readonly fd: Fd;

  /** A second descriptor of the queue that `number` is open on. */
  constructor(number: number) {
    this.fd = duplicateFd(number);
  }

  /** Whether there is room for a frame always, and none is to be waited for. */
  get hasRoom(): boolean {
    const size = new Int32Array(1);
    const result = libc.ioctl(this.fd.number, TUNGETSNDBUF, size);
    return result === 0 && size[0] === UNLIMITED;
  }

  /**
   * Receives a frame into `count` elements of `list` from `first`: its bytes,
   * or a negative errno: -EAGAIN where there is none. What does not fit is
   * lost, without a word.
   */
  receive(list: IovecList, first: number, count: number): number {
    const fd = this.fd.number;
    const bytes = list.bytes(first);
    for (;;) {
      const result = libc.readv(fd, bytes, count);
      if (result >= 0) return result;
      const failure = errno();
      if (failure !== EINTR) return -failure;
    }
  }

  /** Sends the frame in `count` elements from `first`: bytes, or likewise. */
  send(list: IovecList, count: number, first: number = 0): number {
    const fd = this.fd.number;
    const bytes = list.bytes(first);
    for (;;) {
      const result = libc.writev(fd, bytes, count);
      if (result >= 0) return result;
      const failure = errno();
      if (failure !== EINTR) return -failure;
    }
  }

  /**
   * Takes part in what an interface of several queues receives, or no longer.
   * 0 or a negative errno; harmless where it is so already.
   */
  attach(attached: boolean): number {
    const request = new Uint8Array(IFREQ.size);
    const flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
    new DataView(request.buffer).setUint16(IFREQ.at.value, flags, true);
    const result = libc.ioctl(this.fd.number, TUNSETQUEUE, request);
    return result < 0 ? -errno() : 0;
  }

  /** Closes the descriptor. */
  [Symbol.dispose](): void {
    this.fd.close();
  }
}

/** Whether `result` says that there is nothing, or no room, for now. */
export function wouldBlock(result: number): boolean {
  return result === -EAGAIN;
}
