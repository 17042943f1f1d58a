// Data plane: what a device behind an IOMMU may reach, as far as it is known.
/**
 * @module
 */
import type { GuestMemory } from "./guest_memory.ts";

/** The device may read (`VHOST_ACCESS_RO`). */
export const IOTLB_READ = 1;
/** The device may write (`VHOST_ACCESS_WO`). */
export const IOTLB_WRITE = 2;

/**
 * Entries that are kept. The table is a cache: beyond this it is emptied, and
 * what is needed is asked for again.
 */
export const IOTLB_ENTRIES_MAX = 65536;

const FIRST_CAPACITY = 256;

// Elements of `Iotlb.sought`.

/** In: the I/O virtual address that is looked for. */
export const SOUGHT_IOVA = 0;
/** Out: where that is in its region, in bytes. */
export const SOUGHT_OFFSET = 1;
/** Out: bytes from there to the end of the entry. */
export const SOUGHT_REST = 2;

/**
 * The mappings of I/O virtual addresses (IOVAs) that the front-end told, one
 * table a thread. Entries do not overlap, and each lies in one region of the
 * memory.
 *
 * @example A page that the device may read
 * ```ts
 * import { GuestMemory, Iotlb, IOTLB_READ, IOTLB_WRITE } from "@ringside/ringside/virtqueue";
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
 * const iotlb = new Iotlb(memory);
 * iotlb.update(0x5000, 4096, 0x7000_2000, IOTLB_READ);
 * const entry = iotlb.find(0x5010);
 * assertEquals(iotlb.offsetOf(entry, 0x5010), 0x2010);
 * assertEquals(iotlb.allows(entry, IOTLB_WRITE), false);
 * iotlb.invalidate(0x5000, 4096);
 * assertEquals(iotlb.find(0x5010), -1);
 * ```
 */
export class Iotlb {
  /** How many entries there are. */
  count = 0;
  /** Whether entries were ever dropped that the front-end thinks are there. */
  evicted = false;
  /**
   * What `look` looks for and what it finds. As elements: numbers that are
   * handed over, or returned, V8 allocates wherever it does not inline.
   */
  readonly sought: Float64Array = new Float64Array(3);
  #memory: GuestMemory;
  /** By ascending IOVA; likewise all below. */
  #starts = new Float64Array(FIRST_CAPACITY);
  #sizes = new Float64Array(FIRST_CAPACITY);
  #userAddresses = new Float64Array(FIRST_CAPACITY);
  #regions = new Uint16Array(FIRST_CAPACITY);
  #offsets = new Float64Array(FIRST_CAPACITY);
  #permissions = new Uint8Array(FIRST_CAPACITY);
  /** Where something was found last. */
  #last = 0;

