import { assert, assertEquals } from "@std/assert";
import { elements } from "../../../tests/support/xml.ts";
import { lastOf } from "../past.ts";
import { pictures } from "./mod.ts";

/** A sample with these rates, thousands a second. */
function sample(rate: number) {
  const us = 1000 / rate;
  return {
    rate,
    cpuRate: rate / 2,
    p50: us,
    p90: 2 * us,
    p99: 3 * us,
    "p99.9": 10 * us,
    max: 900 * us,
  };
}

function line(work: string, rates: Record<string, readonly number[]>): string {
  const samples = Object.fromEntries(
    Object.entries(rates).map(([name, all]) => [name, all.map(sample)]),
  );
  return JSON.stringify({ date: "2026-11-21", about: {}, work, samples });
}

const both = (one: readonly number[], other: readonly number[]) => ({
  ringside: one,
  "<peer> & co": other,
});

const HISTORY = [
  line("reads, depth 1, event", both([50, 60, 70], [10, 12, 13])),
  line("reads, depth 16, event", both([500], [400, 500])),
  line("reads, depth 16, polled", both([600], [500])),
  line("queues, null disk, 4 KiB reads, depth 32, event", {
    "ringside, 1 queue": [1000],
    "ringside, 2 queues": [1500],
  }),
  // A guest has figures of its own.
  JSON.stringify({ date: "", work: "guest", samples: { a: [{ mbit: 3 }] } }),
  line("reads, depth 16, event", both([700], [400, 500])),
  "",
].join("\n");

Deno.test("of each work the last line counts", () => {
  const last = lastOf(HISTORY);
  assertEquals(last.map(({ work }) => work), [
    "reads, depth 1, event",
    "reads, depth 16, event",
    "reads, depth 16, polled",
    "queues, null disk, 4 KiB reads, depth 32, event",
    "guest",
  ]);
  assertEquals(last[1]!.samples.ringside![0]!.rate, 700);
});

Deno.test("each work has its bars and its latencies, families and queues more", () => {
  const drawn = pictures(lastOf(HISTORY));
  const works = [
    "reads-depth-1-event",
    "reads-depth-16-event",
    "reads-depth-16-polled",
    "queues-null-disk-4-kib-reads-depth-32-event",
  ];
  assertEquals(
    [...drawn.keys()].sort(),
    [
      ...works.flatMap((work) => [`${work}.svg`, `${work}-latency.svg`]),
      "reads-event-depths.svg",
      "queues-cost.svg",
    ].sort(),
  );
  for (const [name, svg] of drawn) {
    const names = elements(svg);
    const marks = names.filter((name) =>
      name === "rect" || name === "polyline"
    );
    assert(marks.length > 0, `${name} shows nothing`);
  }
});

Deno.test("a chart stays within its frame", () => {
  for (const [name, svg] of pictures(lastOf(HISTORY))) {
    const [, width, height] = /viewBox="0 0 ([0-9]+) ([0-9]+)"/.exec(svg)!;
    const points = [...svg.matchAll(/points="([^"]*)"/g)]
      .flatMap(([, points]) => points!.split(" "))
      .map((point) => point.split(",").map(Number) as [number, number]);
    for (const [x, y] of points) {
      assert(x > 0 && x < Number(width), `${name}: ${x}`);
      assert(y > 0 && y < Number(height), `${name}: ${y}`);
    }
    assert(!svg.includes("NaN") && !svg.includes("Infinity"), name);
  }
});
