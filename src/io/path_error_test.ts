import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { SystemError } from "../errors.ts";
import { EACCES, EIO, ENOENT, EROFS } from "../ffi/abi.ts";
import { openDescriptors } from "../../tests/support/descriptors.ts";
import { AppendFile } from "./append_file.ts";
import { ByteSource } from "./byte_source.ts";
import { DiskFile } from "./file.ts";
import { pathError, shellWord } from "./path_error.ts";
import { UnixListener } from "./unix_socket.ts";

/** Everything that opens a path that the operator names. */
const OPEN: Record<string, (path: string) => unknown> = {
  disk: (path) => DiskFile.open(path),
  readOnlyDisk: (path) => DiskFile.open(path, { readOnly: true }),
  source: (path) => ByteSource.open(path),
  capture: (path) => AppendFile.create(path),
  socket: (path) => UnixListener.bind(path),
};

function refused(what: string, path: string): string {
  return assertThrows(() => OPEN[what]!(path), SystemError).message;
}

Deno.test("whatever is wrong with a path, there is a remedy", () => {
  // A short name: a socket's path has 107 bytes at most.
  const folder = Deno.makeTempDirSync({ prefix: "r-" });
  Deno.writeTextFileSync(`${folder}/file`, "");
  Deno.symlinkSync("loop", `${folder}/loop`);
  const before = openDescriptors();
  const cases: [string, string, string][] = [
    ["no dir/x", "ENOENT", `mkdir -p '${folder}/no dir'`],
    ["a/b/x", "ENOENT", `mkdir -p ${folder}/a/b`],
    ["file/x", "ENOTDIR", `${folder}/file is a regular file and no directory`],
    ["loop/x", "ELOOP", "its symbolic links lead back to themselves"],
  ];
  for (const [name, code, remedy] of cases) {
    for (const what of Object.keys(OPEN)) {
      const message = refused(what, `${folder}/${name}`);
      assertStringIncludes(message, `${code} on ${folder}/${name}: `, what);
      assertStringIncludes(message, remedy, what);
    }
  }
  const long = `${folder}/${"x".repeat(300)}`;
  for (const what of ["disk", "readOnlyDisk", "source", "capture"]) {
    assertStringIncludes(refused(what, long), "a name has 255 bytes at most");
  }
  for (const what of ["readOnlyDisk", "source"]) {
    const message = refused(what, `${folder}/none`);
    assertStringIncludes(message, "there is no such file, name another");
  }
  assertStringIncludes(
    refused("disk", `${folder}/it's one`),
    `truncate -s 1G '${folder}/it'\\''s one'`,
  );
  assertStringIncludes(refused("capture", folder), "is a directory, name a");
  assertEquals(openDescriptors(), before);
  Deno.removeSync(folder, { recursive: true });
});

Deno.test("a permission is asked for by what was to be done", () => {
  const message = (failure: number, use: "read" | "make") =>
    pathError("open", failure, "/run/x/s", use).message;
  assertEquals(
    message(EACCES, "read"),
    "open failed with EACCES on /run/x/s: give this user the permission to " +
      "read it",
  );
  assertStringIncludes(message(EACCES, "make"), "to write to /run/x, or name");
  assertStringIncludes(message(EROFS, "make"), "is read-only, name a path on");
  assertEquals(message(EIO, "read"), "open failed with EIO on /run/x/s");
  const special = pathError("open", ENOENT, "x", "read", "wait for it");
  assertEquals(special.message, "open failed with ENOENT on x: wait for it");
});

Deno.test("shellWord quotes what a shell would not take as one word", () => {
  const cases: [string, string][] = [
    ["/srv/disk-0.img", "/srv/disk-0.img"],
    ["größe.img", "größe.img"],
    ["", "''"],
    ["a b", "'a b'"],
    ["~", "'~'"],
    ["it's $HOME", "'it'\\''s $HOME'"],
    ["-rf", "'./-rf'"],
    ["a\nb'\\", "$'a\nb\\'\\\\'"],
  ];
  for (const [text, word] of cases) assertEquals(shellWord(text), word);
});
