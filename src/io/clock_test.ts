import { assert, assertEquals } from "@std/assert";
import { elapsed, milliseconds } from "./clock.ts";

Deno.test("the clock goes as performance.now() does", () => {
  const since = milliseconds();
  const start = performance.now();
  while (performance.now() < start + 20);
  const passed = elapsed(since);
  const upTo = performance.now() - start;
  assert(passed >= 19 && passed <= upTo + 1, `${passed} of ${upTo} ms`);
});

Deno.test("the clock counts over its wrap-around", () => {
  const now = milliseconds();
  assertEquals(Number.isSafeInteger(now) && now >= 0 && now < 2 ** 31, true);
  const before = (now - 1000) & (2 ** 31 - 1);
  assert(elapsed(before) >= 1000);
  assert(elapsed(before) < 60_000);
});
