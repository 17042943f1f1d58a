import { assertEquals, assertMatch } from "@std/assert";
import type { Sample } from "../peers/measure.ts";
import { verdict, verdictHead, verdictLines } from "./verdict.ts";

Deno.test("a difference is beyond the spread where no sample is shared", () => {
  const cases = [
    [[10, 11, 12], [13, 14, 15], 14 / 11, "all"],
    [[13, 14, 15], [10, 11, 12], 11 / 14, "all"],
    [[10, 11, 12], [12, 13, 14], 13 / 11, "none"],
    // One run of each side was disturbed.
    [[10, 11, 12, 3], [13, 14, 15, 9], 14 / 11, "halves"],
    [[10, 11, 12, 30], [13, 14, 15, 16], 15 / 12, "halves"],
    [[10, 14, 12, 30], [13, 14, 15, 16], 15 / 14, "none"],
    [[10], [10], 1, "unknown"],
    [[10, 11], [13, 14, 15], 14 / 11, "unknown"],
  ] as const;
  for (const [before, after, ratio, apart] of cases) {
    assertEquals(verdict(before, after), { ratio, apart });
  }
});

Deno.test("each figure of a contender has a line with as many cells as the head", () => {
  const sample = (rate: number): Sample => ({
    rate,
    cpuRate: 2 * rate,
    p50: 1000 / rate,
    p99: 5,
  });
  const lines = verdictLines(
    "ringside",
    [sample(100), sample(110), sample(90)],
    [sample(200), sample(220), sample(190)],
  );
  const cells = (line: string) => line.split("|").length;
  const [head] = verdictHead("one", "other").split("\n");
  assertEquals(lines.map(cells), lines.map(() => cells(head!)));
  const rate = lines.find((line) => line.includes("| k a second |"))!;
  assertEquals(
    rate,
    "| ringside | k a second | 100 (90-110) | 200 (190-220) | 2.000 | " +
      "beyond the spread |",
  );
  const p99 = lines.find((line) => line.includes("| p99 us |"))!;
  assertMatch(p99, /\| 1\.000 \| within the spread \|$/);
});
