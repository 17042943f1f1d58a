/**
 * Rings of each kind of a process that serves a disk: what the front-end says
 * of them, and that the data gets there.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
} from "../../src/device/features.ts";
import { BlockDriver, Connection } from "../../src/testing/mod.ts";
import { BackEnd, ringside } from "../vm/back_end.ts";
import { withDeadline } from "../vm/deadline.ts";

const PATIENCE_MS = 20_000;
const MIB = 1 << 20;
const BASIC = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC;

const CASES = [
  { name: "split", features: BASIC | VIRTIO_F_EVENT_IDX, queueSize: 64 },
  {
    name: "packed",
    features: BASIC | VIRTIO_F_RING_PACKED,
    queueSize: 64,
  },
  {
    name: "packed with EVENT_IDX, of an odd size",
    features: BASIC | VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX,
    queueSize: 37,
  },
] as const;

/** Writes and reads back 96 blocks, 8 at a time. */
async function exercise(driver: BlockDriver, seed: number): Promise<void> {
  const work = async (worker: number) => {
    for (let i = 0; i < 12; i++) {
      const sector = 8 * (8 * i + worker);
      const bytes = new Uint8Array(4096).fill(seed + 16 * i + worker);
      await driver.write(sector, bytes);
      assertEquals(await driver.read(sector, 4096), bytes);
    }
  };
  await Promise.all(Array.from({ length: 8 }, (_, worker) => work(worker)));
  await driver.flush();
}

/** A process with a disk of 1 MiB. */
async function serve(plane: string) {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-ring-" });
  const file = `${directory}/disk.img`;
  Deno.writeFileSync(file, new Uint8Array(MIB));
  const socketPath = `${directory}/disk.sock`;
  const options = { socketPath, file, dataPlane: plane };
  const backEnd = await BackEnd.start(ringside, options);
  return {
    socketPath,
    async [Symbol.asyncDispose](): Promise<void> {
      await backEnd[Symbol.asyncDispose]();
      Deno.removeSync(directory, { recursive: true });
    },
  };
}

for (const plane of ["inline", "worker"] as const) {
  Deno.test(`[C84] rings of each kind stop, and go on where they were (${plane})`, async () => {
    await using disk = await serve(plane);
    for (const { name, features, queueSize } of CASES) {
      for (const indirect of [false, true]) {
        using connection = await Connection.open(disk.socketPath, {
          features,
          queueSize,
        });
        const [port] = connection.rings;
        const { ring } = port!;
        const driver = new BlockDriver(connection.memory, ring, port!, {
          indirect,
        });
        for (let turn = 0; turn < 3; turn++) {
          const done = exercise(driver, turn);
          await withDeadline(done, PATIENCE_MS);
          const base = await connection.frontend.getVringBase(0);
          assertEquals(base, ring.config().nextAvail, name);
          await connection.start(0, base);
        }
      }
    }
  });
}
