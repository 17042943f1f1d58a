import { assert, assertEquals } from "@std/assert";
import { Prng } from "../testing/prng.ts";
import { Histogram } from "./histogram.ts";

const SHARES = [0, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1];

/** The time that a share of `sorted` does not exceed. */
function exact(sorted: readonly number[], share: number): number {
  return sorted[Math.max(1, Math.ceil(share * sorted.length - 1e-6)) - 1]!;
}

Deno.test("percentiles are the exact ones within a 128th", () => {
  const prng = Prng.fromEnvironment("histogram");
  for (const powers of [5, 8, 12, 20, 31, 32, 33, 39.9]) {
    const histogram = new Histogram();
    const times = Array.from(
      { length: 5000 },
      () => Math.floor(2 ** (prng.next() / 2 ** 32 * powers)),
    );
    for (const time of times) histogram.add(time);
    times.sort((a, b) => a - b);
    for (const share of SHARES) {
      const wanted = exact(times, share);
      const got = histogram.percentile(share);
      assert(
        got >= wanted && got <= wanted * (1 + 1 / 128),
        `2^${powers}, share ${share}: ${got}, exactly ${wanted}`,
      );
    }
    assertEquals(histogram.count, times.length);
    assertEquals(histogram.max, times.at(-1));
    assertEquals(histogram.min, times[0]);
    const sum = times.reduce((all, time) => all + time, 0);
    assertEquals(histogram.mean, sum / times.length);
  }
});

Deno.test("times below 256 ns are exact", () => {
  for (const time of [0, 1, 127, 128, 255]) {
    const histogram = new Histogram();
    histogram.add(time);
    histogram.add(1000);
    assertEquals(histogram.percentile(0.5), time);
  }
});

Deno.test("each border between buckets is on its side", () => {
  for (let power = 8; power < 40; power++) {
    for (const time of [2 ** power - 1, 2 ** power, 2 ** power + 1]) {
      const histogram = new Histogram();
      histogram.add(time);
      histogram.add(2 ** 41);
      const got = histogram.percentile(0.5);
      assert(got >= time && got <= time * (1 + 1 / 128), `${time}: ${got}`);
    }
  }
});

Deno.test("the entries are all that was counted, in order", () => {
  const histogram = new Histogram();
  for (let time = 0; time < 100_000; time += 7) histogram.add(time);
  const entries = histogram.entries();
  let before = -1;
  let sum = 0;
  for (const [upTo, count] of entries) {
    assert(upTo > before);
    before = upTo;
    sum += count;
  }
  assertEquals(sum, histogram.count);
  assertEquals(before, histogram.max);
});

Deno.test("what is cleared is empty", () => {
  const histogram = new Histogram();
  histogram.add(5);
  histogram.clear();
  assertEquals(histogram.count, 0);
  assertEquals(histogram.percentile(0.99), 0);
  assertEquals(histogram.mean, 0);
  histogram.add(9);
  assertEquals([histogram.min, histogram.max], [9, 9]);
});
