/**
 * The memory that a front-end shared, by what it sent.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { MemoryLayout } from "../../../src/memory/guest_memory.ts";
import type { MemoryRegion } from "../../../src/vhost_user/message.ts";
import { type FdKind, MEMORY_SIZE, SMALL_SIZE } from "./outgoing.ts";

const SLOTS_MAX = 509;
const PAGE = 4096;

interface Slot extends MemoryRegion {
  readonly fd: FdKind;
  /** Added so many times. */
  count: number;
}

/** The regions of one session. */
export class MemoryModel {
  #slots: Slot[] = [];

  /** Whether `regions` from `fds` can replace all there are. */
  canReplace(
    regions: readonly MemoryRegion[],
    fds: readonly FdKind[],
  ): boolean {
    return regions.every((region, i) =>
      isSound(region, fds[i]!) && isApart(region, regions.slice(0, i))
    );
  }

  /** SET_MEM_TABLE. */
  replace(regions: readonly MemoryRegion[], fds: readonly FdKind[]): void {
    this.#slots = regions.map((region, i) => ({
      ...region,
      fd: fds[i]!,
      count: 1,
    }));
  }

  /** Whether `region` from `fd` can be added. */
  canAdd(region: MemoryRegion, fd: FdKind): boolean {
    if (this.#again(region, fd) !== undefined) return true;
    return isSound(region, fd) && isApart(region, this.#slots) &&
      this.#slots.length < SLOTS_MAX;
  }

  /** ADD_MEM_REG. */
  add(region: MemoryRegion, fd: FdKind): void {
    const known = this.#again(region, fd);
    if (known === undefined) this.#slots.push({ ...region, fd, count: 1 });
    else known.count++;
  }

  /** Whether there is `region` to be removed. */
  canRemove(region: MemoryRegion): boolean {
    return this.#find(region) !== undefined;
  }

  /** REM_MEM_REG. */
  remove(region: MemoryRegion): void {
    const known = this.#find(region)!;
    if (--known.count > 0) return;
    this.#slots.splice(this.#slots.indexOf(known), 1);
  }

  /** The back-end was told of exactly this. */
  compare({ regions }: MemoryLayout): void {
    const plain = (region: Pick<MemoryRegion, "guestAddress" | "size">) =>
      `${region.size} at ${region.guestAddress}`;
    assertEquals(
      regions.map(plain).sort(),
      this.#slots.map(plain).sort(),
    );
  }

  #find(region: MemoryRegion): Slot | undefined {
    return this.#slots.find((slot) =>
      slot.guestAddress === region.guestAddress &&
      slot.userAddress === region.userAddress && slot.size === region.size
    );
  }

  #again(region: MemoryRegion, fd: FdKind): Slot | undefined {
    const known = this.#find(region);
    const same = known?.fd === fd && known.mmapOffset === region.mmapOffset;
    return same ? known : undefined;
  }
}

function isSound(region: MemoryRegion, fd: FdKind): boolean {
  const { guestAddress, size, userAddress, mmapOffset } = region;
  const fileSize = { memory: MEMORY_SIZE, small: SMALL_SIZE }[fd as string];
  if (fileSize === undefined || size === 0) return false;
  if (guestAddress + size >= 2 ** 53 || userAddress + size >= 2 ** 53) {
    return false;
  }
  return mmapOffset % PAGE === 0 && mmapOffset + size <= fileSize;
}

function isApart(
  region: MemoryRegion,
  others: readonly MemoryRegion[],
): boolean {
  return others.every((other) =>
    (["guestAddress", "userAddress"] as const).every((key) =>
      region[key] >= other[key] + other.size ||
      other[key] >= region[key] + region.size
    )
  );
}
