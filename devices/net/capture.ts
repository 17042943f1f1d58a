// Data plane: writes frames to a capture file.
/**
 * @module
 */
import { Mapping } from "../../src/ffi/mapping.ts";
import { AppendFile } from "../../src/io/append_file.ts";
import { IovecList } from "../../src/io/iovec.ts";
import { log } from "../../src/log.ts";
import type { OutgoingFrame } from "./backend.ts";
import {
  EPB_FLAGS,
  EPB_HEAD_SIZE,
  EPB_TAIL_SIZE,
  EPB_TYPE,
  INBOUND,
  OUTBOUND,
} from "./pcapng.ts";
import { HEADER_SIZE } from "./protocol.ts";

const TWO_32 = 0x1_0000_0000;
/** What one system call takes. */
const ELEMENTS = 1024;
/** Padding and tail start here in our memory. */
const TAIL_AT = 32;

/** Where a device writes its frames. */
export interface CaptureSeed {
  /** An open descriptor of the file, which the control side owns. */
  readonly fd: number;
  /** For messages. */
  readonly path: string;
  /** The most bytes of a frame that are written. */
  readonly snapLength: number;
}

/**
 * Appends to a capture file, one system call a frame, so that several threads
 * can share it. The kernel takes the frames out of guest memory.
 */
export class Capture implements Disposable {
  readonly #file: AppendFile;
  readonly #snapLength: number;
  readonly #memory: Mapping;
  readonly #view: DataView;
  readonly #list: IovecList = new IovecList(ELEMENTS);
  #failed = false;

  /** Appends to the file of `seed`, which has its header. */
  constructor(seed: CaptureSeed) {
    this.#file = new AppendFile(seed.fd, seed.path);
    this.#snapLength = seed.snapLength;
    this.#memory = Mapping.anonymous(64);
    this.#view = new DataView(this.#memory.buffer);
    this.#view.setUint32(0, EPB_TYPE, true);
  }

  /** The driver receives what is in `list` from element `first` on. */
  received(list: IovecList, first: number, size: number): void {
    this.#write(list, first, size, INBOUND);
  }

  /** The driver has sent `frame`. */
  sent(frame: OutgoingFrame): void {
    this.#write(frame.list, 0, frame.size, OUTBOUND);
  }

  /** Frees what it holds. */
  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
    this.#list[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }

  #write(
    list: IovecList,
    first: number,
    size: number,
    direction: number,
  ): void {
    if (this.#failed) return;
    const original = size - HEADER_SIZE;
    const snapLength = this.#snapLength;
    const captured = original < snapLength ? original : snapLength;
    const padding = -captured & 3;
    const total = EPB_HEAD_SIZE + captured + padding + EPB_TAIL_SIZE;
    this.#describe(captured, original, padding, total, direction);
    const own = this.#list;
    const address = this.#memory.address;
    own.set(0, address, EPB_HEAD_SIZE);
    const count = this.#take(list, first, captured);
    if (count < 0) return;
    const tail = address + TAIL_AT;
    own.set(1 + count, tail, padding + EPB_TAIL_SIZE);
    if (this.#file.append(own, 2 + count) !== total) this.#fail();
  }

  /** Takes `size` bytes behind the header over: how many elements, or -1. */
  #take(list: IovecList, first: number, size: number): number {
    const own = this.#list;
    let skip = HEADER_SIZE;
    let rest = size;
    let count = 0;
    for (let i = first; rest > 0; i++) {
      if (count + 2 === ELEMENTS) return -1;
      let piece = list.size(i);
      if (piece <= skip) {
        skip -= piece;
        continue;
      }
      piece -= skip;
      if (piece > rest) piece = rest;
      own.set(1 + count, list.base(i) + skip, piece);
      count++;
      rest -= piece;
      skip = 0;
    }
    return count;
  }

  #describe(
    captured: number,
    original: number,
    padding: number,
    total: number,
    direction: number,
  ): void {
    const view = this.#view;
    const time = Math.floor(
      (performance.timeOrigin + performance.now()) * 1000,
    );
    view.setUint32(4, total, true);
    view.setUint32(12, Math.floor(time / TWO_32), true);
    view.setUint32(16, time % TWO_32, true);
    view.setUint32(20, captured, true);
    view.setUint32(24, original, true);
    const option = TAIL_AT + padding;
    view.setUint32(TAIL_AT, 0, true);
    view.setUint16(option, EPB_FLAGS, true);
    view.setUint16(option + 2, 4, true);
    view.setUint32(option + 4, direction, true);
    view.setUint32(option + 8, 0, true);
    view.setUint32(option + 12, total, true);
  }

  /** A part of a frame may have been written: nothing can follow it. */
  #fail(): void {
    this.#failed = true;
    log.warnOnce(
      `The capture to ${this.#file.path} ends: it can't be written any more, ` +
        "see whether there is space left",
    );
  }
}
