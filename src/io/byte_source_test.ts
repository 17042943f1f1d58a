import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { SystemError, UsageError } from "../errors.ts";
import { EAGAIN } from "../ffi/abi.ts";
import { Mapping } from "../ffi/mapping.ts";
import { ByteSource } from "./byte_source.ts";
import { IovecList } from "./iovec.ts";

/** Two pieces of memory, of 4 and 8 bytes. */
class Room implements Disposable {
  readonly #memory = Mapping.anonymous(64);
  readonly list = new IovecList(2);

  constructor() {
    this.list.set(0, this.#memory.address, 4);
    this.list.set(1, this.#memory.address + 32, 8);
  }

  /** What is in them. */
  get text(): string {
    const bytes = new Uint8Array(this.#memory.buffer);
    const both = [...bytes.subarray(0, 4), ...bytes.subarray(32, 40)];
    return String.fromCharCode(...both.filter((byte) => byte !== 0));
  }

  [Symbol.dispose](): void {
    this.list[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }
}

function inDirectory(test: (path: string) => void): void {
  const directory = Deno.makeTempDirSync({ prefix: "ringside-source-" });
  try {
    test(`${directory}/source`);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("a file is read from its start to its end", () => {
  inDirectory((path) => {
    Deno.writeTextFileSync(path, "0123456789abcdef");
    using source = ByteSource.open(path);
    using room = new Room();
    assertEquals(source.isWatchable(), false);
    assertEquals(source.read(room.list, 0, 2), 12);
    assertEquals(room.text, "0123456789ab");
    assertEquals(source.read(room.list, 1, 1), 4);
    assertEquals(room.text, "0123cdef89ab");
    assertEquals(source.read(room.list, 0, 2), 0);
  });
});

Deno.test("a FIFO has nothing until it is written to, and no end", () => {
  inDirectory((path) => {
    const { code } = new Deno.Command("mkfifo", { args: [path] }).outputSync();
    assertEquals(code, 0);
    using source = ByteSource.open(path);
    using room = new Room();
    assertEquals(source.isWatchable(), true);
    for (const text of ["first", "second"]) {
      assertEquals(source.read(room.list, 0, 2), -EAGAIN);
      Deno.writeTextFileSync(path, text);
      assertEquals(source.read(room.list, 0, 2), text.length);
      assertEquals(room.text.slice(0, text.length), text);
    }
  });
});

Deno.test("a device is watched where it can be", () => {
  using random = ByteSource.open("/dev/random");
  assertEquals(random.isWatchable(), true);
  using zero = ByteSource.open("/dev/zero");
  assertEquals(zero.isWatchable(), false);
});

Deno.test("what can't be read is an error with its path", () => {
  inDirectory((path) => {
    const missing = assertThrows(() => ByteSource.open(path), SystemError);
    assertEquals([missing.code, missing.path], ["ENOENT", path]);
    Deno.mkdirSync(path);
    const { message } = assertThrows(() => ByteSource.open(path), UsageError);
    assertStringIncludes(message, `${path} is a directory, wanted a regular`);
  });
});
