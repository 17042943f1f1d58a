/**
 * The example of docs/adding_a_device.md: an entropy device.
 *
 * @module
 */
import {
  ConfigSpace,
  type DataDevice,
  type DeviceDescriptor,
  type OptionSpecs,
} from "@ringside/ringside/device";

const OPTIONS = {
  "max-bytes": {
    type: "size",
    placeholder: "SIZE",
    min: 1,
    max: 65536,
    default: 256,
    describe: "The most bytes that one request gets",
  },
} as const satisfies OptionSpecs;

/** What the data side is opened with. */
interface EntropySeed {
  readonly maxBytes: number;
}

/** An entropy device, virtio 1.3 §5.4. */
export const entropy: DeviceDescriptor<typeof OPTIONS> = {
  name: "entropy",
  type: "rng",
  virtioId: 4,
  summary: "Random bytes from the host",
  options: OPTIONS,
  capabilities: [],
  open: (options) =>
    Promise.resolve({
      features: 0n,
      queueCount: 1,
      queueSizeMax: 1024,
      config: new ConfigSpace(0),
      data: { open, url: import.meta.url },
      seed: { maxBytes: options["max-bytes"] } satisfies EntropySeed,
      close: () => Promise.resolve(),
    }),
};

/** Opens the data side on one thread. */
export function open(seed: unknown): DataDevice {
  const bytes = new Uint8Array((seed as EntropySeed).maxBytes);
  return {
    drain(queue): void {
      while (queue.pop()) {
        const { head, writer } = queue.chain;
        crypto.getRandomValues(bytes);
        queue.push(head, writer.writeBytes(bytes));
      }
    },
  };
}
