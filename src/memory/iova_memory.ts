// Data plane: guest memory as a ring behind an IOMMU sees it.
/**
 * @module
 */
import { GuestMemory } from "./guest_memory.ts";
import {
  type Iotlb,
  IOTLB_READ,
  SOUGHT_IOVA,
  SOUGHT_OFFSET,
  SOUGHT_REST,
} from "./iotlb.ts";
import { JoinedAreas } from "./joined_areas.ts";

/** Questions that are open at once. */
export const QUESTIONS_MAX = 64;
/** Mappings are asked for by the page: the smallest one that an IOMMU has. */
const PAGE = 4096;
/** Addresses above are not exact. */
const ADDRESS_MAX = Number.MAX_SAFE_INTEGER;
const NONE = -1;

/**
 * Guest memory whose addresses are I/O virtual ones: `locate`, `read` and
 * `resolve` go through the thread's {@linkcode Iotlb}. Regions, and places in
 * them, are those of the memory itself.
 *
 * What is not mapped becomes a *question* to the front-end; until all of them
 * are answered the memory is `missed`, and the ring that it belongs to waits.
 *
 * @example A question, and its answer
 * ```ts
 * import {
 *   GuestMemory,
 *   Iotlb,
 *   IOTLB_READ,
 *   IovaMemory,
 * } from "@ringside/ringside/virtqueue";
 * import { assertEquals } from "@std/assert";
 *
 * const layout = {
 *   guestAddress: 0,
 *   size: 1 << 16,
 *   userAddress: 0x7000_0000,
 *   hostAddress: 0,
 * };
 * const memory = new GuestMemory({ generation: 1, regions: [layout] }, [
 *   new ArrayBuffer(1 << 16),
 * ]);
 *
 * const virtual = new IovaMemory(memory, new Iotlb(memory));
 * assertEquals(virtual.locate(0x5010, 4), false);
 * assertEquals([virtual.missed, virtual.questionAddresses[0]], [true, 0x5010]);
 *
 * virtual.iotlb.update(0x5000, 4096, 0x7000_2000, IOTLB_READ);
 * virtual.answer(0x5000, 4096, IOTLB_READ);
 * assertEquals([virtual.missed, virtual.locate(0x5010, 4)], [false, true]);
 * assertEquals(virtual.foundOffset, 0x2010);
 * ```
 */
export class IovaMemory extends GuestMemory {
  /** The mappings. */
  readonly iotlb: Iotlb;
  /** How many questions are open. */
  questionCount = 0;
  /** The address that each is about. */
  readonly questionAddresses: Float64Array = new Float64Array(QUESTIONS_MAX);
  /** The access that is wanted there. */
  readonly questionPermissions: Uint8Array = new Uint8Array(QUESTIONS_MAX);
  /** How many of them, the first ones, were sent. */
  sentCount = 0;
  /** The parts of the ring that are not in one piece. */
  readonly #joined = new JoinedAreas();
  /** A page that the front-end refused, or NONE; asked for once more it fails. */
  #refused = NONE;

  /** The memory `base` behind `iotlb`. */
  constructor(base: GuestMemory, iotlb: Iotlb) {
    const { generation } = base;
    const regions = base.regions.slice();
    super({ generation, regions }, base.views.map((view) => view.buffer));
    this.iotlb = iotlb;
    this.virtual = this;
    this.log = base.log;
  }

  /** Whether the ring has to wait for an answer. */
  get missed(): boolean {
    return this.questionCount > 0;
  }

  /**
   * How many bytes from `address` on are one piece of a region, which
   * `foundRegion` and `foundOffset` then tell: those of one entry. 0 where it
   * is not mapped with `permissions`.
   */
  resolve(address: number, permissions: number): number {
    const { sought } = this.iotlb;
    sought[SOUGHT_IOVA] = address;
    return this.look(permissions) ? sought[SOUGHT_REST]! : 0;
  }

  /**
   * As `resolve`, of the address in `iotlb.sought`, which then has the count of
   * bytes too. For hot code: see there. False where it is not mapped so.
   */
  look(permissions: number): boolean {
    const { iotlb } = this;
    const region = iotlb.look(permissions);
    if (region < 0) return false;
    this.foundRegion = region;
    this.foundOffset = iotlb.sought[SOUGHT_OFFSET]!;
    return true;
  }

