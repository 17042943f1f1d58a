/**
 * A disk that gets another size while it is served: what its driver sees.
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { block } from "../../devices/block/mod.ts";
import { completeOptions, type Device } from "../../src/device/mod.ts";
import { UsageError } from "../../src/errors.ts";
import { setLogLevel } from "../../src/log.ts";
import { Server } from "../../src/server/server.ts";
import { BlockConnection } from "../../src/testing/block_connection.ts";
import { BLOCK_STATUS, BlockError } from "../../src/testing/block_driver.ts";
import { withDeadline } from "../vm/deadline.ts";

setLogLevel("error");

const SECTOR = 512;
const MIB = 1 << 20;
const DEADLINE_MS = 20_000;

/** A served disk and a front-end that listens for changes. */
class Rig implements AsyncDisposable {
  readonly directory: string;
  readonly file: string;
  readonly device: Device;
  readonly disk: BlockConnection;
  readonly #server: Server;
  readonly #running: Promise<void>;
  #changed = Promise.withResolvers<void>();

  private constructor(
    directory: string,
    device: Device,
    server: Server,
    running: Promise<void>,
    disk: BlockConnection,
  ) {
    this.directory = directory;
    this.file = `${directory}/disk.img`;
    this.device = device;
    this.#server = server;
    this.#running = running;
    this.disk = disk;
  }

  /** A disk of a MiB on `dataPlane`. */
  static async open(
    dataPlane: "inline" | "worker",
    given: Record<string, string | boolean> = {},
  ): Promise<Rig> {
    const directory = Deno.makeTempDirSync({ prefix: "ringside-resize-" });
    const file = `${directory}/disk.img`;
    Deno.writeFileSync(file, new Uint8Array(MIB).fill(7));
    const all = { "blk-file": file, "num-queues": 2, ...given };
    const device = await block.open(completeOptions(block.options, all));
    const socketPath = `${directory}/disk.sock`;
    const server = await Server.open("disk", device, { socketPath, dataPlane });
    const running = server.run();
    const disk = await BlockConnection.open(socketPath, { queueCount: 2 });
    const rig = new Rig(directory, device, server, running, disk);
    await disk.frontend.listenToBackend({
      configChanged() {
        rig.#changed.resolve();
        rig.#changed = Promise.withResolvers();
      },
    });
    return rig;
  }

  /** Resolves when the front-end is told of the next change. */
  changed(): Promise<void> {
    return withDeadline(this.#changed.promise, DEADLINE_MS);
  }

  /** In bytes, as the front-end is told now. */
  async capacity(): Promise<number> {
    const bytes = await this.disk.frontend.getConfig(0, 8);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return Number(view.getBigUint64(0, true)) * SECTOR;
  }

  /** Writes and reads the last sector of `size` bytes, on each ring. */
  async useEnd(size: number): Promise<void> {
    for (const { index, driver } of this.disk.rings) {
      const bytes = new Uint8Array(SECTOR).fill(100 + index);
      const sector = size / SECTOR - 1 - index;
      await driver.write(sector, bytes);
      assertEquals(await driver.read(sector, SECTOR), bytes);
    }
  }

  /** Both rings refuse what begins at byte `at`. */
  async refuse(at: number): Promise<void> {
    for (const { driver } of this.disk.rings) {
      const read = () => driver.read(at / SECTOR, SECTOR);
      const error = await assertRejects(read, BlockError);
      assertEquals(error.status, BLOCK_STATUS.IOERR);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disk[Symbol.dispose]();
    await this.#server.stop();
    await this.#running;
    Deno.removeSync(this.directory, { recursive: true });
  }
}

for (const plane of ["inline", "worker"] as const) {
  Deno.test(`a disk that is resized is larger for its driver at once (${plane})`, async () => {
    await using rig = await Rig.open(plane);
    await rig.refuse(MIB);
    const changed = rig.changed();
    const size = await rig.device.resize!({ size: 3 * MIB, shrink: false });
    assertEquals(size, 3 * MIB);
    await changed;
    assertEquals(await rig.capacity(), 3 * MIB);
    await rig.useEnd(3 * MIB);
    assertEquals(Deno.statSync(rig.file).size, 3 * MIB);
    await rig.refuse(3 * MIB);
  });

  Deno.test(`a file that became longer makes its disk larger, by whole blocks (${plane})`, async () => {
    await using rig = await Rig.open(plane);
    const changed = rig.changed();
    Deno.truncateSync(rig.file, 2 * MIB + 100);
    await changed;
    assertEquals(await rig.capacity(), 2 * MIB);
    await rig.useEnd(2 * MIB);
    await rig.refuse(2 * MIB);
  });
}

Deno.test("a disk shrinks where the operator says so, and then only its end is gone", async () => {
  await using rig = await Rig.open("worker");
  const shrink = { size: MIB / 2, shrink: false };
  await assertRejects(() => rig.device.resize!(shrink), UsageError, "--shrink");
  assertEquals(await rig.capacity(), MIB);
  const changed = rig.changed();
  await rig.device.resize!({ ...shrink, shrink: true });
  await changed;
  assertEquals(await rig.capacity(), MIB / 2);
  assertEquals(Deno.statSync(rig.file).size, MIB / 2);
  const last = await rig.disk.driver.read(MIB / 2 / SECTOR - 1, SECTOR);
  assertEquals(last, new Uint8Array(SECTOR).fill(7));
  await rig.refuse(MIB / 2);
  await rig.device.resize!({ size: MIB, shrink: false });
  const again = await rig.disk.driver.read(MIB / SECTOR - 1, SECTOR);
  assertEquals(again, new Uint8Array(SECTOR), "what was cut off is zeros");
});

Deno.test("a resize that can't be is refused, and changes nothing", async () => {
  await using rig = await Rig.open("inline", { "read-only": true });
  const refused: [number | null, string][] = [
    [MIB + 1, "multiple"],
    [0, "multiple"],
    [-MIB, "multiple"],
    [NaN, "multiple"],
    [Infinity, "multiple"],
    [2 ** 60, "multiple"],
    [2 * MIB, "read-only"],
  ];
  for (const [size, words] of refused) {
    const resize = () => rig.device.resize!({ size, shrink: true });
    await assertRejects(resize, UsageError, words, String(size));
  }
  assertEquals(await rig.capacity(), MIB);
  assertEquals(Deno.statSync(rig.file).size, MIB);
  // Others may make it longer, and the driver learns of it when asked.
  Deno.truncateSync(rig.file, 2 * MIB);
  await rig.device.resize!({ size: null, shrink: false });
  assertEquals(await rig.capacity(), 2 * MIB);
});

Deno.test("changes of the size come one after the other", async () => {
  await using rig = await Rig.open("worker");
  const sizes = [2, 3, 5, 4, 6].map((count) => count * MIB);
  const done = await Promise.allSettled(
    sizes.map((size) => rig.device.resize!({ size, shrink: false })),
  );
  assertEquals(done.map(({ status }) => status === "fulfilled"), [
    true,
    true,
    true,
    false,
    true,
  ]);
  assertEquals(await rig.capacity(), 6 * MIB);
  await rig.useEnd(6 * MIB);
});
