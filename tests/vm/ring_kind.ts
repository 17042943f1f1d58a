/**
 * Which kind of rings a guest's devices have.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Guest } from "./guest.ts";
import type { BootFiles } from "./initramfs.ts";
import type { Step } from "./scenario.ts";

/** VIRTIO_F_RING_PACKED, which is a character of the file. */
const RING_PACKED = 34;

/**
 * Shows that all devices of virtio number `type` have the rings that were asked
 * for: split ones, unless `boot` says otherwise.
 */
export async function showRingKind(
  step: Step,
  guest: Guest,
  boot: BootFiles,
  type: number,
): Promise<void> {
  const wanted = boot.packed === true;
  await step(`rings are ${wanted ? "packed" : "split"}`, async () => {
    const id = type.toString(16).padStart(4, "0");
    const lines = (await guest.output(`
      cd /sys/bus/virtio/devices
      for device in *; do
        [ "$(cat $device/device)" = 0x${id} ] && cat $device/features
      done
      true
    `)).split("\n");
    const packed = lines.filter((bits) => bits[RING_PACKED] === "1");
    assertEquals(packed.length, wanted ? lines.length : 0, lines.join());
    return `those of ${lines.length} devices`;
  });
}

/** Shows that the guest's `disk` has the rings that were asked for. */
export async function showDiskRings(
  step: Step,
  guest: Guest,
  disk: string,
  wanted: boolean,
): Promise<void> {
  const kind = wanted ? "packed" : "split";
  await step(`rings of ${disk} are ${kind}`, async () => {
    const bits = await guest.output(`cat /sys/block/${disk}/device/features`);
    assertEquals(bits[RING_PACKED] === "1", wanted, bits);
    return bits;
  });
}
