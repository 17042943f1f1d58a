/**
 * The driver's end of a ring of a fake driver that makes no garbage, so that
 * what V8 says is of the device.
 *
 * @module
 */
import type { LoadRing, LoadSegment } from "../../src/load/load_ring.ts";
import { PackedLoadRing } from "../../src/load/packed_ring.ts";
import { SplitLoadRing } from "../../src/load/split_ring.ts";
import {
  type FakeDriver,
  PackedDriver,
  RING_KINDS,
  type RingKind,
} from "../../src/testing/mod.ts";

/** What is posted again and again on ring `index`, a request a slot. */
export function hotRing(
  fake: FakeDriver,
  index: number,
  requests: readonly (readonly LoadSegment[])[],
): LoadRing {
  const { ring } = fake.rings[index]!;
  const options = {
    size: ring.size,
    slots: requests.map((segments) => [segments]),
    eventIndex: true,
    indirect: false,
    areas: ring,
  };
  return ring instanceof PackedDriver
    ? new PackedLoadRing(fake.memory, options)
    : new SplitLoadRing(fake.memory, options);
}

/** The kind of rings called `name`. */
export function kindNamed(name = "split"): RingKind {
  return RING_KINDS.find((kind) => kind.name === name)!;
}
