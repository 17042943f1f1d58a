/**
 * The entropy device, virtio 1.3 §5.4: random bytes for the guest.
 *
 * What the specification leaves open, and what we do:
 *
 * - **A request gets 64 KiB at most**, and less behind others or at the end of a
 *   budget: §5.4.6.2 lets a device use less of a buffer than there is. The length
 *   tells.
 * - **A request without a writable byte** is given back with 0.
 * - **Beyond the budget**, or while a source has nothing, requests wait in the
 *   ring, in order. They are in nobody's hands: the ring can be stopped.
 * - **A source that ends** (or fails) is said in the log, and requests wait:
 *   a buffer that is given back has at least one random byte, says the
 *   specification, and reading the file once more would repeat its numbers.
 *   When the driver starts anew, the source is tried again where it was.
 *
 * @module
 */
import type {
  DataModule,
  Device,
  DeviceDescriptor,
} from "../../src/device/device.ts";
import { ConfigSpace } from "../../src/device/config_space.ts";
import type { OptionSpecs, OptionValues } from "../../src/device/options.ts";
import { UsageError } from "../../src/errors.ts";
import { ByteSource } from "../../src/io/byte_source.ts";
import { VIRTIO_ID_ENTROPY } from "./protocol.ts";
import { open, type RngSeed } from "./queue.ts";

const OPTIONS = {
  "source": {
    type: "string",
    placeholder: "PATH",
    describe: "The file, FIFO or character device to read; else the kernel's " +
      "own random numbers",
  },
  "max-bytes": {
    type: "size",
    placeholder: "SIZE",
    min: 1,
    describe: "The most bytes that the guest gets in a period; else any number",
  },
  "period": {
    type: "number",
    placeholder: "MS",
    min: 1,
    max: 2 ** 32 - 1,
    describe: "The period of --max-bytes in milliseconds; else 1000",
  },
} as const satisfies OptionSpecs;

const PERIOD_MS = 1000;

/** The entropy device, as the command line finds it. */
export const rng: DeviceDescriptor<typeof OPTIONS> = {
  name: "rng",
  type: "rng",
  virtioId: VIRTIO_ID_ENTROPY,
  summary: "Random bytes from the host's kernel or from a file",
  options: OPTIONS,
  capabilities: [],
  open: (options) => Promise.resolve().then(() => new RngDevice(options)),
};

/** An open entropy device. */
class RngDevice implements Device {
  readonly features = 0n;
  readonly queueCount = 1;
  readonly queueSizeMax = 1024;
  readonly config: ConfigSpace = new ConfigSpace(0);
  readonly data: DataModule = { open, url: import.meta.resolve("./queue.ts") };
  readonly seed: RngSeed;
  /** Other random bytes are as good. */
  readonly resubmits = true;
  // Nothing that it does takes time.
  readonly usesUring = false;
  readonly #source: ByteSource | null;

  constructor(options: OptionValues<typeof OPTIONS>) {
    const { source: path, "max-bytes": maxBytes, period } = options;
    if (period !== undefined && maxBytes === undefined) {
      throw new UsageError(
        "There is a --period without --max-bytes: " +
          "say how many bytes the guest gets in it, or leave it out",
      );
    }
    const source = path === undefined ? null : ByteSource.open(path);
    this.#source = source;
    this.seed = {
      source: source && {
        fd: source.fd.number,
        path: path!,
        isWatchable: source.isWatchable(),
      },
      maxBytes: maxBytes ?? null,
      periodMs: period ?? PERIOD_MS,
    };
  }

  close(): Promise<void> {
    this.#source?.[Symbol.dispose]();
    return Promise.resolve();
  }
}
