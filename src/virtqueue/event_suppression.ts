// Data plane: who wants to be notified of what, on a packed ring.
/**
 * The event suppression structures, virtio 1.3 §2.8.10: the driver's says which
 * calls it wants, the device's which kicks.
 *
 * @module
 */
import type { AreaLog } from "./area_log.ts";
import * as layout from "./layout.ts";
import { acquire32, release32 } from "./ordering.ts";
import { RING_WRAP } from "./packed_state.ts";

// An imported constant is loaded and checked at every use, see split.ts.
const RING_EVENT_FLAGS_DESC = layout.RING_EVENT_FLAGS_DESC;
const RING_EVENT_FLAGS_DISABLE = layout.RING_EVENT_FLAGS_DISABLE;
const RING_EVENT_FLAGS_MASK = layout.RING_EVENT_FLAGS_MASK;

/** Both areas of one ring. */
export class EventSuppression {
  readonly #size: number;
  readonly #eventIndex: boolean;
  #driver: Int32Array = new Int32Array(0);
  #device: Int32Array = new Int32Array(0);
  #log: AreaLog | null = null;

  /** Of a ring of `size` entries, with VIRTIO_F_EVENT_IDX or without. */
  constructor(size: number, eventIndex: boolean) {
    this.#size = size;
    this.#eventIndex = eventIndex;
  }

  /** Goes on with these areas. */
  setAreas(driver: Int32Array, device: Int32Array): void {
    this.#driver = driver;
    this.#device = device;
  }

  /** From now on `log` has what is written; null: nothing is logged. */
  setLog(log: AreaLog | null): void {
    this.#log = log;
  }

  /**
   * Whether the driver wants to be called for the last `count` used descriptors
   * before position `next`, which has the wrap counter in bit 15.
   */
  wantsCall(next: number, count: number): boolean {
    const event = acquire32(this.#driver, 0);
    const mode = (event >>> 16) & RING_EVENT_FLAGS_MASK;
    if (mode !== RING_EVENT_FLAGS_DESC || !this.#eventIndex) {
      return mode !== RING_EVENT_FLAGS_DISABLE;
    }
    // A call is due when this descriptor was used just now. One of the lap
    // before lies below 0.
    let position = event & (RING_WRAP - 1);
    if (((event ^ next) & RING_WRAP) !== 0) position -= this.#size;
    const end = next & (RING_WRAP - 1);
    return ((end - position - 1) & 0xffff) < count;
  }

  /** Asks for no kicks, as a hint: the driver sees it at some time. */
  disableKicks(): void {
    this.#device[0] = RING_EVENT_FLAGS_DISABLE << 16;
    this.#logDevice();
  }

  /** Asks for a kick whatever is published. */
  enableKicks(): void {
    this.#set(layout.RING_EVENT_FLAGS_ENABLE << 16);
  }

  /** Asks for a kick at `position`, which has the wrap counter in bit 15. */
  enableKickAt(position: number): void {
    if (!this.#eventIndex) return this.enableKicks();
    this.#set(RING_EVENT_FLAGS_DESC << 16 | position);
  }

  #set(event: number): void {
    release32(this.#device, 0, event);
    this.#logDevice();
  }

  #logDevice(): void {
    if (this.#log !== null) this.#log.mark(0, layout.EVENT_AREA_SIZE);
  }
}
