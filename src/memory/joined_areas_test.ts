import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Mapping } from "../ffi/mapping.ts";
import { createMemfd } from "../io/memfd.ts";
import { GuestMemory } from "./guest_memory.ts";
import { Iotlb, IOTLB_READ, IOTLB_WRITE } from "./iotlb.ts";
import { IovaMemory } from "./iova_memory.ts";

const PAGE = 4096;
const PAGES = 8;
/** Where the memory is in the front-end, and the ring for the driver. */
const USER = 0x7000_0000;
const IOVA = 0x10_0000;

/** Shared memory of 8 pages behind an IOMMU, in regions of 4 pages. */
function scene(): { iotlb: Iotlb; memory: IovaMemory; mapping: Mapping } {
  using fd = createMemfd("joined-areas-test", PAGES * PAGE);
  const mapping = Mapping.shared(fd.number, PAGES * PAGE, 0);
  const regions = [0, 4].map((page) => ({
    guestAddress: 0x9_0000_0000 - page * PAGE * 16,
    size: 4 * PAGE,
    userAddress: USER + page * PAGE,
    hostAddress: mapping.address + page * PAGE,
  }));
  const base = new GuestMemory({ generation: 1, regions });
  const iotlb = new Iotlb(base);
  return { iotlb, memory: new IovaMemory(base, iotlb), mapping };
}

/** Maps page `i` of the driver to page `order[i]` of the memory. */
function mapPages(iotlb: Iotlb, order: readonly number[]): void {
  for (const [i, page] of order.entries()) {
    const both = IOTLB_READ | IOTLB_WRITE;
    iotlb.update(IOVA + i * PAGE, PAGE, USER + page * PAGE, both);
  }
}

function joinsLeft(): number {
  return Deno.readTextFileSync("/proc/self/maps").split("\n")
    .filter((line) => line.includes("memfd:joined-areas-test")).length;
}

Deno.test("pages from all over the memory are one area, and stay the guest's", () => {
  const { iotlb, memory, mapping } = scene();
  using _ = mapping;
  const order = [6, 1, 2, 0, 7, 3];
  mapPages(iotlb, order);
  const area = memory.join(IOVA + 16, 6 * PAGE - 16);
  assert(typeof area !== "string", area as string);
  assertEquals(area.length, 6 * PAGE - 16);
  const bytes = new Uint8Array(mapping.buffer);
  for (const [i, page] of order.entries()) {
    // The area starts 16 bytes into the first page.
    const at = i * PAGE - 16;
    bytes[page * PAGE + 20] = 10 + i;
    assertEquals(area[at + 20], 10 + i, `page ${i}`);
    area[at + 32] = 50 + i;
    assertEquals(bytes[page * PAGE + 32], 50 + i, `page ${i}`);
  }
  memory.release();
  assertEquals(area.length, 0, "who is late finds nothing");
});

Deno.test("nothing is left of an area that is given up", () => {
  const { iotlb, memory, mapping } = scene();
  mapPages(iotlb, [3, 2, 1, 0]);
  for (let i = 0; i < 100; i++) {
    assert(memory.join(IOVA, 4 * PAGE) instanceof Uint8Array);
    memory.release();
  }
  mapping[Symbol.dispose]();
  assertEquals(joinsLeft(), 0);
});

Deno.test("pages that are not whole, or not there, are not joined", () => {
  const { iotlb, memory, mapping } = scene();
  using _ = mapping;
  mapPages(iotlb, [3, 1]);
  const reason = "in pages that are whole";
  const gone = memory.join(IOVA, 3 * PAGE);
  assertStringIncludes(gone as string, reason);
  // Half a page of the driver's is in the middle of one of the guest's.
  iotlb.update(IOVA + PAGE, PAGE, USER + 5 * PAGE + 512, IOTLB_READ);
  const odd = memory.join(IOVA, 2 * PAGE);
  assertStringIncludes(odd as string, reason);
  iotlb.invalidate(IOVA + PAGE, PAGE);
  iotlb.update(IOVA + PAGE, 512, USER + 5 * PAGE, IOTLB_READ);
  const short = memory.join(IOVA, PAGE + 512);
  assertStringIncludes(short as string, reason);
  assertEquals(joinsLeft(), 1);
});

Deno.test("memory that is not shared can't be joined, and says so", () => {
  using mapping = Mapping.anonymous(4 * PAGE);
  const base = new GuestMemory({
    generation: 1,
    regions: [{
      guestAddress: 0,
      size: 4 * PAGE,
      userAddress: USER,
      hostAddress: mapping.address,
    }],
  });
  const iotlb = new Iotlb(base);
  const memory = new IovaMemory(base, iotlb);
  mapPages(iotlb, [2, 0]);
  const failure = memory.join(IOVA, 2 * PAGE);
  assertStringIncludes(failure as string, "EINVAL");
});
