/**
 * A device whose data side has a defect.
 *
 * @module
 */
import type { DataDevice } from "../../src/device/device.ts";

export function open(): DataDevice {
  return {
    drain(): void {
      throw new Error("This device is broken on purpose");
    },
  };
}
