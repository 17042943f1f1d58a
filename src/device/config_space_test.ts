import { assert, assertEquals } from "@std/assert";
import { ConfigSpace } from "./config_space.ts";

Deno.test("a read behind the structure gives zeros", () => {
  const config = new ConfigSpace(4);
  config.bytes.set([1, 2, 3, 4]);
  assertEquals(config.read(2, 4), new Uint8Array([3, 4, 0, 0]));
  assertEquals(config.read(200, 56), new Uint8Array(56));
});

Deno.test("[C53] a read that is empty or leaves 256 bytes gives null", () => {
  const config = new ConfigSpace(60);
  assertEquals(config.read(0, 0), null);
  assertEquals(config.read(0, 257), null);
  assertEquals(config.read(255, 2), null);
  assertEquals(config.read(2 ** 32 - 1, 256), null);
  assertEquals(config.read(-1, 4), null);
  assertEquals(config.read(0, 256)!.length, 256);
});

Deno.test("a read is a copy", () => {
  const config = new ConfigSpace(4);
  config.read(0, 4)![0] = 9;
  assertEquals(config.bytes[0], 0);
});

Deno.test("the driver writes within writable ranges only", () => {
  const config = new ConfigSpace(16, [[4, 1], [8, 4]]);
  assert(config.write(4, new Uint8Array([7])));
  assert(config.write(9, new Uint8Array([1, 2, 3])));
  for (const [offset, size] of [[3, 1], [4, 2], [7, 2], [9, 4], [4, 0]]) {
    const bytes = new Uint8Array(size!).fill(255);
    assert(!config.write(offset!, bytes), `${size} bytes at ${offset}`);
  }
  assertEquals(
    config.bytes,
    new Uint8Array([0, 0, 0, 0, 7, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0]),
  );
});
