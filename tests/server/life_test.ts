/**
 * The life of a server: front-end after front-end, signals, sockets, with the
 * rings on either plane.
 */
import { asSplit } from "../../src/testing/split_driver.ts";
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { block } from "../../devices/block/mod.ts";
import { completeOptions } from "../../src/device/options.ts";
import { UsageError } from "../../src/errors.ts";
import { EventFd } from "../../src/io/event_fd.ts";
import { UnixSocket } from "../../src/io/unix_socket.ts";
import { Server } from "../../src/server/server.ts";
import { BlockConnection } from "../../src/testing/block_connection.ts";
import { Frontend } from "../../src/vhost_user/frontend.ts";
import { BackEnd, ringside } from "../vm/back_end.ts";
import { eventually, withDeadline } from "../vm/deadline.ts";

const MIB = 1 << 20;
const PLANES = ["inline", "worker"] as const;

/** A disk image of 16 MiB in a folder of its own. */
class Scene implements Disposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "ringside-life-" });
  readonly file = `${this.directory}/disk.img`;
  readonly socketPath = `${this.directory}/disk.sock`;

  constructor() {
    Deno.writeFileSync(this.file, new Uint8Array(16 * MIB));
  }

  start(dataPlane: string): Promise<BackEnd> {
    return BackEnd.start(ringside, {
      socketPath: this.socketPath,
      file: this.file,
      dataPlane,
    });
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.directory, { recursive: true });
  }
}

