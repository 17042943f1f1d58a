import { assertEquals } from "@std/assert";
import { editDistance, nearest } from "./nearest.ts";

Deno.test("editDistance counts edits", () => {
  const cases: [string, string, number][] = [
    ["", "", 0],
    ["", "abc", 3],
    ["abc", "", 3],
    ["kitten", "sitting", 3],
    ["abc", "acb", 1],
    ["scoket", "socket", 1],
    ["blk", "blk-file", 5],
  ];
  for (const [a, b, distance] of cases) {
    assertEquals(editDistance(a, b), distance, `${a} to ${b}`);
    assertEquals(editDistance(b, a), distance, `${b} to ${a}`);
  }
});

Deno.test("nearest finds the name that was meant", () => {
  const names = ["socket-path", "fd", "blk-file", "read-only"];
  assertEquals(nearest("scoket-path", names), "socket-path");
  assertEquals(nearest("readonly", names), "read-only");
  assertEquals(nearest("blk-flie", names), "blk-file");
  assertEquals(nearest("Read-Only", names), "read-only");
  assertEquals(nearest("socket", names), "socket-path");
  assertEquals(nearest("fs", names), "fd");
});

Deno.test("nearest finds nothing where nothing is near", () => {
  const names = ["socket-path", "fd", "blk-file", "read-only"];
  for (const name of ["", "x", "so", "colour", "print-capabilities"]) {
    assertEquals(nearest(name, names), null, name);
  }
  assertEquals(nearest("x", []), null);
});
