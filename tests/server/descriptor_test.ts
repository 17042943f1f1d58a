import { assertEquals, assertRejects } from "@std/assert";
import { completeOptions, devices, Server, UsageError } from "../../mod.ts";
import { libc } from "../../src/ffi/libc.ts";
import { UnixListener } from "../../src/io/unix_socket.ts";

/** Serves a disk on descriptor `fd`, inline. */
async function serve(fd: number): Promise<Server> {
  const { block } = devices;
  const options = completeOptions(block.options, { "blk-null": 1 << 20 });
  const disk = await block.open(options);
  return await Server.open("disk", disk, { fd, dataPlane: "inline" });
}

Deno.test("a listening descriptor is named in the log", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-" });
  using bound = UnixListener.bind(`${directory}/s`);
  const { error } = console;
  const lines: string[] = [];
  console.error = (line: string) => void lines.push(line);
  try {
    // The server owns the descriptor.
    const fd = bound.fd.duplicate().release();
    const server = await serve(fd);
    assertEquals(lines, [
      `ringside info: disk listens on descriptor ${fd}`,
    ]);
    await server.close();
  } finally {
    console.error = error;
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("a descriptor of a socket without a peer is refused", async () => {
  const fd = libc.socket(1, 1, 0);
  await assertRejects(() => serve(fd), UsageError, "nor is connected");
  libc.close(fd);
});
