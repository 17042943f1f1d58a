import { assertEquals } from "@std/assert";
import { check } from "./conformance_table.ts";

Deno.test("docs/conformance.md names a test, or a reason, for every case", () => {
  assertEquals(check(), []);
});
