import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { openDescriptors } from "../../tests/support/descriptors.ts";
import { SystemError } from "../errors.ts";
import { F_GETFD, F_GETFL, O_NONBLOCK } from "../ffi/abi.ts";
import { libc } from "../ffi/libc.ts";
import { duplicateFd, Fd, hasRoom, setNonBlocking } from "./fd.ts";
import { UnixSocket } from "./unix_socket.ts";

function open(): Fd {
  return new Fd(libc.eventfd(0, 0));
}

Deno.test("a descriptor is closed once, and is -1 from then on", () => {
  const before = openDescriptors();
  const fd = open();
  assertNotEquals(openDescriptors(), before);
  fd.close();
  assertEquals(fd.number, -1);
  assertEquals(openDescriptors(), before);
  // Whoever got the number since must not lose it.
  using other = open();
  fd.close();
  fd[Symbol.dispose]();
  assertEquals(libc.fcntl(other.number, F_GETFD, 0) >= 0, true);
});

Deno.test("a descriptor that is released is not closed", () => {
  const fd = open();
  const number = fd.release();
  assertEquals(fd.number, -1);
  fd.close();
  assertEquals(libc.close(number), 0);
});

Deno.test("a duplicate lives on, closes on exec and is no standard stream", () => {
  const before = openDescriptors();
  const fd = open();
  const copy = fd.duplicate();
  fd.close();
  assertEquals(libc.fcntl(copy.number, F_GETFD, 0), 1);
  assertEquals(copy.number > 2, true);
  copy.close();
  assertEquals(openDescriptors(), before);
  assertThrows(() => copy.duplicate(), SystemError, "EBADF");
  assertThrows(() => duplicateFd(-1), SystemError, "EBADF");
});

Deno.test("being non-blocking is of the open file, not the descriptor", () => {
  using fd = open();
  using copy = fd.duplicate();
  setNonBlocking(fd.number);
  setNonBlocking(fd.number);
  const flags = libc.fcntl(copy.number, F_GETFL, 0);
  assertEquals(flags & O_NONBLOCK, O_NONBLOCK);
  assertThrows(() => setNonBlocking(-1), SystemError, "EBADF");
});

Deno.test("there is no room where a write would wait", () => {
  const [reader, writer] = UnixSocket.pair();
  assertEquals(hasRoom(writer.fd.number), true);
  const bytes = new Uint8Array(1 << 16);
  while (writer.send(bytes) > 0);
  assertEquals(hasRoom(writer.fd.number), false);
  reader[Symbol.dispose]();
  assertEquals(hasRoom(writer.fd.number), true, "to fail is not to wait");
  writer[Symbol.dispose]();
});
