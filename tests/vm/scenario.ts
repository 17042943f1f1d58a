/**
 * What the scenarios share: how they say what they show, a disk image, and the
 * processes around it.
 *
 * @module
 */
import {
  BackEnd,
  type BackEndKind,
  type DiskOptions,
  qemuStorageDaemon,
  ringside,
} from "./back_end.ts";
import { findKernel, findProgram } from "./initramfs.ts";
import type { BootFiles } from "./initramfs.ts";

/**
 * Shows one named fact. `body` rejects when it doesn't hold and resolves with
 * what was seen, for a person to read. The scenario goes on either way.
 */
export type Step = (name: string, body: () => Promise<string>) => Promise<void>;

/** What a scenario runs on. */
export interface Setup {
  /** The program under test. */
  kind: BackEndKind;
  /** What the guests boot from. */
  boot: BootFiles;
  /** How long fio runs, in seconds. */
  fioSeconds: number;
}

/** Engine and plane of ringside; empty leaves the choice to the program. */
export interface Variant {
  /** `io_uring` or `sync`. */
  ioEngine?: string;
  /** `inline` or `worker`. */
  dataPlane?: string;
}

/** The size of the disks in bytes where a scenario has no other. */
export const DISK_SIZE = 128 << 20;

/** Every variant a back-end has. */
export function variantsOf(kind: BackEndKind): Variant[] {
  if (!kind.hasEngines) return [{}];
  return ["io_uring", "sync"].flatMap((ioEngine) =>
    ["inline", "worker"].map((dataPlane) => ({ ioEngine, dataPlane }))
  );
}

/** A variant in the name of a test. */
export function describeVariant({ ioEngine, dataPlane }: Variant): string {
  return [ioEngine, dataPlane].filter((word) => word !== undefined)
    .join(", ") || "as it comes";
}

/** What the guest calls disk number `index`. */
export function diskName(index: number): string {
  return `vd${"abcdefgh"[index]}`;
}

/** The back-end named on the command line or in the environment. */
export function backEndKind(name: string): BackEndKind {
  const found = [ringside, qemuStorageDaemon].find((kind) =>
    kind.name === name
  );
  if (!found) {
    throw new Error(
      `No back-end "${name}", wanted ringside or qemu-storage-daemon`,
    );
  }
  return found;
}

/** What this machine lacks to run a guest, one name each. */
export function missingTools(): string[] {
  const programs = [
    "qemu-system-x86_64",
    "busybox",
    "mkfs.ext4",
    "e2fsck",
    "debugfs",
    "fio",
    "blkdiscard",
    "fallocate",
    "lsblk",
    "ldd",
  ];
  const missing = programs.filter((name) => findProgram(name) === null);
  if (findKernel() === null) missing.push("linux-image-cloud-amd64");
  return missing;
}

/** A directory of a scenario, with what lives in it. Disposing removes all. */
export class Stage implements AsyncDisposable {
  /** The directory. */
  readonly directory: string;
  readonly #backEnds: BackEnd[] = [];

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** An empty stage. */
  static async set(): Promise<Stage> {
    return new Stage(await Deno.makeTempDir({ prefix: "ringside-vm-" }));
  }

  /** Makes a disk image full of random bytes and returns its path. */
  async image(name: string, size = DISK_SIZE): Promise<string> {
    const path = `${this.directory}/${name}.img`;
    using file = await Deno.open(path, { write: true, createNew: true });
    const piece = new Uint8Array(65536);
    for (let at = 0; at < size; at += piece.length) {
      crypto.getRandomValues(piece);
      file.writeSync(piece);
    }
    // Delayed allocation would let the count of blocks grow later on.
    file.syncDataSync();
    return path;
  }

  /** Starts a back-end that ends with the stage. */
  async serve(
    kind: BackEndKind,
    name: string,
    options: Omit<DiskOptions, "socketPath">,
  ): Promise<BackEnd> {
    const socketPath = `${this.directory}/${name}.sock`;
    const backEnd = await BackEnd.start(kind, { ...options, socketPath });
    this.#backEnds.push(backEnd);
    return backEnd;
  }

  /** The same for several, which start beside each other. */
  async serveAll(
    kind: BackEndKind,
    all: readonly (Omit<DiskOptions, "socketPath"> & { name: string })[],
  ): Promise<BackEnd[]> {
    const starts = all.map(({ name, ...options }) =>
      this.serve(kind, name, options)
    );
    // None is left behind that starts while another fails.
    await Promise.allSettled(starts);
    return await Promise.all(starts);
  }

  /** Ends the processes and removes the files. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const backEnd of this.#backEnds) await backEnd[Symbol.asyncDispose]();
    await Deno.remove(this.directory, { recursive: true });
  }
}

/**
 * The SHA-256 of `size` bytes of a file from `offset`, in hexadecimal; of all
 * the rest unless given.
 */
export async function hashFile(
  path: string,
  offset = 0,
  size = Deno.statSync(path).size - offset,
): Promise<string> {
  using file = await Deno.open(path);
  await file.seek(offset, Deno.SeekMode.Start);
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size;) {
    const count = file.readSync(bytes.subarray(at));
    if (count === null) throw new Error(`${path} ends at ${offset + at}`);
    at += count;
  }
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return new Uint8Array(digest).toHex();
}

/** Bytes of a file that take space on its file system. */
export function allocatedBytes(path: string): number {
  // Delayed allocation counts blocks before and after they are written alike,
  // but not holes made since: ask for the truth on the medium.
  using file = Deno.openSync(path);
  file.syncSync();
  return (file.statSync().blocks ?? 0) * 512;
}
