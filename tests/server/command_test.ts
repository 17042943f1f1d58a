/**
 * Commands of the front-end and signals come through, whatever the rings are
 * doing.
 */
import { asSplit } from "../../src/testing/split_driver.ts";
import { assertEquals, assertLess } from "@std/assert";
import { BlockConnection } from "../../src/testing/block_connection.ts";
import { Connection } from "../../src/testing/connection.ts";
import { BackEnd, type BackEndKind, ringside } from "../vm/back_end.ts";
import { withDeadline } from "../vm/deadline.ts";
import { SLOW_QUEUE_SIZE } from "./slow_device.ts";
import { until } from "./support/hostile_target.ts";

const PATIENCE_MS = 20_000;
const PLANES = ["inline", "worker"] as const;
const ENGINES = ["io_uring", "sync"] as const;
/** Requests that may be done while one command is on its way to its answer. */
const FEW = 12;

/** A device whose requests take long. */
const slow: BackEndKind = {
  ...ringside,
  name: "the slow device",
  command: ({ socketPath, dataPlane }) => [
    Deno.execPath(),
    "run",
    "--allow-all",
    "--no-check",
    new URL("./slow_device.ts", import.meta.url).pathname,
    socketPath,
    dataPlane!,
  ],
};

/** A folder with a disk image. */
class Scene implements Disposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "ringside-command-" });
  readonly file = `${this.directory}/disk.img`;
  readonly socketPath = `${this.directory}/disk.sock`;

  constructor() {
    Deno.writeFileSync(this.file, new Uint8Array(1 << 20));
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.directory, { recursive: true });
  }
}

for (const dataPlane of PLANES) {
  for (const ioEngine of ENGINES) {
    Deno.test(`a ring without kicks keeps no command waiting (${dataPlane}, ${ioEngine})`, async () => {
      using scene = new Scene();
      const { socketPath, file } = scene;
      await using backEnd = await BackEnd.start(ringside, {
        socketPath,
        file,
        dataPlane,
        ioEngine,
      });
      using disk = await BlockConnection.open(socketPath);
      const { frontend, driver } = disk;
      await frontend.setVringKick(0, null);
      await withDeadline(driver.write(0, new Uint8Array(512)), PATIENCE_MS);
      // Nothing is to be done now, for ever.
      await withDeadline(frontend.setVringEnable(0, false), PATIENCE_MS);
      await withDeadline(frontend.getVringBase(0), PATIENCE_MS);
      await frontend.setVringKick(0, null);
      assertEquals((await backEnd.stop()).code, 0);
    });
  }

  Deno.test(`commands and signals wait for few of the requests that are there, however long they take (${dataPlane})`, async () => {
    using scene = new Scene();
    const { socketPath, file } = scene;
    const options = { socketPath, file, dataPlane };
    await using backEnd = await BackEnd.start(slow, options);
    using connection = await Connection.open(socketPath, {
      queueSize: SLOW_QUEUE_SIZE,
    });
    const { frontend, memory } = connection;
    const { kickFd } = connection.rings[0]!;
    const ring = asSplit(connection.rings[0]!.ring);
    const address = memory.allocate(512);
    for (let i = 0; i < SLOW_QUEUE_SIZE; i++) {
      ring.add([{ address, size: 512, writable: true }]);
    }
    ring.publish();
    kickFd.signal();
    await until(
      () => ring.publishedUsedIndex > 0,
      () => "Nothing is done",
    );
    let done = ring.publishedUsedIndex;
    for (let i = 0; i < 4; i++) {
      await withDeadline(frontend.setVringEnable(0, true), PATIENCE_MS);
      const now = ring.publishedUsedIndex;
      assertLess(now - done, FEW, "requests while a command waited");
      done = now;
    }
    assertEquals((await backEnd.stop()).code, 0);
    const now = ring.publishedUsedIndex;
    assertLess(now - done, FEW, "requests while a signal waited");
  });
}
