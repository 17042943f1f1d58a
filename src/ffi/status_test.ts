import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { SystemError } from "../errors.ts";
import { libc } from "./libc.ts";
import { fileStatus, pathStatus } from "./status.ts";

Deno.test("a file's kind, size and identity are those of the kernel", () => {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeFileSync(path, new Uint8Array(10_000));
    const status = pathStatus(path);
    const expected = Deno.statSync(path);
    assertEquals(status.kind, "regular file");
    assertEquals(status.size, 10_000);
    assertEquals(Number(status.inode), expected.ino);
    assertEquals(status.blockSize, expected.blksize);
    assertEquals(status.allocatedBytes, expected.blocks! * 512);
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test("kinds are told apart, links are not followed", () => {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.symlinkSync("/dev/null", `${folder}/link`);
    assertEquals(pathStatus(folder).kind, "directory");
    assertEquals(pathStatus("/dev/null").kind, "character device");
    assertNotEquals(pathStatus(`${folder}/link`).kind, "character device");
    const number = libc.eventfd(0, 0);
    assertEquals(fileStatus(number).kind, "anonymous file");
    libc.close(number);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("what is not there is a SystemError with its path", () => {
  assertThrows(() => pathStatus("/none"), SystemError, "ENOENT on /none");
  assertThrows(() => fileStatus(-1), SystemError, "EBADF");
});
