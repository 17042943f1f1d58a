/**
 * A back-end process that is to survive: what a hostile front-end or driver
 * does to it, and how it is afterwards.
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { Reactor } from "../../../src/io/reactor.ts";
import {
  BlockConnection,
  type BlockConnectionOptions,
} from "../../../src/testing/block_connection.ts";
import type { DriverRegionSpec } from "../../../src/testing/driver_memory.ts";
import { NackError } from "../../../src/vhost_user/frontend.ts";
import {
  BackEnd,
  type BackEndKind,
  type DiskOptions,
  type Holdings,
  ringside,
} from "../../vm/back_end.ts";
import { eventually, withDeadline } from "../../vm/deadline.ts";

/** Where the rings may run. */
export const PLANES = ["inline", "worker"] as const;

/** Nothing that a back-end owes takes this long. */
export const PATIENCE_MS = 20_000;

const MIB = 1 << 20;
/** Bytes of a block of the disk. */
export const BLOCK_SIZE = 4096;
/** The disk, in blocks. */
export const BLOCKS = 16 * MIB / BLOCK_SIZE;
/** From here on hostile requests may write; what is before must never change. */
export const FIRST_SCRATCH_BLOCK = BLOCKS / 2;

/** Where the regions of {@linkcode REGIONS} are: for rings, headers, payload. */
export const RINGS_AT = 0x1_0000;
/** Adjacent to the region of the rings. */
export const PAYLOAD_AT = RINGS_AT + 4 * MIB;
/** Behind a hole. */
export const SPARE_AT = 0x4000_0000;

/** Memory in three regions, the first two adjacent. */
export const REGIONS: readonly DriverRegionSpec[] = [
  { guestAddress: RINGS_AT, size: 4 * MIB },
  { guestAddress: PAYLOAD_AT, size: 4 * MIB, shrinkable: true },
  { guestAddress: SPARE_AT, size: 4 * MIB },
];

/** What block `index` of the disk holds from the start. */
export function blockOf(index: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(BLOCK_SIZE).fill(1 + index % 251);
}

/** The first sector of block `index`. */
export function sectorOf(index: number): number {
  return index * BLOCK_SIZE / 512;
}

/** How a target is started. */
export interface TargetOptions {
  /** `inline` or `worker`. */
  dataPlane: string;
  /** As `--io-engine`. */
  ioEngine?: string;
  /** Of the disk, in bytes: what follows the known blocks is a hole. */
  size?: number;
  /** More arguments, as `--direct`. */
  more?: readonly string[];
}

function ringsideWith(more: readonly string[]): BackEndKind {
  const command = (options: DiskOptions) => [
    ...ringside.command(options),
    ...more,
  ];
  return { ...ringside, command };
}

/** A back-end with a disk whose content is known. */
export class Target implements AsyncDisposable {
  /** The process. */
  readonly backEnd: BackEnd;
  /** Where it listens. */
  readonly socketPath: string;
  readonly #directory: string;
  readonly #file: string;
  #before: Holdings | null = null;

  private constructor(backEnd: BackEnd, directory: string, file: string) {
    this.backEnd = backEnd;
    this.socketPath = backEnd.socketPath;
    this.#directory = directory;
    this.#file = file;
  }

