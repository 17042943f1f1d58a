import { assertEquals, assertThrows } from "@std/assert";
import { SystemError } from "../errors.ts";
import { DiskFile } from "./file.ts";
import { tryLockFile, unlockFile } from "./file_lock.ts";

Deno.test("a file is locked by one open file at a time", () => {
  const path = Deno.makeTempFileSync({ prefix: "ringside-lock-" });
  try {
    Deno.truncateSync(path, 4096);
    using one = DiskFile.open(path);
    const other = DiskFile.open(path);
    assertEquals(tryLockFile(one.fd.number, path), true);
    assertEquals(tryLockFile(one.fd.number, path), true, "it has it already");
    assertEquals(tryLockFile(other.fd.number, path), false);
    unlockFile(other.fd.number);
    assertEquals(tryLockFile(other.fd.number, path), false);
    unlockFile(one.fd.number);
    assertEquals(tryLockFile(other.fd.number, path), true);
    const twin = other.fd.duplicate();
    other[Symbol.dispose]();
    assertEquals(tryLockFile(one.fd.number, path), false, "it is open still");
    twin.close();
    assertEquals(tryLockFile(one.fd.number, path), true);
  } finally {
    Deno.removeSync(path);
  }
});

Deno.test("what can't be locked is an error with its path", () => {
  assertThrows(() => tryLockFile(-1, "disk.img"), SystemError, "disk.img");
});
