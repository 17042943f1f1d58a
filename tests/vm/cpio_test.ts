import { assertEquals } from "@std/assert";
import { cpio, type CpioEntry } from "./cpio.ts";

const ENTRIES: CpioEntry[] = [
  { kind: "directory", path: "/dev" },
  { kind: "character", path: "/dev/console", major: 5, minor: 1 },
  { kind: "symlink", path: "/sh", target: "busybox" },
  {
    kind: "file",
    path: "/init",
    data: new TextEncoder().encode("hello"),
    executable: true,
  },
];

/** The archive read back: name, mode in octal, device and data of each entry. */
function unpack(bytes: Uint8Array): [string, string, string, string][] {
  const decoder = new TextDecoder();
  const text = (from: number, size: number) =>
    decoder.decode(bytes.subarray(from, from + size));
  const found: [string, string, string, string][] = [];
  for (let at = 0; at < bytes.length;) {
    assertEquals(at % 4, 0);
    assertEquals(text(at, 6), "070701");
    const field = (index: number) => parseInt(text(at + 6 + index * 8, 8), 16);
    const nameSize = field(11);
    const dataAt = Math.ceil((at + 110 + nameSize) / 4) * 4;
    found.push([
      text(at + 110, nameSize - 1),
      field(1).toString(8),
      `${field(9)}:${field(10)}`,
      text(dataAt, field(6)),
    ]);
    at = Math.ceil((dataAt + field(6)) / 4) * 4;
  }
  return found;
}

Deno.test("a cpio archive holds each entry and ends with its trailer", () => {
  const pieces = [...cpio(ENTRIES)];
  const bytes = new Uint8Array(pieces.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  assertEquals(unpack(bytes), [
    ["dev", "40755", "0:0", ""],
    ["dev/console", "20600", "5:1", ""],
    ["sh", "120777", "0:0", "busybox"],
    ["init", "100755", "0:0", "hello"],
    ["TRAILER!!!", "0", "0:0", ""],
  ]);
});
