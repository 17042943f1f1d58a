import { assertEquals } from "@std/assert";
import { EBADF, EPIPE } from "../ffi/abi.ts";
import { libc } from "../ffi/libc.ts";
import { clearEventFd, EventFd, signalEventFd } from "./event_fd.ts";
import { fileStatus } from "../ffi/status.ts";
import { Fd, setNonBlocking } from "./fd.ts";
import { createMemfd } from "./memfd.ts";

Deno.test("signals add up until they are cleared", () => {
  using event = EventFd.open();
  assertEquals(event.clear(), false);
  event.signal();
  event.signal();
  assertEquals(clearEventFd(event.fd.number), 2);
  assertEquals(event.clear(), false);
  event.signal();
  assertEquals(event.clear(), true);
});

Deno.test("a full eventfd is signalled already: no wait, no error", () => {
  using event = EventFd.open();
  const most = new BigUint64Array([2n ** 64n - 2n]);
  assertEquals(libc.write(event.fd.number, most, 8), 8);
  assertEquals(signalEventFd(event.fd.number), 0);
  assertEquals(event.clear(), true);
});

Deno.test("a full eventfd of a peer does not block once set non-blocking", () => {
  using fd = new Fd(libc.eventfd(0, 0));
  setNonBlocking(fd.number);
  libc.write(fd.number, new BigUint64Array([2n ** 64n - 2n]), 8);
  assertEquals(signalEventFd(fd.number), 0);
});

Deno.test("a full pipe in place of an eventfd does not block", () => {
  const ends = new Int32Array(2);
  libc.pipe2(ends, 0);
  using reader = new Fd(ends[0]!);
  using writer = new Fd(ends[1]!);
  setNonBlocking(writer.number);
  const chunk = new Uint8Array(65536);
  while (libc.write(writer.number, chunk, chunk.length) > 0);
  assertEquals(signalEventFd(writer.number), 0);
  reader.close();
  assertEquals(signalEventFd(writer.number), -EPIPE);
});

Deno.test("a file in place of an eventfd is written to, a closed one refused", () => {
  using file = createMemfd("test", 0);
  assertEquals(signalEventFd(file.number), 0);
  assertEquals(fileStatus(file.number).size, 8);
  assertEquals(signalEventFd(-1), -EBADF);
  assertEquals(clearEventFd(-1), 0);
});
