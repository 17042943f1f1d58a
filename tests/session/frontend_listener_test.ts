/** A back-end that connects: `ringside DEVICE --connect`, as a process. */
import { assert, assertEquals } from "@std/assert";
import { BlockDriver } from "../../src/testing/block_driver.ts";
import { Connection } from "../../src/testing/connection.ts";
import { Frontend } from "../../src/vhost_user/frontend.ts";
import { eventually, withDeadline } from "../vm/deadline.ts";

const PATIENCE_MS = 30_000;
const MAIN = new URL("../../main.ts", import.meta.url).pathname;

/** `ringside block --connect`, what it says, and how it ended. */
class Dialler implements AsyncDisposable {
  log = "";
  readonly #process: Deno.ChildProcess;
  readonly #said: Promise<void>;

  constructor(directory: string, dataPlane: string) {
    const file = `${directory}/disk.img`;
    const socketPath = `${directory}/front.sock`;
    Deno.writeFileSync(file, new Uint8Array(1 << 20));
    const args = ["run", "--no-prompt", "--allow-ffi", "--allow-read", MAIN];
    args.push("block", "--connect", "--socket-path", socketPath);
    args.push("--blk-file", file, "--data-plane", dataPlane);
    args.push("--log-level", "debug");
    this.#process = new Deno.Command(Deno.execPath(), {
      args,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#said = this.#follow();
  }

  says(text: string): Promise<void> {
    return eventually(
      () => this.log.includes(text),
      PATIENCE_MS,
      () => `It does not say ${text}: ${this.log}`,
    );
  }

  async stop(): Promise<number> {
    this.#process.kill("SIGTERM");
    return (await withDeadline(this.#process.status, PATIENCE_MS)).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#process.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#process.status;
    await this.#said;
  }

  async #follow(): Promise<void> {
    const { stderr } = this.#process;
    for await (const text of stderr.pipeThrough(new TextDecoderStream())) {
      this.log += text;
    }
  }
}

for (const dataPlane of ["inline", "worker"]) {
  Deno.test(`a back-end on the ${dataPlane} plane connects to front-end after front-end`, async () => {
    const directory = Deno.makeTempDirSync({ prefix: "ringside-dial-" });
    const path = `${directory}/front.sock`;
    try {
      await using backEnd = new Dialler(directory, dataPlane);
      // It is there first, and waits.
      await backEnd.says("Nobody listens");
      using listener = Frontend.listen(path);
      const first = await withDeadline(listener.accept(), PATIENCE_MS);
      using guest = await withDeadline(
        Connection.open(first, { timeoutMs: PATIENCE_MS }),
        PATIENCE_MS,
      );
      const [port] = guest.rings;
      const disk = new BlockDriver(guest.memory, port!.ring, port!);
      for (let life = 0; life < 3; life++) {
        const block = new Uint8Array(512).fill(1 + life);
        await withDeadline(disk.write(life, block), PATIENCE_MS);
        const read = disk.read(life, 512);
        assertEquals(await withDeadline(read, PATIENCE_MS), block);
        guest.frontend[Symbol.dispose]();
        const frontend = await withDeadline(listener.accept(), PATIENCE_MS);
        await withDeadline(guest.reconnect({ frontend }), PATIENCE_MS);
      }
      assertEquals(await backEnd.stop(), 0, backEnd.log);
      await withDeadline(guest.frontend.hungUp(), PATIENCE_MS);
      // The socket is the front-end's, and stays.
      assert(Deno.lstatSync(path).isSocket);
    } finally {
      Deno.removeSync(directory, { recursive: true });
    }
  });
}

Deno.test("a back-end that nobody listens for ends at SIGTERM", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-dial-" });
  try {
    await using backEnd = new Dialler(directory, "inline");
    await backEnd.says("Nobody listens");
    assertEquals(await backEnd.stop(), 0, backEnd.log);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
