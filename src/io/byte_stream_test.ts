import { assertEquals, assertThrows } from "@std/assert";
import { ByteChunks } from "./byte_stream.ts";

Deno.test("pieces are joined, and none of them is held on to", () => {
  const chunks = new ByteChunks(1000);
  const piece = new Uint8Array(65536);
  for (let i = 0; i < 1000; i++) {
    piece[0] = i;
    chunks.add(piece.subarray(0, 1));
  }
  chunks.add(new Uint8Array(0));
  const wanted = Uint8Array.from({ length: 1000 }, (_, i) => i);
  assertEquals(chunks.join(), wanted);
  assertThrows(() => chunks.add(piece.subarray(0, 1)), RangeError, "1000");
  assertEquals(chunks.join(), wanted);
});
