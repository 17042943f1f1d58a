/**
 * A medium on which not all that is written arrives: a loop device over a file
 * system that has less room than the file on it pretends. The kernel says so
 * when it writes its page cache back, and says so once.
 */
import { assert, assertEquals, assertGreater } from "@std/assert";
import { block } from "../../devices/block/mod.ts";
import { SystemError } from "../../src/errors.ts";
import { Mapping } from "../../src/ffi/mapping.ts";
import { VIRTIO_F_VERSION_1 } from "../../src/device/features.ts";
import { DiskFile } from "../../src/io/file.ts";
import { IovecList } from "../../src/io/iovec.ts";
import {
  BLOCK_STATUS,
  BlockDriver,
  BlockError,
  FakeDriver,
} from "../../src/testing/mod.ts";
import { loopDevice } from "../support/loop_device.ts";
import { hasUring } from "../support/uring.ts";

const MIB = 1 << 20;
const ROOM = 2 * MIB;
/** Bytes of a write, and how many are under way. */
const PIECE = 32 << 10;
const AT_ONCE = 16;

/** Whether `command` is there and succeeds. */
function succeeds(command: string, ...args: string[]): boolean {
  try {
    return new Deno.Command(command, { args }).outputSync().success;
  } catch {
    return false;
  }
}

/** A block device of 16 MiB that has room for 2; null where there can't be one. */
function thinDevice(): ({ path: string } & Disposable) | null {
  using undo = new DisposableStack();
  const directory = Deno.makeTempDirSync({ prefix: "ringside-loss-" });
  undo.defer(() => Deno.removeSync(directory));
  const mount = ["-t", "tmpfs", "-o", `size=${ROOM}`, "none", directory];
  if (!succeeds("mount", ...mount)) return null;
  undo.defer(() => succeeds("umount", directory));
  const image = `${directory}/disk.img`;
  Deno.writeFileSync(image, new Uint8Array());
  Deno.truncateSync(image, 16 * MIB);
  const device = loopDevice(image);
  if (device === null) return null;
  undo.use(device);
  const all = undo.move();
  return { path: device.path, [Symbol.dispose]: () => all.dispose() };
}

/** The status of a request. */
function statusOf(request: Promise<unknown>): Promise<number> {
  return request.then(() => BLOCK_STATUS.OK, (error) => {
    if (error instanceof BlockError) return error.status;
    throw error;
  });
}

async function loseData(path: string, engine: string): Promise<void> {
  const fake = await FakeDriver.open(block, {
    "blk-file": path,
    "io-engine": engine,
  }, { uring: engine === "io_uring", queueCount: 3 });
  try {
    const disks = fake.rings.map((port) =>
      new BlockDriver(fake.memory, port.ring, port, {})
    );
    const flushAll = () =>
      Promise.all(
        [...disks, ...disks].map((disk) => statusOf(disk.flush())),
      );
    const refused = new Array(6).fill(BLOCK_STATUS.IOERR);
    assertEquals(await flushAll(), new Array(6).fill(BLOCK_STATUS.OK));
    const data = new Uint8Array(2 * ROOM).fill(7);
    await disks[0]!.write(0, data);
    // All of them come after the write, so none may say that it is safe.
    assertEquals(await flushAll(), refused);
    assertEquals(await flushAll(), refused);
    // What is there is still served.
    assertEquals(await statusOf(disks[1]!.read(0, 4096)), BLOCK_STATUS.OK);
  } finally {
    await fake[Symbol.asyncDispose]().catch((error) => {
      // It is said at the end, too.
      if (!(error instanceof SystemError)) throw error;
    });
  }
}

/** Writes by a driver that can't flush: each is safe once it is answered. */
async function loseDurable(path: string, engine: string): Promise<void> {
  const fake = await FakeDriver.open(block, {
    "blk-file": path,
    "io-engine": engine,
  }, {
    uring: engine === "io_uring",
    queueCount: 2,
    features: VIRTIO_F_VERSION_1,
  });
  const disks = fake.rings.map((port) =>
    new BlockDriver(fake.memory, port.ring, port, {})
  );
  const data = (index: number) => new Uint8Array(PIECE).fill(index + 1);
  const safe: number[] = [];
  try {
    for (let first = 0; first < 2 * ROOM / PIECE; first += AT_ONCE) {
      await Promise.all(Array.from({ length: AT_ONCE }, async (_, i) => {
        const index = first + i;
        const sector = index * PIECE / 512;
        const written = disks[index & 1]!.write(sector, data(index));
        if (await statusOf(written) === BLOCK_STATUS.OK) safe.push(index);
      }));
    }
  } finally {
    await fake[Symbol.asyncDispose]().catch((error) => {
      if (!(error instanceof SystemError)) throw error;
    });
  }
  // With the last descriptor the pages go that were not written back.
  using file = DiskFile.open(path, { readOnly: true, direct: true });
  using memory = Mapping.anonymous(PIECE);
  using list = new IovecList(1);
  list.set(0, memory.address, PIECE);
  assertGreater(safe.length, 0);
  for (const index of safe) {
    assertEquals(file.readv(list, 0, 1, index * PIECE), PIECE);
    const isThere = new Uint8Array(memory.buffer)
      .every((byte) => byte === index + 1);
    assert(isThere, `Write ${index} was answered, and is not there`);
  }
}

const CASES = [
  ["no flush of any ring succeeds once written data is lost", loseData],
  ["what a driver wrote that can't flush is there", loseDurable],
] as const;

for (const engine of ["sync", "io_uring"]) {
  for (const [name, lose] of CASES) {
    Deno.test({
      name: `${name} (${engine})`,
      ignore: engine === "io_uring" && !hasUring,
      async fn() {
        using device = thinDevice();
        if (device === null) {
          console.error("SKIPPED: loop devices and mounts need root");
          return;
        }
        await lose(device.path, engine);
      },
    });
  }
}
