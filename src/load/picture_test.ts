import { assert, assertEquals, assertMatch } from "@std/assert";
import { Prng } from "../testing/prng.ts";
import { Histogram } from "./histogram.ts";
import { elements } from "../../tests/support/xml.ts";
import { picture } from "./picture.ts";
import { type Report, reportOf } from "./report.ts";

/** A report of `count` latencies up to `most` nanoseconds. */
function reportWith(label: string, count: number, most: number): Report {
  const prng = new Prng(count);
  const latency = new Histogram();
  for (let i = 0; i < count; i++) latency.add(1 + prng.below(most));
  const head = { label, device: "block", date: "", settings: {} };
  const result = {
    milliseconds: 1000,
    kicks: 1,
    calls: 2,
    waits: 3,
    counts: { read: count },
    requests: count,
    errors: 0,
    failures: 0,
    bytes: 0,
    latency,
    complaints: [],
  };
  return reportOf(head, result, null);
}

Deno.test("a picture is well-formed, with a curve and a row for each run", () => {
  const reports = [
    reportWith("first", 100_000, 1e6),
    reportWith("<b> & \"c\" \u0001 'd'", 10, 100),
    reportWith("x".repeat(100), 1, 3e9),
  ];
  const svg = picture(reports, "A & B");
  const names = elements(svg);
  assertEquals(names.filter((name) => name === "polyline").length, 3);
  assertEquals(names.filter((name) => name === "title").length, 4);
  assertMatch(svg, /A &amp; B/);
  assertMatch(svg, />&lt;b&gt; &amp; &quot;c&quot; {3}'d'</);
  assert(!svg.includes("NaN") && !svg.includes("Infinity"));
});

Deno.test("curves rise, and stay within the frame", () => {
  const svg = picture([
    reportWith("one", 1, 1),
    reportWith("many", 50_000, 2 ** 30),
  ], "t");
  const curves = [...svg.matchAll(/polyline[^>]* points="([^"]*)"/g)];
  assertEquals(curves.length, 2);
  for (const [, points] of curves) {
    let [lastX, lastY] = [0, Infinity];
    for (const point of points!.split(" ")) {
      const [x, y] = point.split(",").map(Number) as [number, number];
      assert(x >= lastX && y <= lastY, `${point} after ${lastX},${lastY}`);
      assert(x >= 76 && x <= 852 && y >= 64 && y <= 404, point);
      [lastX, lastY] = [x, y];
    }
  }
});

Deno.test("a run without latencies has a row and no curve", () => {
  const silent = { ...reportWith("silent", 5, 5), latency: null };
  const svg = picture([reportWith("one", 100, 1000), silent], "t");
  const names = elements(svg);
  assertEquals(names.filter((name) => name === "polyline").length, 1);
  assertMatch(svg, />silent</);
});
