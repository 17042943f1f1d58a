/**
 * Mistakes are made where they are said to be, or not at all.
 *
 * @module
 */
import { assertEquals, assertThrows } from "@std/assert";
import { TARGETS } from "../targets.ts";
import { BREAKS, broken } from "./breaks.ts";

const mistake = {
  what: "a sum is a difference",
  target: "messages",
  file: "sum.ts",
  from: "a + b",
  to: "a - b",
};

Deno.test("a mistake is made where its text is, which is there once", () => {
  assertEquals(broken("return a + b;", mistake), "return a - b;");
  assertThrows(() => broken("return a;", mistake), Error, "0 times");
  assertThrows(() => broken("a + b + a + b", mistake), Error, "2 times");
});

Deno.test("every target but none else has mistakes to find", () => {
  const targets = new Set(BREAKS.map(({ target }) => target));
  assertEquals([...targets].sort(), TARGETS.map(({ name }) => name).sort());
});