  /** An empty table over `memory`. */
  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  /**
   * Finds the address in `sought`, and tells there where it is: the region, or
   * -1 where it is not mapped with all of `permissions`.
   */
  look(permissions: number): number {
    const sought = this.sought;
    const iova = sought[SOUGHT_IOVA]!;
    let index = this.#last;
    let offset = iova - this.#starts[index]!;
    if (
      !(index < this.count && offset >= 0 && offset < this.#sizes[index]!)
    ) {
      index = this.#search();
      if (index === this.count || this.#starts[index]! > iova) return -1;
      this.#last = index;
      offset = iova - this.#starts[index]!;
    }
    if ((this.#permissions[index]! & permissions) !== permissions) return -1;
    sought[SOUGHT_OFFSET] = this.#offsets[index]! + offset;
    sought[SOUGHT_REST] = this.#sizes[index]! - offset;
    return this.#regions[index]!;
  }

  /** The index of the entry that holds `iova`, or -1. */
  find(iova: number): number {
    const last = this.#last;
    const offset = iova - this.#starts[last]!;
    if (last < this.count && offset >= 0 && offset < this.#sizes[last]!) {
      return last;
    }
    const index = this.#endingAfter(iova);
    if (index === this.count || this.#starts[index]! > iova) return -1;
    this.#last = index;
    return index;
  }

  /** Bytes from `iova` to the end of entry `index`, which holds it. */
  rest(index: number, iova: number): number {
    return this.#sizes[index]! - (iova - this.#starts[index]!);
  }

  /** Whether entry `index` allows all of `permissions`. */
  allows(index: number, permissions: number): boolean {
    return (this.#permissions[index]! & permissions) === permissions;
  }

  /** The region of memory that entry `index` is in. */
  regionOf(index: number): number {
    return this.#regions[index]!;
  }

  /** Where `iova`, which entry `index` holds, is in that region. */
  offsetOf(index: number, iova: number): number {
    return this.#offsets[index]! + (iova - this.#starts[index]!);
  }

  /**
   * Whether the range is mapped already, and all of what is known of it is the
   * same but for permissions that are new: then nothing in flight minds `update`.
   */
  agrees(
    iova: number,
    size: number,
    userAddress: number,
    permissions: number,
  ): boolean {
    const end = iova + size;
    let index = this.#endingAfter(iova);
    for (; index < this.count && this.#starts[index]! < end; index++) {
      const shift = this.#userAddresses[index]! - this.#starts[index]!;
      if (shift !== userAddress - iova) return false;
      if ((this.#permissions[index]! & ~permissions) !== 0) return false;
    }
    return true;
  }

  /** Whether any of the range is mapped. */
  overlaps(iova: number, size: number): boolean {
    const index = this.#endingAfter(iova);
    return index < this.count && this.#starts[index]! < iova + size;
  }

  /**
   * Maps `size` bytes at `iova` to `userAddress`, instead of what was there.
   * False, and nothing mapped, where they are not whole in one region.
   */
  update(
    iova: number,
    size: number,
    userAddress: number,
    permissions: number,
  ): boolean {
    this.invalidate(iova, size);
    const region = this.#regionOfUser(userAddress, size);
    if (region < 0) return false;
    if (this.count >= IOTLB_ENTRIES_MAX) {
      this.count = 0;
      this.evicted = true;
    }
    const index = this.#endingAfter(iova);
    this.#makeRoom(index);
    this.#starts[index] = iova;
    this.#sizes[index] = size;
    this.#userAddresses[index] = userAddress;
    this.#permissions[index] = permissions;
    this.#aim(index, region);
    return true;
  }

  /** Unmaps `size` bytes at `iova`, whatever of them is mapped. */
  invalidate(iova: number, size: number): void {
    const end = iova + size;
    let first = this.#endingAfter(iova);
    let last = first;
    while (last < this.count && this.#starts[last]! < end) last++;
    if (first === last) return;
    const behind = this.#starts[last - 1]! + this.#sizes[last - 1]! - end;
    if (behind > 0) {
      // What lies behind the range stays, as an entry of its own.
      this.#makeRoom(last);
      this.#copy(last - 1, last);
      const cut = this.#sizes[last]! - behind;
      this.#starts[last] = this.#starts[last]! + cut;
      this.#userAddresses[last] = this.#userAddresses[last]! + cut;
      this.#offsets[last] = this.#offsets[last]! + cut;
      this.#sizes[last] = behind;
    }
    if (this.#starts[first]! < iova) {
      this.#sizes[first] = iova - this.#starts[first]!;
      first++;
    }
    this.#remove(first, last);
  }

  /** Goes on in `memory`; what is no longer in one region of it is dropped. */
  setMemory(memory: GuestMemory): void {
    this.#memory = memory;
    let kept = 0;
    for (let index = 0; index < this.count; index++) {
      const region = this.#regionOfUser(
        this.#userAddresses[index]!,
        this.#sizes[index]!,
      );
      if (region < 0) continue;
      this.#copy(index, kept);
      this.#aim(kept++, region);
    }
    this.count = kept;
  }

  /** The first entry that ends behind `iova`, or `count`. */
  #endingAfter(iova: number): number {
    this.sought[SOUGHT_IOVA] = iova;
    return this.#search();
  }

  /** The same of the address that is sought. */
  #search(): number {
    const iova = this.sought[SOUGHT_IOVA]!;
    const starts = this.#starts;
    const sizes = this.#sizes;
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (starts[middle]! + sizes[middle]! <= iova) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #regionOfUser(userAddress: number, size: number): number {
    const regions = this.#memory.regions;
    for (let i = 0; i < regions.length; i++) {
      const offset = userAddress - regions[i]!.userAddress;
      const all = regions[i]!.size;
      if (offset >= 0 && offset < all && size <= all - offset) return i;
    }
    return -1;
  }

  #aim(index: number, region: number): void {
    this.#regions[index] = region;
    this.#offsets[index] = this.#userAddresses[index]! -
      this.#memory.regions[region]!.userAddress;
  }

  #copy(from: number, to: number): void {
    if (from === to) return;
    this.#starts[to] = this.#starts[from]!;
    this.#sizes[to] = this.#sizes[from]!;
    this.#userAddresses[to] = this.#userAddresses[from]!;
    this.#regions[to] = this.#regions[from]!;
    this.#offsets[to] = this.#offsets[from]!;
    this.#permissions[to] = this.#permissions[from]!;
  }

  /** Moves the entries from `index` on, so that there is room for one. */
  #makeRoom(index: number): void {
    if (this.count === this.#starts.length) this.#grow();
    this.#move(index, index + 1);
    this.count++;
  }

  /** Removes the entries from `first` to before `end`. */
  #remove(first: number, end: number): void {
    this.#move(end, first);
    this.count -= end - first;
  }

  #move(from: number, to: number): void {
    const end = this.count;
    this.#starts.copyWithin(to, from, end);
    this.#sizes.copyWithin(to, from, end);
    this.#userAddresses.copyWithin(to, from, end);
    this.#regions.copyWithin(to, from, end);
    this.#offsets.copyWithin(to, from, end);
    this.#permissions.copyWithin(to, from, end);
  }

  #grow(): void {
    const capacity = 2 * this.#starts.length;
    this.#starts = grown(this.#starts, new Float64Array(capacity));
    this.#sizes = grown(this.#sizes, new Float64Array(capacity));
    this.#userAddresses = grown(
      this.#userAddresses,
      new Float64Array(capacity),
    );
    this.#regions = grown(this.#regions, new Uint16Array(capacity));
    this.#offsets = grown(this.#offsets, new Float64Array(capacity));
    this.#permissions = grown(this.#permissions, new Uint8Array(capacity));
  }
}

function grown<T extends Float64Array | Uint16Array | Uint8Array>(
  from: T,
  to: T,
): T {
  to.set(from);
  return to;
}
