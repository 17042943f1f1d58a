import { assertEquals } from "@std/assert";
import { UnixListener, UnixSocket } from "../io/unix_socket.ts";
import { listens } from "./dial.ts";

Deno.test("somebody listens, though he accepts nobody for ever", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-dial-" });
  const waiting: UnixSocket[] = [];
  try {
    const path = `${directory}/s`;
    {
      using _listener = UnixListener.bind(path);
      assertEquals(await listens(path), true);
      // Until the queue of those that want to connect is full.
      for (let next; (next = UnixSocket.tryConnect(path)) !== null;) {
        waiting.push(next);
      }
      assertEquals(await listens(path), true);
    }
    assertEquals(await listens(path), false);
  } finally {
    for (const socket of waiting) socket[Symbol.dispose]();
    Deno.removeSync(directory, { recursive: true });
  }
});
