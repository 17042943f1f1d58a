/**
 * A small entropy device that is wrong in one way.
 *
 * @module
 */
import {
  ConfigSpace,
  type DataDevice,
  type Device,
} from "../../../src/device/mod.ts";

/** What is wrong with it. */
export type RngDefect =
  | "none"
  | "same bytes"
  | "few bits"
  | "nothing written"
  | "less told"
  | "more told";

let current: RngDefect = "none";

/** An entropy device with `defect`. */
export function wrongRng(defect: RngDefect): Device {
  current = defect;
  return {
    features: 0n,
    queueCount: 1,
    queueSizeMax: 1024,
    config: new ConfigSpace(0),
    data: { open, url: import.meta.url },
    seed: null,
    usesUring: false,
    close: () => Promise.resolve(),
  };
}

/** Opens the data side. */
export function open(): DataDevice {
  const defect = current;
  return {
    drain(queue): void {
      while (queue.pop()) {
        const { head, writer } = queue.chain;
        const bytes = new Uint8Array(Math.min(writer.remaining, 65536));
        if (defect === "same bytes") bytes.fill(0x5a);
        else crypto.getRandomValues(bytes);
        if (defect === "few bits") bytes.forEach((b, i) => bytes[i] = b & 0x7f);
        if (defect === "nothing written") queue.push(head, 0);
        else if (defect === "more told") queue.push(head, bytes.length);
        else {
          const written = writer.writeBytes(bytes);
          queue.push(head, defect === "less told" ? written >> 1 : written);
        }
      }
    },
  };
}
