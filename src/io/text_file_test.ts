import { assertEquals, assertThrows } from "@std/assert";
import { openDescriptors } from "../../tests/support/descriptors.ts";
import { SystemError, UsageError } from "../errors.ts";
import { readTextFile, writeTextFile } from "./text_file.ts";

Deno.test("a text is read whole, up to its greatest size", () => {
  const path = Deno.makeTempFileSync({ prefix: "ringside-" });
  const before = openDescriptors();
  for (const text of ["", "x", "zwölf Bytes"]) {
    Deno.writeTextFileSync(path, text);
    assertEquals(readTextFile(path, 12), text);
  }
  Deno.writeTextFileSync(path, "thirteen byte");
  assertThrows(() => readTextFile(path, 12), UsageError, "more than 12 bytes");
  Deno.writeFileSync(path, Uint8Array.of(0x61, 0xff));
  assertThrows(() => readTextFile(path, 12), UsageError, "no text in UTF-8");
  assertEquals(openDescriptors(), before);
  Deno.removeSync(path);
});

Deno.test("a pipe is read to its end, a device only so far", async () => {
  const fifo = `${Deno.makeTempDirSync({ prefix: "ringside-" })}/fifo`;
  new Deno.Command("mkfifo", { args: [fifo] }).outputSync();
  const script = 'printf one > "$1"; printf two >> "$1"';
  // One writer that stays, so that there is one end.
  const writer = new Deno.Command("sh", {
    args: ["-c", `exec 3> "$1"; ${script}; exec 3>&-`, "sh", fifo],
  }).spawn();
  assertEquals(readTextFile(fifo, 100), "onetwo");
  assertEquals((await writer.status).success, true);
  assertThrows(() => readTextFile("/dev/zero", 100), UsageError, "more than");
  assertEquals(readTextFile("/dev/null", 100), "");
  Deno.removeSync(fifo);
});

Deno.test("what can't be read is an error with its path", () => {
  assertThrows(
    () => readTextFile("/nonexistent.json", 100),
    SystemError,
    "ENOENT on /nonexistent.json: there is no such file, name another",
  );
  assertThrows(() => readTextFile("/", 100), UsageError, "/ is a directory");
});

Deno.test("a text is written in place of what was there", () => {
  const path = Deno.makeTempFileSync({ prefix: "ringside-" });
  const before = openDescriptors();
  for (const text of ["a longer text", "zwölf", ""]) {
    writeTextFile(path, text);
    assertEquals(Deno.readTextFileSync(path), text);
  }
  assertThrows(() => writeTextFile("/dev/full", "x"), SystemError, "ENOSPC");
  assertThrows(() => writeTextFile("/", "x"), SystemError, "EISDIR on /");
  assertEquals(openDescriptors(), before);
  Deno.removeSync(path);
});
