// Data plane: the used ring of a split ring, virtio 1.3 §2.7.8.
/**
 * @module
 */
import type { GuestMemory } from "../memory/guest_memory.ts";
import { AreaLog } from "./area_log.ts";
import * as layout from "./layout.ts";
import { acquire, release } from "./ordering.ts";
import type { SplitAreas } from "./split_areas.ts";
import type { VirtqueueConfig } from "./virtqueue.ts";

// An imported constant is loaded and checked at every use, see split.ts.
const RING_INDEX = layout.RING_INDEX;
const USED_RING_WORD = layout.USED_RING_WORD;

/** Where its elements start, and how long one is, in bytes. */
const ELEMENTS = 4;
const ELEMENT_SIZE = 8;
const NONE = -1;

/** What is given back to the driver, and what it is told of kicks. */
export class UsedRing {
  /** Where the next element goes. Ours alone: the driver can rewrite its copy. */
  next = 0;
  /** Elements that are written and not yet published. */
  staged = 0;
  readonly #size: number;
  readonly #mask: number;
  readonly #config: VirtqueueConfig;
  #words: Uint16Array = new Uint16Array(0);
  #elements: Uint32Array = new Uint32Array(0);
  /** Where to log it as if it were there, or NONE. */
  #place: number;
  #log: AreaLog | null = null;

  /** That of the ring that `config` describes. */
  constructor(config: VirtqueueConfig) {
    this.#size = config.size;
    this.#mask = config.size - 1;
    this.#config = config;
    this.#place = config.usedLog ?? NONE;
  }

  /** Goes on with `areas`, which are in `memory`. */
  setAreas(areas: SplitAreas, memory: GuestMemory): void {
    this.#words = areas.used;
    this.#elements = areas.usedElements;
    this.#aimLog(memory);
  }

  /** From now on it is logged as if it were at `place`; NONE: it is not. */
  setLog(place: number, memory: GuestMemory): void {
    this.#place = place;
    this.#aimLog(memory);
  }

  /** Goes on behind what was published last. */
  resume(): void {
    this.next = acquire(this.#words, RING_INDEX);
  }

  /** Writes the next element. */
  stage(head: number, written: number): void {
    const element = USED_RING_WORD + 2 * (this.next & this.#mask);
    this.#elements[element] = head;
    this.#elements[element + 1] = written;
    this.next = (this.next + 1) & 0xffff;
    this.staged++;
  }

  /** Publishes what is staged. */
  publish(): void {
    release(this.#words, RING_INDEX, this.next);
    if (this.#log !== null) this.#logElements(this.#log);
    this.staged = 0;
  }

  /** Sets the flags, as a hint: the driver sees it at some time. */
  hintFlags(flags: number): void {
    this.#words[layout.RING_FLAGS] = flags;
    this.#logWord(layout.RING_FLAGS);
  }

  /** Sets the flags; no later access happens before that. */
  setFlags(flags: number): void {
    release(this.#words, layout.RING_FLAGS, flags);
    this.#logWord(layout.RING_FLAGS);
  }

  /** Sets `avail_event` (§2.7.10), as a hint. */
  hintAvailEvent(index: number): void {
    const word = layout.availEventIndex(this.#size);
    this.#words[word] = index;
    this.#logWord(word);
  }

  /** Sets `avail_event`; no later access happens before that. */
  setAvailEvent(index: number): void {
    const word = layout.availEventIndex(this.#size);
    release(this.#words, word, index);
    this.#logWord(word);
  }

  #logWord(word: number): void {
    if (this.#log !== null) this.#log.mark(2 * word, 2);
  }

  /** Logs the index and the elements before it that were staged. */
  #logElements(log: AreaLog): void {
    log.mark(2 * RING_INDEX, 2);
    const first = (this.next - this.staged) & this.#mask;
    const straight = Math.min(this.staged, this.#size - first);
    log.mark(ELEMENTS + ELEMENT_SIZE * first, ELEMENT_SIZE * straight);
    log.mark(ELEMENTS, ELEMENT_SIZE * (this.staged - straight));
  }

  #aimLog(memory: GuestMemory): void {
    this.#log = null;
    if (memory.log === null || this.#place === NONE) return;
    // Behind an IOMMU front-ends say what the device knows already: an IOVA.
    const { size, deviceArea, eventIndex } = this.#config;
    const bytes = layout.deviceAreaSize(size, eventIndex);
    this.#log = memory.virtual === null
      ? AreaLog.at(memory.log, this.#place)
      : AreaLog.of(memory.log, memory, deviceArea, bytes);
  }
}
