import { assertEquals, assertThrows } from "@std/assert";
import { VIRTIO_F_RING_PACKED } from "../device/features.ts";
import { DriverMemory } from "../testing/driver_memory.ts";
import { PackedDriver } from "../testing/packed_driver.ts";
import { VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_USED } from "../virtqueue/layout.ts";
import { CheckSession } from "./check_session.ts";
import { GuestRing, type RingOwner } from "./guest_ring.ts";
import { Target } from "./target.ts";
import { CheckFailure } from "./verdict.ts";

for (const kind of ["split", "packed"] as const) {
  Deno.test(`what a back-end gives back that it does not have is a failure of it (${kind})`, () => {
    const options = { socketPath: "", device: "rng", ring: kind } as const;
    const features = kind === "packed" ? VIRTIO_F_RING_PACKED : 0n;
    const config = new Uint8Array(0);
    const facts = { features, protocolFeatures: 0n, queueCount: 1, config };
    using run = new CheckSession(new Target(options, facts), 1000);
    using memory = DriverMemory.plain(1 << 16);
    using ring = new GuestRing(
      { run, memory, features, workload: {} } as unknown as RingOwner,
      0,
      {},
    );
    assertEquals(ring.collect(), 0);
    if (ring.driver instanceof PackedDriver) {
      const flags = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;
      ring.driver.rawDescriptor(0, { flags, next: 7 });
    } else ring.split.rawUsedIndex(1);
    assertThrows(() => ring.collect(), CheckFailure, "Ring 0");
  });
}
