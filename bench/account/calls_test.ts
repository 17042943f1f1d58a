import { assertEquals } from "@std/assert";
import { callsOf } from "./calls.ts";

Deno.test("calls are counted by name, the most first", () => {
  const summary = `syscall              calls
---------------- ---------
read                    12
io_uring_enter        1500
epoll_wait               3
---------------- ---------
total                 1515
`;
  assertEquals(callsOf(summary), [
    ["io_uring_enter", 1500],
    ["read", 12],
    ["epoll_wait", 3],
  ]);
  assertEquals(callsOf(""), []);
});