function pattern(value: number): Uint8Array {
  return new Uint8Array(4096).fill(value);
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

for (const plane of PLANES) {
  Deno.test(`a server on the ${plane} plane takes front-end after front-end and leaks nothing`, async () => {
    using scene = new Scene();
    await using backEnd = await scene.start(plane);
    const before = backEnd.holdings();
    for (let life = 1; life <= 5; life++) {
      using disk = await BlockConnection.open(scene.socketPath, {
        queueCount: 3,
      });
      for (const { driver, index } of disk.rings) {
        await driver.write(8 * index, pattern(life * 10 + index));
        assertEquals(
          await driver.read(8 * index, 4096),
          pattern(life * 10 + index),
        );
      }
    }
    await backEnd.settle(before);
  });

  Deno.test(`SIGTERM on the ${plane} plane drains, keeps what was acknowledged, unlinks the socket and exits 0`, async () => {
    using scene = new Scene();
    await using backEnd = await scene.start(plane);
    using disk = await BlockConnection.open(scene.socketPath);
    let acknowledged = 0;
    const writes: Promise<void>[] = [];
    for (let i = 0; i < 1000; i++) {
      writes.push(
        disk.driver.write(8 * i, pattern(1 + i % 255)).then(() => {
          acknowledged = Math.max(acknowledged, i + 1);
        }),
      );
    }
    // Some are done, and more are under way.
    await writes[20];
    for (const write of writes) write.catch(() => {});
    const status = await backEnd.stop();
    assertEquals(status.code, 0, backEnd.log);
    assert(!exists(scene.socketPath), "The socket is still there");
    // What the ring says is done must be in the file.
    const image = Deno.readFileSync(scene.file);
    assert(acknowledged > 20);
    for (let i = 0; i < acknowledged; i++) {
      assertEquals(image[4096 * i], 1 + i % 255, `Write ${i} is lost`);
    }
  });

  Deno.test(`[C56] a ring on the ${plane} plane stops with its requests done and goes on from its base`, async () => {
    using scene = new Scene();
    await using _backEnd = await scene.start(plane);
    using disk = await BlockConnection.open(scene.socketPath);
    for (let round = 0; round < 20; round++) {
      const writes: Promise<void>[] = [];
      for (let i = 0; i < 30; i++) {
        writes.push(disk.driver.write(8 * i, pattern(round)));
      }
      await writes[round];
      const base = await disk.frontend.getVringBase(0);
      assertEquals(base, asSplit(disk.rings[0]!.ring).publishedUsedIndex);
      await disk.restart(0, base);
      await Promise.all(writes);
    }
    assertEquals(await disk.driver.read(8 * 29, 4096), pattern(19));
  });

  Deno.test(`[C40] a disabled ring on the ${plane} plane holds its requests until it is enabled`, async () => {
    using scene = new Scene();
    await using _backEnd = await scene.start(plane);
    using disk = await BlockConnection.open(scene.socketPath, {
      queueCount: 2,
    });
    const [first, second] = disk.rings;
    await disk.frontend.setVringEnable(0, false);
    const held = first!.driver.write(0, pattern(1));
    await second!.driver.write(8, pattern(2));
    assertEquals(asSplit(first!.ring).publishedUsedIndex, 0);
    await disk.frontend.setVringEnable(0, true);
    await held;
    assertEquals(await second!.driver.read(0, 4096), pattern(1));
  });
}

Deno.test("a hang-up ends the server cleanly, and so does a signal that comes twice at once", async () => {
  using scene = new Scene();
  for (const signals of [["SIGHUP"], ["SIGTERM", "SIGTERM"]] as const) {
    await using backEnd = await scene.start("worker");
    using _disk = await BlockConnection.open(scene.socketPath);
    for (const signal of signals.slice(1)) Deno.kill(backEnd.pid, signal);
    const status = await backEnd.stop(signals[0]);
    assertEquals(status.code, 0, backEnd.log);
    assert(!exists(scene.socketPath));
  }
});

Deno.test("a ring that is started without memory is told of in the log", async () => {
  using scene = new Scene();
  await using backEnd = await scene.start("worker");
  using frontend = Frontend.connect(scene.socketPath);
  using kick = EventFd.open();
  await frontend.negotiate();
  await frontend.setVring(0, {
    size: 4,
    descriptor: 0,
    available: 64,
    used: 128,
    kick: kick.fd,
  });
  await eventually(
    () => backEnd.log.includes("memory-backend-memfd,share=on"),
    5_000,
    () => backEnd.log,
  );
});

Deno.test("a stale socket file is replaced, a live one is an error", async () => {
  using scene = new Scene();
  {
    await using first = await scene.start("inline");
    const [program, ...args] = ringside.command({
      socketPath: scene.socketPath,
      file: scene.file,
      dataPlane: "inline",
    });
    const second = await new Deno.Command(program!, { args }).output();
    assertEquals(second.code, 1);
    const complaint = new TextDecoder().decode(second.stderr).trim();
    assertStringIncludes(complaint, scene.socketPath);
    assertEquals(complaint.split("\n").length, 1, complaint);
    assert(exists(scene.socketPath));
    await withDeadline(
      BlockConnection.open(scene.socketPath).then((disk) =>
        disk[Symbol.dispose]()
      ),
      10_000,
    );
    // Killed, it leaves its socket behind.
    Deno.kill(first.pid, "SIGKILL");
  }
  assert(exists(scene.socketPath));
  await using second = await scene.start("inline");
  using _disk = await BlockConnection.open(scene.socketPath);
  assertEquals((await second.stop()).code, 0);
});

Deno.test("what is asked of a server that stops is told so", async () => {
  const device = await block.open(
    completeOptions(block.options, { "blk-null": MIB }),
  );
  using scene = new Scene();
  const { socketPath } = scene;
  const options = { socketPath, dataPlane: "worker" } as const;
  const server = await Server.open("disk", device, options);
  const ended = server.run();
  await server.ready;
  assertEquals((await server.status()).connected, false);
  await server.stop();
  await withDeadline(ended, 10_000);
  await assertRejects(() => server.status(), UsageError, "disk stops: ask");
});

Deno.test("a connected descriptor is served until its front-end leaves", async () => {
  const device = await block.open(
    completeOptions(block.options, { "blk-null": MIB }),
  );
  const [ours, theirs] = UnixSocket.pair();
  const server = await Server.open("disk", device, {
    fd: theirs.fd.release(),
    dataPlane: "inline",
  });
  const ended = server.run();
  {
    using disk = await BlockConnection.open(Frontend.fromSocket(ours));
    await disk.driver.flush();
  }
  await withDeadline(ended, 10_000);
});

Deno.test("rings are spread over several threads", async () => {
  using scene = new Scene();
  const device = await block.open(
    completeOptions(block.options, { "blk-file": scene.file }),
  );
  const server = await Server.open("disk", device, {
    socketPath: scene.socketPath,
    dataPlane: "worker",
    queueThreads: 3,
  });
  const ended = server.run();
  {
    using disk = await BlockConnection.open(scene.socketPath, {
      queueCount: 4,
    });
    const work: Promise<void>[] = [];
    for (const { driver, index } of disk.rings) {
      for (let i = 0; i < 50; i++) {
        work.push(driver.write(8 * (50 * index + i), pattern(index + 1)));
      }
    }
    await Promise.all(work);
    for (const { index } of disk.rings) {
      const read = await disk.driver.read(8 * (50 * index + 49), 4096);
      assertEquals(read, pattern(index + 1));
    }
  }
  await server.stop();
  await withDeadline(ended, 10_000);
  assert(!exists(scene.socketPath));
});

Deno.test("a second front-end is served when the first one has left", async () => {
  using scene = new Scene();
  await using backEnd = await scene.start("worker");
  const first = await BlockConnection.open(scene.socketPath);
  const second = BlockConnection.open(scene.socketPath);
  await first.driver.write(0, pattern(7));
  first[Symbol.dispose]();
  using disk = await withDeadline(second, 10_000);
  assertEquals(await disk.driver.read(0, 4096), pattern(7));
  await eventually(
    () => backEnd.log.split("connected").length === 3,
    5_000,
    () => backEnd.log,
  );
});
