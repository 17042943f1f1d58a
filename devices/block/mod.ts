/**
 * The block device, virtio 1.3 §5.2: a disk from a file or a block device.
 *
 * What the specification leaves open, and what we do:
 *
 * - **Written lengths** are never overstated. A request that fails tells 1
 *   byte where its status is the only writable one, else 0: the status is the
 *   last byte, and what lies before it was perhaps not written.
 * - **A file that became shorter than the disk** fails with IOERR at its end.
 *   Zeros in place of data that is gone would hide the loss.
 * - **Data that the kernel could not write back** is gone, and that is said at
 *   one flush only. So no flush succeeds any more until the server is started
 *   anew, whatever the ring: a guest that has several file systems on the disk
 *   would be told that the data of the others is safe. With O_DIRECT nothing is
 *   in the kernel's hands, and a flush may be tried again.
 * - **The mode of the write cache** outlives a reset and a front-end. QEMU
 *   resets the device whenever it pauses the guest, which does not notice, and
 *   does not tell us the mode again. Until the driver has negotiated, every
 *   write is durable.
 * - **DISCARD is a hint**: where the medium can't, it succeeds. WRITE_ZEROES
 *   writes zeros then. It unmaps only where every segment of it may be unmapped.
 * - **Where the guest moves**, its new disk is in the same mode, and refuses a
 *   guest that knows it as larger, as writable or with other blocks than it is.
 * - **A file that became longer** makes the disk larger, within a second.
 *   Shorter it becomes only where the operator says so.
 * - **With O_DIRECT** buffers of any alignment are served, through a copy where
 *   that must be; parts of a block of the medium are IOERR.
 * - A request without a whole header or without a status byte is given back
 *   with 0 bytes written.
 *
 * @module
 */
import type {
  DataModule,
  Device,
  DeviceControl,
  DeviceDescriptor,
  ResizeRequest,
} from "../../src/device/device.ts";
import {
  formatSize,
  type OptionSpecs,
  type OptionValues,
} from "../../src/device/options.ts";
import { SystemError, UsageError } from "../../src/errors.ts";
import { errnoName } from "../../src/ffi/errno.ts";
import { DiskFile } from "../../src/io/file.ts";
import { shellWord } from "../../src/io/path_error.ts";
import { log } from "../../src/log.ts";
import { ImageClaim } from "./claim.ts";
import { BlockConfig } from "./config.ts";
import {
  FEATURE_NAMES,
  ID_SIZE,
  SECTOR_SIZE,
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_MQ,
  VIRTIO_BLK_F_RO,
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_TOPOLOGY,
  VIRTIO_BLK_F_WRITE_ZEROES,
  VIRTIO_ID_BLOCK,
} from "./protocol.ts";
import { formatRemedy, imageFormat } from "./image_format.ts";
import { Losses } from "./losses.ts";
import { type BlockSeed, type BlockState, open } from "./queue.ts";
import { decodeBlockState, encodeBlockState, type MovedDisk } from "./state.ts";
import { chooseSize, type PresentDisk, SizeWatch } from "./resize.ts";

