import { assertEquals } from "@std/assert";
import { descriptorLimit } from "./descriptor_limit.ts";

Deno.test("the limit is the one that the kernel shows", () => {
  const limits = Deno.readTextFileSync("/proc/self/limits");
  const [, shown] = /^Max open files +(\d+)/m.exec(limits)!;
  assertEquals(descriptorLimit(), Number(shown));
});