  /**
   * Asks for `permissions` at `address`. False where that is in vain, since it
   * was refused or is no address.
   */
  ask(address: number, permissions: number): boolean {
    if (!(address >= 0 && address < ADDRESS_MAX)) return false;
    const page = Math.floor(address / PAGE);
    if (page === this.#refused) {
      this.#refused = NONE;
      this.#drop();
      return false;
    }
    const count = this.questionCount;
    for (let i = 0; i < count; i++) {
      const asked = Math.floor(this.questionAddresses[i]! / PAGE);
      const same = this.questionPermissions[i] === permissions;
      if (asked === page && same) return true;
    }
    if (count === QUESTIONS_MAX) return true;
    this.questionAddresses[count] = address;
    this.questionPermissions[count] = permissions;
    this.questionCount = count + 1;
    return true;
  }

  /**
   * Whether all `size` bytes at `address` are mapped with `permissions`; asks
   * for those that are not.
   */
  demand(address: number, size: number, permissions: number): boolean {
    let complete = true;
    let at = address;
    const end = address + size;
    while (at < end && this.questionCount < QUESTIONS_MAX) {
      const run = this.resolve(at, permissions);
      if (run > 0) {
        at += run;
        continue;
      }
      complete = false;
      if (!this.ask(at, permissions)) return false;
      at = nextPage(at);
    }
    return complete && at >= end;
  }

  /** As `demand`, and asks for nothing. */
  covers(address: number, size: number, permissions: number): boolean {
    let at = address;
    while (at < address + size) {
      const run = this.resolve(at, permissions);
      if (run === 0) return false;
      at += run;
    }
    return true;
  }

  /**
   * The `size` bytes at `address`, all of which are mapped: their pages side by
   * side, until `release`. Or why that can't be.
   */
  join(address: number, size: number): Uint8Array<ArrayBuffer> | string {
    return this.#joined.join(this, address, size);
  }

  /** The ring goes on in other memory, or not at all: unmaps what was joined. */
  release(): void {
    this.#joined[Symbol.dispose]();
  }

  /** The front-end mapped a range: questions about it are answered. */
  answer(iova: number, size: number, permissions: number): void {
    for (let i = this.questionCount - 1; i >= 0; i--) {
      const offset = this.questionAddresses[i]! - iova;
      if (!(offset >= 0 && offset < size)) continue;
      const wanted = this.questionPermissions[i]!;
      if ((permissions & wanted) !== wanted) this.#refuse(i);
      this.#close(i);
    }
  }

  /** The front-end has no mapping for what was asked at `iova`. */
  refuse(iova: number, permissions: number): void {
    for (let i = this.questionCount - 1; i >= 0; i--) {
      if (this.questionAddresses[i] !== iova) continue;
      if (this.questionPermissions[i] !== permissions) continue;
      this.#refuse(i);
      this.#close(i);
    }
  }

  /** As of all memory; and where entries lie one behind the other in a region. */
  override locate(guestAddress: number, size: number): boolean {
    const run = this.resolve(guestAddress, IOTLB_READ);
    if (run === 0) {
      this.ask(guestAddress, IOTLB_READ);
      return false;
    }
    const region = this.foundRegion;
    const offset = this.foundOffset;
    let done = run;
    while (done < size) {
      const more = this.resolve(guestAddress + done, IOTLB_READ);
      if (more === 0) this.ask(guestAddress + done, IOTLB_READ);
      if (more === 0 || this.foundRegion !== region) return false;
      if (this.foundOffset !== offset + done) return false;
      done += more;
    }
    this.foundRegion = region;
    this.foundOffset = offset;
    return true;
  }

  /** As the base class does, through the mappings. */
  override read(
    guestAddress: number,
    target: Uint8Array,
    size: number,
  ): boolean {
    let done = 0;
    while (done < size) {
      const run = this.resolve(guestAddress + done, IOTLB_READ);
      if (run === 0) {
        this.ask(guestAddress + done, IOTLB_READ);
        return false;
      }
      const piece = Math.min(size - done, run);
      this.copyFound(target, done, piece);
      done += piece;
    }
    return true;
  }

  #refuse(question: number): void {
    this.#refused = Math.floor(this.questionAddresses[question]! / PAGE);
  }

  #close(question: number): void {
    const last = --this.questionCount;
    if (question < this.sentCount) this.sentCount--;
    this.questionAddresses.copyWithin(question, question + 1, last + 1);
    this.questionPermissions.copyWithin(question, question + 1, last + 1);
  }

  /** What else is asked for the same chain is of no use any more. */
  #drop(): void {
    this.questionCount = 0;
    this.sentCount = 0;
  }
}

/** The start of the page behind the one that `address` is in. */
export function nextPage(address: number): number {
  return address - address % PAGE + PAGE;
}
