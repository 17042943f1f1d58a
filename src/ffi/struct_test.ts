import { assertEquals, assertThrows } from "@std/assert";
import {
  EPOLL_EVENT,
  IO_URING_PARAMS,
  IO_URING_SQE,
  IOVEC,
  MSGHDR,
  STATX,
  struct,
} from "./struct.ts";

Deno.test("fields are aligned as C does, with the size padded", () => {
  const layout = struct({ a: "u8", b: "u32", c: "u16", d: "pointer" }, 24);
  assertEquals(layout.at, { a: 0, b: 4, c: 8, d: 16 });
  assertEquals(struct({ a: "u8", b: "u64" }, 9, true).at, { a: 0, b: 1 });
  assertEquals(struct({ a: ["u32", 3], b: "u8" }, 16).at, { a: 0, b: 12 });
});

Deno.test("a layout of the wrong size is a defect", () => {
  assertThrows(() => struct({ a: "u32" }, 8), Error, "4 bytes, not 8");
});

// From offsetof() and sizeof() by a C compiler on the Linux headers.
Deno.test("the structures are those of the C headers", () => {
  assertEquals(IOVEC.at, { base: 0, size: 8 });
  assertEquals(MSGHDR.at.flags, 48);
  assertEquals(MSGHDR.at.controlSize, 40);
  assertEquals(STATX.at.mode, 28);
  assertEquals(STATX.at.size, 40);
  assertEquals(STATX.at.devMajor, 136);
  assertEquals(STATX.at.directOffsetAlignment, 156);
  assertEquals(IO_URING_SQE.at.userData, 32);
  assertEquals(IO_URING_PARAMS.at.features, 20);
  assertEquals(IO_URING_PARAMS.at.sqHead, 40);
  assertEquals(IO_URING_PARAMS.at.cqCqes, 100);
  const packed = Deno.build.arch === "x86_64";
  assertEquals(EPOLL_EVENT.at.data, packed ? 4 : 8);
});