const OPTIONS = {
  "blk-file": {
    type: "string",
    placeholder: "PATH",
    describe: "The disk image or block device to serve",
  },
  "blk-null": {
    type: "size",
    placeholder: "SIZE",
    min: SECTOR_SIZE,
    max: 2 ** 52,
    describe: "Instead of a file: a disk that does nothing, to measure the " +
      "path to it; reads leave the guest's memory as it was",
  },
  "read-only": {
    type: "boolean",
    describe: "Open the file for reading and refuse writes",
  },
  "direct": {
    type: "boolean",
    describe: "Bypass the host's page cache (O_DIRECT)",
  },
  "shared": {
    type: "boolean",
    describe: "Let others write to the file at the same time: it is not " +
      "locked while the guest uses it",
  },
  "serial": {
    type: "string",
    placeholder: "TEXT",
    describe: "What the guest reads as the serial number, up to 20 bytes",
  },
  // An upper bound: rings that are not started cost nothing, and QEMU, which
  // asks for one ring per CPU, refuses to start where there are fewer.
  "num-queues": {
    type: "number",
    placeholder: "N",
    min: 1,
    max: 1024,
    default: 64,
    describe: "The most virtqueues that the front-end may use",
  },
  "queue-size": {
    type: "number",
    placeholder: "N",
    min: 1,
    max: 32768,
    powerOfTwo: true,
    default: 1024,
    describe: "The largest virtqueue that is accepted",
  },
  "block-size": {
    type: "size",
    placeholder: "SIZE",
    min: 512,
    max: 65536,
    powerOfTwo: true,
    describe: "The logical block size; else 512, or with --direct what the " +
      "medium needs",
  },
  "io-engine": {
    type: "choice",
    choices: ["auto", "io_uring", "sync"],
    default: "auto",
    describe: "How the file is worked on; auto is io_uring where it is " +
      "allowed, else sync",
  },
} as const satisfies OptionSpecs;

type BlockOptions = OptionValues<typeof OPTIONS>;

/** The block device, as the command line finds it. */
export const block: DeviceDescriptor<typeof OPTIONS> = {
  name: "block",
  type: "block",
  virtioId: VIRTIO_ID_BLOCK,
  summary: "A disk from an image file or a block device of the host",
  options: OPTIONS,
  capabilities: ["blk-file", "read-only"],
  open: (options) => Promise.resolve().then(() => new BlockDevice(options)),
};

/** An open disk. */
class BlockDevice implements Device {
  readonly features: bigint;
  readonly featureNames = FEATURE_NAMES;
  readonly queueCount: number;
  readonly queueSizeMax: number;
  readonly config: BlockConfig;
  readonly data: DataModule = { open, url: import.meta.resolve("./queue.ts") };
  readonly seed: BlockSeed;
  readonly usesUring: boolean;
  /** Whatever it does, done twice in a row, is the same as once. */
  readonly resubmits = true;
  readonly #file: DiskFile | null;
  readonly #claim: ImageClaim | null;
  readonly #blockSize: number;
  readonly #losses = new Losses();
  #control: DeviceControl | null = null;
  #watch: SizeWatch | null = null;
  /** One change of the size after the other. */
  #resized: Promise<unknown> = Promise.resolve();
  #negotiated = 0n;
  #writethrough = true;

  constructor(options: BlockOptions) {
    const id = serialBytes(options.serial ?? "");
    const file = openFile(options);
    this.#file = file;
    this.#claim = file === null || file.readOnly || options.shared
      ? null
      : new ImageClaim(file);
    try {
      const blockSize = chooseBlockSize(options, file);
      const size = file?.size ?? options["blk-null"]!;
      const format = file === null ? "" : imageFormat(file);
      checkSize(file, size, blockSize, format);
      if (format !== "") {
        log.warn(
          `The guest gets ${file!.path} byte by byte: ` +
            formatRemedy(file!, format),
        );
      }
      this.#blockSize = blockSize;
      this.usesUring = options["io-engine"] !== "sync";
      this.queueCount = options["num-queues"];
      this.queueSizeMax = options["queue-size"];
      const readOnly = options["read-only"];
      this.features = offeredFeatures(readOnly);
      this.seed = {
        engine: options["io-engine"],
        file: file && {
          fd: file.fd.number,
          path: file.path,
          direct: options.direct,
          losses: this.#losses.memory,
        },
        sectors: size / SECTOR_SIZE,
        readOnly,
        alignment: file?.alignment ?? 1,
        memoryAlignment: file?.memoryAlignment ?? 1,
        id,
      };
      this.config = new BlockConfig({
        sectors: size / SECTOR_SIZE,
        blockSize,
        physicalBlockSize: physicalBlockSize(file, blockSize),
        queueCount: this.queueCount,
        queueSizeMax: this.queueSizeMax,
        readOnly,
      });
    } catch (error) {
      this.#file?.[Symbol.dispose]();
      throw error;
    }
  }

