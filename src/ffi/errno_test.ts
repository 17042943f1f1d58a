import { assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { SystemError } from "../errors.ts";
import { EBADF, EINVAL } from "./abi.ts";
import { check, errno, errnoName, systemError } from "./errno.ts";
import { libc } from "./libc.ts";

Deno.test("errno says why the last call failed", () => {
  assertEquals(libc.fsync(-1), -1);
  assertEquals(errno(), EBADF);
  assertEquals(libc.epollCreate1(12345), -1);
  assertEquals(errno(), EINVAL);
});

Deno.test("error numbers have their names, and unknown ones a number", () => {
  const named: [number, string][] = [
    [1, "EPERM"],
    [11, "EAGAIN"],
    [34, "ERANGE"],
    [38, "ENOSYS"],
    [62, "ETIME"],
    [95, "EOPNOTSUPP"],
    [98, "EADDRINUSE"],
    [111, "ECONNREFUSED"],
    [125, "ECANCELED"],
    [133, "EHWPOISON"],
    [0, "errno 0"],
    [41, "errno 41"],
    [58, "errno 58"],
    [4000, "errno 4000"],
  ];
  for (const [number, name] of named) assertEquals(errnoName(number), name);
});

Deno.test("check passes results on and throws the error with its remedy", () => {
  assertEquals(check(7, "read"), 7);
  const error = assertThrows(
    () => check(libc.fsync(-1), "fsync", { path: "/a", remedy: "open it" }),
    SystemError,
    "fsync failed with EBADF on /a: open it",
  );
  assertInstanceOf(error, SystemError);
  assertEquals(error.errno, EBADF);
  assertEquals(systemError("bind", 98).code, "EADDRINUSE");
});

Deno.test("each thread has an errno of its own", async () => {
  const script = `
    const { libc } = await import(${
    JSON.stringify(import.meta.resolve("./libc.ts"))
  });
    const { errno } = await import(${
    JSON.stringify(import.meta.resolve("./errno.ts"))
  });
    libc.epollCreate1(12345);
    postMessage(errno());
  `;
  assertEquals(libc.fsync(-1), -1);
  const url = "data:text/javascript," + encodeURIComponent(script);
  const worker = new Worker(url, { type: "module" });
  const there = await new Promise((resolve) => {
    worker.onmessage = (event) => resolve(event.data);
  });
  worker.terminate();
  assertEquals(there, EINVAL);
  libc.fsync(-1);
  assertEquals(errno(), EBADF);
});
