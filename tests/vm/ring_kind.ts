/**
 * Which kind of rings a guest's devices have.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Guest } from "./guest.ts";
import type { Step } from "./scenario.ts";

/** VIRTIO_F_RING_PACKED, which is a character of the file. */
const RING_PACKED = 34;
/** VIRTIO_F_RING_RESET: QEMU would keep a reset of a ring to itself. */
const RING_RESET = 40;

/** Rings as the names of tests have them. */
export function describeRings(packed: boolean): string {
  return packed ? "packed" : "split";
}

/**
 * Shows that the device at `path`, as `/sys/block/vda/device`, has the rings that
 * were asked for.
 */
export async function showRings(
  step: Step,
  guest: Guest,
  path: string,
  packed: boolean,
): Promise<void> {
  const name = path.replace(/^\/sys\/|\/device$/g, "");
  await step(`rings of ${name} are ${describeRings(packed)}`, async () => {
    const bits = await guest.output(`cat ${path}/features`);
    assertEquals(bits[RING_PACKED] === "1", packed, bits);
    assertEquals(bits[RING_RESET], "0", bits);
    return bits;
  });
}
