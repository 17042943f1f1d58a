/**
 * A connection outlives its back-end: the next one goes on with the same
 * features, memory and rings.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ProtocolError, SystemError } from "../../src/errors.ts";
import { Reactor } from "../../src/io/reactor.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import { BlockDriver } from "../../src/testing/block_driver.ts";
import { Connection } from "../../src/testing/connection.ts";
import {
  Frontend,
  HangUpError,
  WANTED_PROTOCOL_FEATURES,
} from "../../src/vhost_user/frontend.ts";
import { VHOST_USER_PROTOCOL_F } from "../../src/vhost_user/protocol.ts";
import { Session } from "../../src/vhost_user/session.ts";
import { hasProgram, requirement } from "../support/require.ts";
import {
  BackEnd,
  type BackEndKind,
  qemuStorageDaemon,
  ringside,
} from "../vm/back_end.ts";
import { withDeadline } from "../vm/deadline.ts";
import { FakeBackend, stageTest } from "./harness.ts";

const PATIENCE_MS = 30_000;
const BLOCK_SIZE = 4096;
const SECTORS = BLOCK_SIZE / 512;
const BLOCKS = 1024;
const { INFLIGHT_SHMFD } = VHOST_USER_PROTOCOL_F;

const canRunDaemon = requirement(
  "qemu-storage-daemon",
  () => hasProgram("qemu-storage-daemon"),
);

/** A disk image of 4 MiB in a folder of its own. */
class Scene implements Disposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "ringside-front-" });
  readonly file = `${this.directory}/disk.img`;
  readonly socketPath = `${this.directory}/disk.sock`;
  readonly #kind: BackEndKind;

  constructor(kind: BackEndKind) {
    this.#kind = kind;
    Deno.writeFileSync(this.file, new Uint8Array(BLOCKS * BLOCK_SIZE));
  }

  start(dataPlane?: string): Promise<BackEnd> {
    const { socketPath, file } = this;
    const plane = dataPlane === undefined ? {} : { dataPlane };
    return BackEnd.start(this.#kind, { socketPath, file, ...plane });
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.directory, { recursive: true });
  }
}

/** What block `index` is to hold after round `round`. */
function pattern(index: number, round: number): Uint8Array {
  return new Uint8Array(BLOCK_SIZE).fill((1 + index * 7 + round) % 256);
}

for (const dataPlane of ["inline", "worker"]) {
  Deno.test(`what was in flight when the back-end died on the ${dataPlane} plane is done by the next`, async () => {
    using scene = new Scene(ringside);
    let backEnd = await scene.start(dataPlane);
    try {
      using connection = await Connection.open(scene.socketPath, {
        queueSize: 64,
        inflight: true,
        timeoutMs: PATIENCE_MS,
      });
      assert(connection.frontend.hasProtocolFeature(INFLIGHT_SHMFD));
      const [port] = connection.rings;
      const disk = new BlockDriver(connection.memory, port!.ring, port!);
      for (let round = 0; round < 4; round++) {
        const writes = Array.from(
          { length: BLOCKS },
          (_, i) => disk.write(i * SECTORS, pattern(i, round)),
        );
        await writes[1 + round * 200];
        await backEnd.stop("SIGKILL");
        await withDeadline(connection.frontend.hungUp(), PATIENCE_MS);
        await assertRejects(() => connection.frontend.getFeatures());
        await backEnd[Symbol.asyncDispose]();
        const again = connection.reconnect({ timeoutMs: PATIENCE_MS });
        backEnd = await scene.start(dataPlane);
        await withDeadline(again, PATIENCE_MS);
        await withDeadline(Promise.all(writes), PATIENCE_MS);
        for (let i = 0; i < BLOCKS; i += 37) {
          const read = await disk.read(i * SECTORS, BLOCK_SIZE);
          assertEquals(read, pattern(i, round));
        }
      }
      // The rings can be stopped and started where they are.
      const base = await connection.stop(0);
      await connection.start(0, base);
      assertEquals(await disk.read(0, BLOCK_SIZE), pattern(0, 3));
    } finally {
      await backEnd[Symbol.asyncDispose]();
    }
    const image = Deno.readFileSync(scene.file);
    for (let i = 0; i < BLOCKS; i++) {
      const block = image.subarray(i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE);
      assertEquals(block, pattern(i, 3));
    }
  });
}

for (const kind of [ringside, qemuStorageDaemon]) {
  Deno.test({
    name: `a connection goes on with the next ${kind.name}, nothing in flight`,
    ignore: kind === qemuStorageDaemon && !canRunDaemon,
    async fn() {
      using scene = new Scene(kind);
      let backEnd = await scene.start();
      try {
        using connection = await Connection.open(scene.socketPath, {
          queueCount: 2,
          queueSize: 16,
          timeoutMs: PATIENCE_MS,
        });
        const disks = connection.rings.map((port) =>
          new BlockDriver(connection.memory, port.ring, port)
        );
        for (let round = 0; round < 3; round++) {
          for (const [index, disk] of disks.entries()) {
            // More than the ring has entries, so that its indexes wrap.
            for (let i = 0; i < 20; i++) {
              const block = pattern(i + index, round);
              const work = disk.write((i + index * 20) * SECTORS, block);
              await withDeadline(work, PATIENCE_MS);
            }
            const read = await disk.read(index * 20 * SECTORS, BLOCK_SIZE);
            assertEquals(read, pattern(index, round));
          }
          // A ring that is stopped stays so.
          const base = round === 1 ? await connection.stop(1) : 0;
          await backEnd.stop("SIGKILL");
          await backEnd[Symbol.asyncDispose]();
          await assertRejects(
            () => connection.frontend.getFeatures(),
            HangUpError,
          );
          backEnd = await scene.start();
          await withDeadline(connection.reconnect(), PATIENCE_MS);
          if (round === 1) await connection.start(1, base);
        }
      } finally {
        await backEnd[Symbol.asyncDispose]();
      }
    },
  });
}

stageTest("a connection to nobody is an error", async (stage) => {
  const directory = Deno.makeTempDirSync();
  try {
    const path = `${directory}/disk.sock`;
    using listener = Frontend.listen(path);
    const accepted = listener.accept();
    const opening = Connection.open(path);
    const peer = await accepted;
    peer[Symbol.dispose]();
    await assertRejects(() => opening, ProtocolError);
    using connection = await Connection.open(stage.frontend, {
      memory: 1 << 20,
    });
    await assertRejects(() => connection.reconnect(), TypeError, "no path");
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
  await assertRejects(
    () => Connection.open(`${directory}/none`),
    SystemError,
    "ENOENT",
  );
});

stageTest(
  "a back-end that lacks what the last one had is refused",
  async (stage) => {
    using connection = await Connection.open(stage.frontend, {
      memory: 1 << 20,
      protocolFeatures: WANTED_PROTOCOL_FEATURES,
    });
    assertEquals(stage.backend.rings.size, 1);
    const [ours, theirs] = UnixSocket.pair();
    const other = new FakeBackend();
    other.features = 0n;
    const session = new Session(ours, other, Reactor.main);
    const ended = session.run();
    using frontend = Frontend.fromSocket(theirs);
    await assertRejects(
      () => connection.reconnect({ frontend }),
      ProtocolError,
      "0x100000000 are gone",
    );
    frontend[Symbol.dispose]();
    assertEquals((await ended).kind, "hang-up");
    await stage.ended;
  },
);
