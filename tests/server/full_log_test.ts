/**
 * A log that nobody reads, as a pipe to a program that hangs.
 */
import { assertEquals } from "@std/assert";
import { BlockConnection } from "../../src/testing/block_connection.ts";
import { Frontend } from "../../src/vhost_user/frontend.ts";
import { hasProgram, requirement } from "../support/require.ts";
import { BackEnd, type BackEndKind, ringside } from "../vm/back_end.ts";
import { withDeadline } from "../vm/deadline.ts";

const PATIENCE_MS = 20_000;
/** What a pipe holds unless told otherwise. */
const PIPE_SIZE = 65536;

/** A folder with a disk image. */
class Scene implements Disposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "ringside-log-" });
  readonly file = `${this.directory}/disk.img`;
  readonly socketPath = `${this.directory}/disk.sock`;

  constructor() {
    Deno.writeFileSync(this.file, new Uint8Array(1 << 20));
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.directory, { recursive: true });
  }
}

/** Its standard error is the pipe at `path`. */
function complainingTo(path: string): BackEndKind {
  const command: BackEndKind["command"] = (options) => [
    "sh",
    "-c",
    'pipe="$1"; shift; exec "$@" 2>"$pipe"',
    "sh",
    path,
    ...ringside.command(options),
  ];
  return { ...ringside, command, saysListens: false };
}

const hasPipes = requirement("mkfifo", () => hasProgram("mkfifo"));

for (const dataPlane of ["inline", "worker"]) {
  Deno.test({
    name: `a log that nobody reads holds nobody up (${dataPlane})`,
    ignore: !hasPipes,
    async fn() {
      using scene = new Scene();
      const { socketPath, file } = scene;
      const path = `${scene.directory}/log`;
      await new Deno.Command("mkfifo", { args: [path] }).output();
      // Open for reading too, so that there is somebody who could read.
      using pipe = Deno.openSync(path, { read: true, write: true });
      pipe.writeSync(new Uint8Array(PIPE_SIZE));
      const kind = complainingTo(path);
      const options = { socketPath, file, dataPlane };
      await using backEnd = await BackEnd.start(kind, options);
      for (let i = 0; i < 3; i++) {
        using frontend = Frontend.connect(socketPath);
        await withDeadline(frontend.getFeatures(), PATIENCE_MS);
      }
      using disk = await BlockConnection.open(socketPath);
      await withDeadline(disk.driver.flush(), PATIENCE_MS);
      assertEquals((await backEnd.stop()).code, 0);
    },
  });
}