  /** Starts a process, and sees that it serves. */
  static async start(options: TargetOptions): Promise<Target> {
    const directory = Deno.makeTempDirSync({ prefix: "ringside-hostile-" });
    const file = `${directory}/disk.img`;
    const image = new Uint8Array(BLOCKS * BLOCK_SIZE);
    for (let i = 0; i < BLOCKS; i++) image.set(blockOf(i), i * BLOCK_SIZE);
    Deno.writeFileSync(file, image);
    Deno.truncateSync(file, Math.max(image.length, options.size ?? 0));
    const disk: DiskOptions = {
      socketPath: `${directory}/disk.sock`,
      file,
      dataPlane: options.dataPlane,
    };
    if (options.ioEngine !== undefined) disk.ioEngine = options.ioEngine;
    let target: Target;
    try {
      const kind = ringsideWith(options.more ?? []);
      const backEnd = await BackEnd.start(kind, disk);
      target = new Target(backEnd, directory, file);
    } catch (error) {
      Deno.removeSync(directory, { recursive: true });
      throw error;
    }
    try {
      await target.serves();
      // By then the session has given everything back.
      await target.says("the front-end left");
      target.#before = target.backEnd.holdings();
      return target;
    } catch (error) {
      await target[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Connects with two rings of 16 entries in {@linkcode REGIONS}. */
  connect(options: BlockConnectionOptions = {}): Promise<BlockConnection> {
    return withDeadline(
      BlockConnection.open(this.socketPath, {
        queueCount: 2,
        queueSize: 16,
        memory: REGIONS,
        ...options,
      }),
      PATIENCE_MS,
    );
  }

  /**
   * Lets `act` do its worst in a session of its own. Afterwards the second
   * ring of that session must serve, and the process the next session, with
   * nothing left of this one.
   */
  async survives(
    what: string,
    act: (disk: BlockConnection) => Promise<void> | void,
    options: BlockConnectionOptions = {},
  ): Promise<void> {
    await this.outlives(what, async (disk) => {
      await act(disk);
      await readsRight(disk, 1);
    }, options);
  }

  /** As `survives`, where the session of `act` need not. */
  async outlives(
    what: string,
    act: (disk: BlockConnection) => Promise<void> | void,
    options: BlockConnectionOptions = {},
  ): Promise<void> {
    try {
      {
        using disk = await this.connect(options);
        await withDeadline(Promise.resolve(act(disk)), PATIENCE_MS);
      }
      await this.isWell();
    } catch (cause) {
      throw new Error(
        `After ${what}: ${cause}\nThe back-end says:\n${this.backEnd.log}`,
        { cause },
      );
    }
  }

  /** The same process serves a fresh session and holds what it held before. */
  async isWell(): Promise<void> {
    await this.serves();
    await this.backEnd.settle(this.#before!);
  }

  /** Reads, writes and flushes in a session of its own. */
  async serves(): Promise<void> {
    using disk = await this.connect();
    await readsRight(disk, 0);
    const block = FIRST_SCRATCH_BLOCK;
    const bytes = crypto.getRandomValues(new Uint8Array(BLOCK_SIZE));
    const { driver } = disk.rings[1]!;
    const work = driver.write(sectorOf(block), bytes)
      .then(() => driver.flush())
      .then(() => driver.read(sectorOf(block), BLOCK_SIZE));
    assertBytes(await withDeadline(work, PATIENCE_MS), bytes, "What is read");
  }

  /** Waits until the log says `text`. */
  async says(text: string | RegExp): Promise<void> {
    await eventually(
      () => this.backEnd.log.search(text) >= 0,
      PATIENCE_MS,
      () => `The log does not say ${text}: ${this.backEnd.log}`,
    );
  }

  /** SIGTERM ends it cleanly, whatever goes on. */
  async stops(): Promise<void> {
    const status = await this.backEnd.stop();
    assertEquals(status.code, 0, this.backEnd.log);
    assertEquals(status.signal, null);
  }

  /** Ends the process; the part of the disk that is not scratch is unchanged. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.backEnd[Symbol.asyncDispose]();
    const image = Deno.readFileSync(this.#file);
    Deno.removeSync(this.#directory, { recursive: true });
    for (let i = 0; i < FIRST_SCRATCH_BLOCK; i++) {
      const block = image.subarray(i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE);
      const value = 1 + i % 251;
      if (block.every((byte) => byte === value)) continue;
      throw new Error(`Block ${i} of the disk was changed`);
    }
  }
}

/** Runs `body` on a target of its own. */
export async function withTarget(
  options: TargetOptions,
  body: (target: Target) => Promise<void>,
): Promise<void> {
  {
    await using target = await Target.start(options);
    await body(target);
  }
  // The next test begins with nothing under way.
  await Reactor.main.idle();
}

/** Ring `index` of `disk` reads what is on the disk. */
export async function readsRight(
  disk: BlockConnection,
  index: number,
): Promise<void> {
  const { driver } = disk.rings[index]!;
  const reads = [0, 1, 7, FIRST_SCRATCH_BLOCK - 1].map(async (block) => {
    const read = await driver.read(sectorOf(block), BLOCK_SIZE);
    assertBytes(read, blockOf(block), `Block ${block} on ring ${index}`);
  });
  await withDeadline(Promise.all(reads), PATIENCE_MS);
}

/** As `eventually`, for what takes microseconds: looks all the time. */
export async function until(
  check: () => boolean,
  describe: () => string,
): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!check()) {
    if (performance.now() > end) throw new Error(describe());
    await new Promise((resolve) => setTimeout(resolve));
  }
}

/** Fails in one line where `actual` is not `wanted`. */
export function assertBytes(
  actual: Uint8Array,
  wanted: Uint8Array,
  what: string,
): void {
  const at = wanted.findIndex((byte, i) => actual[i] !== byte);
  if (at < 0 && actual.length === wanted.length) return;
  throw new Error(
    at < 0
      ? `${what} has ${actual.length} bytes, wanted ${wanted.length}`
      : `${what} has ${actual[at]} at byte ${at}, wanted ${wanted[at]}`,
  );
}

/** The back-end says no to `work`, and the session goes on. */
export async function refused(
  disk: BlockConnection,
  work: Promise<unknown>,
): Promise<void> {
  await assertRejects(() => work, NackError);
  // What is offered has all that was accepted, and more.
  const offered = await disk.frontend.getFeatures();
  assertEquals(offered & disk.features, disk.features);
}
