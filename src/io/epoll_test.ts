import { assertEquals, assertThrows } from "@std/assert";
import { openDescriptors } from "../../tests/support/descriptors.ts";
import { SystemError } from "../errors.ts";
import { EPERM } from "../ffi/abi.ts";
import { Epoll } from "./epoll.ts";
import { EventFd } from "./event_fd.ts";
import { createMemfd } from "./memfd.ts";

Deno.test("ready descriptors are told with their data and events", () => {
  using epoll = Epoll.open();
  using one = EventFd.open();
  using two = EventFd.open();
  epoll.add(one.fd.number, Epoll.IN, 0xffff_fff0);
  epoll.add(two.fd.number, Epoll.IN);
  assertEquals(epoll.wait(0), 0);
  one.signal();
  assertEquals(epoll.wait(-1), 1);
  assertEquals(epoll.dataAt(0), 0xffff_fff0);
  assertEquals(epoll.eventsAt(0), Epoll.IN);
  two.signal();
  assertEquals(epoll.wait(0), 2);
  const seen = [epoll.dataAt(0), epoll.dataAt(1)].sort();
  assertEquals(seen, [0xffff_fff0, two.fd.number].sort());
});

Deno.test("an edge is told once, a level as long as it lasts", () => {
  using epoll = Epoll.open();
  using level = EventFd.open();
  using edge = EventFd.open();
  epoll.add(level.fd.number, Epoll.IN, 1);
  epoll.add(edge.fd.number, Epoll.IN | Epoll.EDGE, 2);
  level.signal();
  edge.signal();
  assertEquals(epoll.wait(0), 2);
  assertEquals(epoll.wait(0), 1);
  assertEquals(epoll.dataAt(0), 1);
  edge.signal();
  assertEquals(epoll.wait(0), 2);
});

Deno.test("descriptors are changed, added by a change, and removed", () => {
  using epoll = Epoll.open();
  using event = EventFd.open();
  const { number } = event.fd;
  epoll.modify(number, Epoll.OUT, 5);
  assertEquals(epoll.wait(0), 1);
  assertEquals(epoll.eventsAt(0), Epoll.OUT);
  epoll.modify(number, Epoll.IN, 6);
  assertEquals(epoll.wait(0), 0);
  event.signal();
  assertEquals(epoll.wait(0), 1);
  assertEquals(epoll.dataAt(0), 6);
  epoll.remove(number);
  epoll.remove(number);
  assertEquals(epoll.wait(0), 0);
});

Deno.test("what can't be waited for is refused", () => {
  using epoll = Epoll.open();
  using file = createMemfd("test", 1);
  assertEquals(epoll.tryAdd(file.number, Epoll.IN, 0), -EPERM);
  assertThrows(() => epoll.add(file.number, Epoll.IN), SystemError, "EPERM");
  assertThrows(() => epoll.modify(-1, Epoll.IN), SystemError, "EBADF");
});

Deno.test("a wait on a pool thread sees what is added meanwhile", async () => {
  const before = openDescriptors();
  {
    using epoll = Epoll.open();
    using event = EventFd.open();
    const wait = epoll.waitAsync(-1);
    epoll.add(event.fd.number, Epoll.IN, 77);
    event.signal();
    assertEquals(await wait, 1);
    assertEquals(epoll.dataAt(0), 77);
  }
  assertEquals(openDescriptors(), before);
});
