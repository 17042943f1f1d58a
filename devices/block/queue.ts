// Data plane: the block device on one thread.
/**
 * @module
 */
import type { DataDevice, DataPlaneServices } from "../../src/device/device.ts";
import { UsageError } from "../../src/errors.ts";
import { duplicateFd } from "../../src/io/fd.ts";
import { DiskFile } from "../../src/io/file.ts";
import type { UringConsumer } from "../../src/io/io_uring.ts";
import { log } from "../../src/log.ts";
import type { Virtqueue } from "../../src/virtqueue/virtqueue.ts";
import type { Engine } from "./engine.ts";
import { NullEngine } from "./engine_null.ts";
import { SyncEngine } from "./engine_sync.ts";
import { UringEngine } from "./engine_uring.ts";
import { FlushFiles } from "./flush_files.ts";
import { Losses } from "./losses.ts";
import type { DiskLimits } from "./request.ts";
import { BlockRing } from "./ring.ts";

/** What the control side opens the data side with. */
export interface BlockSeed extends DiskLimits {
  /** As `--io-engine`. */
  readonly engine: "auto" | "io_uring" | "sync";
  /** The file, or null for the disk that does nothing. */
  readonly file: BlockFile | null;
}

/** The open file of a disk. */
export interface BlockFile {
  /** Its descriptor, which the control side owns. */
  readonly fd: number;
  /** For messages. */
  readonly path: string;
  /** Whether it is open with O_DIRECT. */
  readonly direct: boolean;
  /** The memory of the {@linkcode Losses}. */
  readonly losses: SharedArrayBuffer;
}

/** What the control side sends later: that of it which changes. */
export interface BlockState {
  /** Every write must be on the medium before it is answered. */
  readonly writethrough?: boolean;
  /** The disk was resized. */
  readonly sectors?: number;
}

/** Opens the data side from a {@linkcode BlockSeed}. */
export function open(seed: unknown, services: DataPlaneServices): DataDevice {
  return new BlockRings(seed as BlockSeed, services);
}

class BlockRings implements DataDevice {
  readonly #seed: BlockSeed;
  /** Of all rings of this thread. */
  readonly #disk: DiskLimits;
  readonly #services: DataPlaneServices;
  readonly #file: DiskFile | null;
  /** What io_uring is given for the file, once one is asked for. */
  #registered: number | null = null;
  /** By ring index. */
  readonly #flushFiles: FlushFiles[] = [];
  /** Of what is in the page cache; null where nothing is. */
  readonly #losses: Losses | null;
  /** By ring index, kept from one start to the next. */
  readonly #rings: BlockRing[] = [];
  /** Until the driver has said whether it knows how to flush. */
  #writethrough = true;

  constructor(seed: BlockSeed, services: DataPlaneServices) {
    this.#seed = seed;
    this.#disk = {
      sectors: seed.sectors,
      readOnly: seed.readOnly,
      alignment: seed.alignment,
      memoryAlignment: seed.memoryAlignment,
      id: seed.id,
    };
    this.#services = services;
    const hasCache = seed.file !== null && !seed.file.direct;
    this.#losses = hasCache ? new Losses(seed.file.losses) : null;
    if (seed.file !== null) checkEngine(seed.engine, services);
    this.#file = seed.file === null ? null : openFile(seed.file, seed.readOnly);
  }

  start(queue: Virtqueue): void {
    const known = this.#rings[queue.index];
    if (known === undefined) this.#rings[queue.index] = this.#openRing(queue);
    else known.restart(queue);
    this.#flushFiles[queue.index]?.open();
  }

  stop(queue: Virtqueue): void {
    this.#flushFiles[queue.index]?.[Symbol.dispose]();
  }

  drain(queue: Virtqueue): void {
    this.#rings[queue.index]!.drain();
  }

  update(state: unknown): void {
    const { writethrough, sectors } = state as BlockState;
    if (sectors !== undefined) this.#disk.sectors = sectors;
    if (writethrough === undefined) return;
    this.#writethrough = writethrough;
    this.#rings.forEach((ring) => ring.writethrough = writethrough);
  }

  [Symbol.dispose](): void {
    this.#rings.forEach((ring) => ring[Symbol.dispose]());
    if (this.#registered !== null) {
      this.#services.uring?.unregisterFile(this.#registered);
    }
    this.#flushFiles.forEach((files) => files[Symbol.dispose]());
    this.#file?.[Symbol.dispose]();
  }

  #openRing(queue: Virtqueue): BlockRing {
    const ring = new BlockRing(
      queue,
      this.#disk,
      this.#services,
      (consumer) => this.#openEngine(queue.index, consumer),
      this.#losses,
    );
    ring.writethrough = this.#writethrough;
    return ring;
  }

  #openEngine(index: number, consumer: UringConsumer): Engine {
    const file = this.#file;
    if (file === null) return new NullEngine();
    const uring = this.#seed.engine === "sync" ? null : this.#services.uring;
    if (uring !== null) this.#registered ??= uring.registerFile(file.fd.number);
    const fd = this.#registered ?? file.fd.number;
    const flushes = new FlushFiles(file, fd, this.#losses !== null);
    this.#flushFiles[index] = flushes;
    return uring === null
      ? new SyncEngine(file, flushes)
      : new UringEngine(uring, fd, flushes.fds, consumer);
  }
}

function openFile(file: BlockFile, readOnly: boolean): DiskFile {
  const fd = duplicateFd(file.fd);
  try {
    return DiskFile.fromFd(fd, file.path, { readOnly, direct: file.direct });
  } catch (error) {
    fd.close();
    throw error;
  }
}

function checkEngine(
  engine: BlockSeed["engine"],
  services: DataPlaneServices,
): void {
  if (engine === "sync" || services.uring !== null) return;
  if (engine === "io_uring") {
    throw new UsageError(
      "--io-engine is io_uring, which this host does not allow: " +
        "use --io-engine auto, or see sysctl kernel.io_uring_disabled and the " +
        "seccomp profile of the container",
    );
  }
  log.warnOnce(
    "The disk is served by blocking system calls, because there is no " +
      "io_uring here; --io-engine sync says that this is meant",
  );
}
