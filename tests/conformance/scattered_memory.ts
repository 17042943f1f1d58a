/**
 * The memory of a driver as a device behind an IOMMU finds it: page by page, no
 * two of them adjacent.
 *
 * @module
 */
import { GuestMemory } from "../../src/memory/guest_memory.ts";
import { Iotlb, IOTLB_READ, IOTLB_WRITE } from "../../src/memory/iotlb.ts";
import { IovaMemory } from "../../src/memory/iova_memory.ts";
import type { DirtyLog } from "../../src/memory/dirty_log.ts";
import type { DriverMemory } from "../../src/testing/mod.ts";

const PAGE = 4096;
/** Prime to the number of pages: it visits all of them. */
const STRIDE = 7;

/** Every page of `memory` and where the device finds it. */
export interface ScatteredPage {
  /** Where the driver thinks that it is: its I/O virtual address. */
  readonly iova: number;
  /** Where it is in the guest. */
  readonly guestAddress: number;
  readonly userAddress: number;
  readonly hostAddress: number;
}

/** The pages of `memory`, which is shared and of 2^n pages a region. */
export function scatteredPages(memory: DriverMemory): ScatteredPage[] {
  return memory.regions.flatMap((region, index) => {
    const count = region.size / PAGE;
    // Twice the room, so that there is a hole behind each page.
    const base = 2 * PAGE * count * index;
    return Array.from({ length: count }, (_, i) => ({
      iova: region.guestAddress + i * PAGE,
      guestAddress: base + 2 * PAGE * ((i * STRIDE) % count),
      userAddress: region.userAddress + i * PAGE,
      hostAddress: region.hostAddress + i * PAGE,
    }));
  });
}

/** The memory that consists of `pages`, all of them mapped. */
export function scatteredMemory(
  pages: readonly ScatteredPage[],
  log: DirtyLog | null = null,
): IovaMemory {
  const regions = pages.map(({ guestAddress, userAddress, hostAddress }) => ({
    guestAddress,
    userAddress,
    hostAddress,
    size: PAGE,
  }));
  const base = new GuestMemory({ generation: 1, regions });
  base.log = log;
  const iotlb = new Iotlb(base);
  for (const { iova, userAddress } of pages) {
    iotlb.update(iova, PAGE, userAddress, IOTLB_READ | IOTLB_WRITE);
  }
  return new IovaMemory(base, iotlb);
}
