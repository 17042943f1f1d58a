import { assertEquals } from "@std/assert";
import { featureNames, RING_FEATURES } from "./features.ts";

Deno.test("features are named, others counted", () => {
  assertEquals(featureNames(0n), []);
  assertEquals(featureNames((1n << 63n) | (1n << 9n) | RING_FEATURES), [
    "bit 9",
    "INDIRECT_DESC",
    "EVENT_IDX",
    "VERSION_1",
    "RING_PACKED",
    "NOTIFICATION_DATA",
    "bit 63",
  ]);
  assertEquals(featureNames(3n | RING_FEATURES, { MINE: 2n }).slice(0, 2), [
    "bit 0",
    "MINE",
  ]);
});
