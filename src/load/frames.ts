// Data plane: the frames of a load on a network card.
/**
 * @module
 */
import type { Work } from "./lane.ts";

/** `struct virtio_net_hdr` with VERSION_1. */
export const NET_HEADER_SIZE = 12;
/** The smallest frame, without its checksum. */
export const FRAME_MIN = 60;
/** The largest one that is asked for. */
export const FRAME_MAX = 65535;

/** Of locally administered cards that nobody has. */
const TO = [0x02, 0x72, 0x69, 0x6e, 0x67, 0x02] as const;
const FROM = [0x02, 0x72, 0x69, 0x6e, 0x67, 0x01] as const;
/** For local experiments, IEEE 802. */
const ETHERTYPE = [0x88, 0xb5] as const;
/** Where our own words are in a buffer, aligned: magic, slot, sequence. */
const WORDS_AT = NET_HEADER_SIZE + 16;
const MAGIC = 0x72696e67;
const MAGIC_WORD = WORDS_AT / 4;

/** The buffers of frames to send: one for each slot. */
export class Frames implements Work {
  /** Frames that the device took. */
  sent = 0;
  readonly #bytes = new Float64Array(1);
  readonly #buffers: readonly Uint32Array[];
  readonly #sizes: readonly number[];
  readonly #shapes: Uint8Array;
  readonly #sequences: Int32Array;
  #nextShape = 0;
  #nextSequence = 0;

  /** In `buffers`, of each of `sizes` in turn, one shape each. */
  constructor(buffers: readonly Uint32Array[], sizes: readonly number[]) {
    this.#buffers = buffers;
    this.#sizes = sizes;
    this.#shapes = new Uint8Array(buffers.length);
    this.#sequences = new Int32Array(buffers.length);
    for (let slot = 0; slot < buffers.length; slot++) {
      const words = buffers[slot]!;
      const bytes = new Uint8Array(words.buffer, words.byteOffset);
      bytes.set(TO, NET_HEADER_SIZE);
      bytes.set(FROM, NET_HEADER_SIZE + 6);
      bytes.set(ETHERTYPE, NET_HEADER_SIZE + 12);
      words[MAGIC_WORD] = MAGIC;
      words[MAGIC_WORD + 1] = slot;
    }
  }

  /** Bytes of the frames that the device took. */
  get bytes(): number {
    return this.#bytes[0]!;
  }

  /** Forgets what was counted. */
  clear(): void {
    this.sent = 0;
    this.#bytes[0] = 0;
  }

  prepare(slot: number): number {
    const shape = this.#nextShape;
    this.#nextShape = shape + 1 < this.#sizes.length ? shape + 1 : 0;
    this.#shapes[slot] = shape;
    this.#nextSequence = (this.#nextSequence + 1) | 0;
    this.#sequences[slot] = this.#nextSequence;
    this.#buffers[slot]![MAGIC_WORD + 2] = this.#nextSequence;
    return shape;
  }

  finish(slot: number, _written: number): void {
    this.sent++;
    this.#bytes[0] = this.#bytes[0]! + this.#sizes[this.#shapes[slot]!]!;
  }

  /**
   * The slot whose last frame is in `buffer`, of `written` bytes with the
   * header; -1 where it is none of ours, older, or of another size.
   */
  slotOf(buffer: Uint32Array, written: number): number {
    if (buffer[MAGIC_WORD] !== MAGIC) return -1;
    const slot = buffer[MAGIC_WORD + 1]!;
    if (slot >= this.#buffers.length) return -1;
    const sequence = buffer[MAGIC_WORD + 2]! | 0;
    const size = this.#sizes[this.#shapes[slot]!]! + NET_HEADER_SIZE;
    return sequence === this.#sequences[slot] && size === written ? slot : -1;
  }
}