  attach(control: DeviceControl): void {
    this.#control = control;
    if (this.#file === null) return;
    this.#watch = new SizeWatch(this.#file, () => this.#follow());
  }

  async negotiated(features: bigint): Promise<void> {
    this.#negotiated = features;
    const canSwitch = (features & VIRTIO_BLK_F_CONFIG_WCE) !== 0n;
    const canFlush = (features & VIRTIO_BLK_F_FLUSH) !== 0n;
    // §5.2.5.2: who can't flush starts with the cache off.
    if (canSwitch && !canFlush) this.config.writeback = false;
    await this.#applyCacheMode();
  }

  // There is no `reset`: `writeback` outlives it. QEMU resets the device
  // whenever it pauses the guest, which does not notice, and does not tell us
  // the value again; nor would the guest learn of a change.

  async configWritten(): Promise<void> {
    await this.#applyCacheMode();
  }

  async claim(signal: AbortSignal): Promise<void> {
    await this.#claim?.take(signal);
  }

  release(): void {
    this.#claim?.release();
  }

  saveState(): Promise<Uint8Array> {
    return Promise.resolve(encodeBlockState(this.#moved));
  }

  async loadState(state: Uint8Array): Promise<void> {
    const present = this.#moved;
    const moved = decodeBlockState(state, present);
    this.config.writeback = moved.writeback;
    await this.#applyCacheMode();
    // It is larger here: the guest is told once it runs.
    if (moved.sectors < present.sectors) this.#control?.configChanged();
  }

  resize(wanted: ResizeRequest): Promise<number> {
    const resized = this.#resized.then(() => this.#resize(wanted));
    this.#resized = resized.catch(() => {});
    return resized;
  }

  close(): Promise<void> {
    this.#watch?.[Symbol.dispose]();
    const file = this.#file;
    if (file === null) return Promise.resolve();
    const failure = this.seed.readOnly ? 0 : -file.dataSync();
    file[Symbol.dispose]();
    return failure === 0
      ? Promise.resolve()
      : Promise.reject(syncError(failure, file.path));
  }

  /** The file became longer: so does the disk, by whole blocks. */
  async #follow(): Promise<void> {
    const size = this.#file!.size;
    if (size - size % this.#blockSize <= this.#present.size) return;
    await this.resize({ size: null, shrink: false });
  }

  get #moved(): MovedDisk {
    return {
      sectors: this.config.sectors,
      blockSize: this.#blockSize,
      readOnly: this.seed.readOnly,
      writeback: this.config.writeback,
    };
  }

  get #present(): PresentDisk {
    return {
      name: this.#file?.path ?? "The disk",
      file: this.#file,
      size: this.config.sectors * SECTOR_SIZE,
      blockSize: this.#blockSize,
    };
  }

  /** No request may be taken on beyond the end of the file, before or after. */
  async #resize(wanted: ResizeRequest): Promise<number> {
    const file = this.#file;
    const { name, size: before } = this.#present;
    const size = chooseSize(this.#present, wanted);
    if (file !== null && size > file.size) file.truncate(size);
    const state: BlockState = { sectors: size / SECTOR_SIZE };
    await this.#control?.update(state);
    const cuts = size < before && wanted.size !== null;
    if (cuts && file !== null && !file.isBlockDevice) file.truncate(size);
    if (size === before) return size;
    this.config.sectors = size / SECTOR_SIZE;
    this.#control?.configChanged();
    log.info(`${name} has ${size} bytes now, ${before} before`);
    return size;
  }

  /** Brings the data side into the mode that the driver chose. */
  async #applyCacheMode(): Promise<void> {
    const features = this.#negotiated;
    const writethrough = (features & VIRTIO_BLK_F_CONFIG_WCE) !== 0n
      ? !this.config.writeback
      : (features & VIRTIO_BLK_F_FLUSH) === 0n;
    if (writethrough === this.#writethrough) return;
    this.#writethrough = writethrough;
    const state: BlockState = { writethrough };
    await this.#control?.update(state);
    // What was answered before is only in the cache.
    if (!writethrough || this.#file === null) return;
    const failure = -this.#file.dataSync();
    if (failure === 0) return;
    this.#losses.note();
    throw syncError(failure, this.#file.path);
  }
}

function offeredFeatures(readOnly: boolean): bigint {
  const always = VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE |
    VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_TOPOLOGY | VIRTIO_BLK_F_CONFIG_WCE |
    VIRTIO_BLK_F_MQ;
  return always |
    (readOnly
      ? VIRTIO_BLK_F_RO
      : VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES);
}

function openFile(options: BlockOptions): DiskFile | null {
  const path = options["blk-file"];
  if ((path === undefined) === (options["blk-null"] === undefined)) {
    throw new UsageError(
      path === undefined
        ? "There is no disk to serve: give --blk-file PATH or --blk-null SIZE"
        : "There are --blk-file and --blk-null: leave one of them out",
    );
  }
  if (path === undefined) return null;
  const { "read-only": readOnly, direct } = options;
  return DiskFile.open(path, { readOnly, direct });
}

function chooseBlockSize(
  options: BlockOptions,
  file: DiskFile | null,
): number {
  const needed = Math.max(SECTOR_SIZE, file?.alignment ?? 1);
  const wanted = options["block-size"] ?? needed;
  if (wanted >= needed) return wanted;
  throw new UsageError(
    `--block-size is ${wanted}, and --direct needs multiples of ${needed} on ` +
      `${file!.path}: give --block-size ${needed}, or leave out --direct`,
  );
}

function checkSize(
  file: DiskFile | null,
  size: number,
  blockSize: number,
  format: string,
): void {
  const name = file?.path ?? "--blk-null";
  if (size === 0) {
    throw new UsageError(`${name} is empty: ${sizeRemedy(file, "1G")}`);
  }
  const rest = size % blockSize;
  if (rest === 0) return;
  const next = size - rest + blockSize;
  const remedy = file === null
    ? `give --blk-null ${formatSize(next)}`
    : format !== ""
    ? formatRemedy(file, format)
    : sizeRemedy(file, String(next));
  throw new UsageError(
    `${name} has ${size} ${size === 1 ? "byte" : "bytes"}, wanted a multiple ` +
      `of the block size ${blockSize}: ${remedy}`,
  );
}

/** How to make `file` so long; one that can't be made longer is the wrong one. */
function sizeRemedy(file: DiskFile | null, size: string): string {
  return file === null || file.readOnly || file.isBlockDevice
    ? "name another disk"
    : `make it longer with truncate -s ${size} ${shellWord(file.path)}`;
}

/** What the medium likes to write, in a unit that the topology can express. */
function physicalBlockSize(file: DiskFile | null, blockSize: number): number {
  const liked = file?.physicalBlockSize ?? blockSize;
  const isPowerOfTwo = (liked & (liked - 1)) === 0;
  return isPowerOfTwo && liked > blockSize && liked <= 1 << 20
    ? liked
    : blockSize;
}

function serialBytes(serial: string): Uint8Array {
  const text = new TextEncoder().encode(serial);
  if (text.length > ID_SIZE) {
    throw new UsageError(
      `--serial has ${text.length} bytes, wanted ${ID_SIZE} at most: shorten it`,
    );
  }
  const bytes = new Uint8Array(ID_SIZE);
  bytes.set(text);
  return bytes;
}

function syncError(failure: number, path: string): SystemError {
  return new SystemError("fdatasync", failure, {
    path,
    code: errnoName(failure),
    remedy: "writes may be lost, check the medium",
  });
}
