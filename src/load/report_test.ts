import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../errors.ts";
import { Histogram } from "./histogram.ts";
import { parseReport, reportOf } from "./report.ts";
import { reportTable } from "./report_table.ts";
import { formatBytes, formatCount, formatShare, formatTime } from "./units.ts";

const HEAD = {
  label: "a disk",
  device: "block",
  date: "2026-01-01T00:00:00.000Z",
  settings: {
    depth: 8,
    polled: true,
    indirect: false,
    capacity: 1 << 30,
    seed: 1,
  },
};

Deno.test("a report is sums and shares of what was measured", () => {
  const latency = new Histogram();
  for (let i = 1; i <= 1000; i++) latency.add(i * 1000);
  const report = reportOf(HEAD, {
    milliseconds: 500,
    kicks: 10,
    calls: 250,
    waits: 7,
    counts: { read: 800, write: 190, flush: 0 },
    requests: 1000,
    errors: 10,
    failures: 10,
    bytes: 990 * 4096,
    latency,
    complaints: ["10 failed"],
  }, {
    pid: 5,
    userSeconds: 0.2,
    systemSeconds: 0.3,
    peakMemoryBytes: 3 << 20,
    peakIsOfRun: false,
  });
  assertEquals(report.perSecond, { requests: 1980, bytes: 1980 * 4096 });
  assertEquals(report.notifications.kicksPerRequest, 0.01);
  assertEquals(report.backEnd!.requestsPerCpuSecond, 2000);
  assertEquals(parseReport("f", JSON.stringify(report)), report);
  assertEquals(reportTable(report), [
    "a disk: depth 8, polled, capacity 1.00 GiB",
    "",
    "  requests         1000 in 0.50 s, 10 of them failed",
    "  requests/s       1.98 k",
    "  throughput       7.73 MiB/s",
    "  of which         read 800, write 190",
    "  latency p50      502 µs",
    "  latency p90      901 µs",
    "  latency p99      991 µs",
    "  latency p99.9    999 µs",
    "  latency max      1.00 ms",
    "  kicks sent       10 (0.01 a request)",
    "  calls received   250 (0.25 a request)",
    "  driver slept     7 times",
    "  back-end CPU     0.20 s user, 0.30 s system (2.00 k requests a second " +
    "of it)",
    "  back-end memory  3.00 MiB at most, since it started",
  ]);
});

Deno.test("what is no report is refused", () => {
  for (const text of ["", "null", "{", "[]", '{"reportVersion":2}']) {
    assertThrows(() => parseReport("f", text), UsageError, "f is no report");
  }
});

Deno.test("a report that is damaged is refused, and which part of it is wrong", () => {
  const latency = { count: 1, max: 1, histogram: [[1, 1]] };
  const times = { p50: 1, p90: 1, p99: 1, "p99.9": 1 };
  const good = {
    reportVersion: 1,
    label: "a disk",
    perSecond: { requests: 1, bytes: 1 },
    latency: { ...latency, ...times },
  };
  const parse = (changes: Record<string, unknown>) =>
    parseReport("f", JSON.stringify({ ...good, ...changes }));
  parse({});
  parse({ latency: null });
  const wrong: [string, Record<string, unknown>][] = [
    ["label", { label: 5 }],
    ["perSecond", { perSecond: null }],
    ["perSecond", { perSecond: {} }],
    ["latency", { latency: undefined }],
    ["latency", { latency: 3 }],
    ["latency", { latency: { ...times, ...latency, count: 0 } }],
    ["latency.p50", { latency }],
    ["latency.p99.9", { latency: { ...times, ...latency, "p99.9": -1 } }],
    ["latency.max", { latency: { ...times, ...latency, max: "1" } }],
    ["latency.histogram", { latency: { ...times, ...latency, histogram: 1 } }],
    ["latency.histogram", {
      latency: { ...times, ...latency, histogram: [[1, null]] },
    }],
  ];
  for (const [part, changes] of wrong) {
    assertThrows(() => parse(changes), UsageError, `but its ${part} is not`);
  }
});

Deno.test("figures have three digits and a unit", () => {
  assertEquals([0, 7, 999, 1000, 12_345, 999_600, 2_179_296].map(formatCount), [
    "0",
    "7",
    "999",
    "1.00 k",
    "12.3 k",
    "1.00 M",
    "2.18 M",
  ]);
  assertEquals([0, 950, 42_700, 1e6, 2.5e9].map(formatTime), [
    "0 ns",
    "950 ns",
    "42.7 µs",
    "1.00 ms",
    "2.50 s",
  ]);
  assertEquals([0, 512, 1024, 1.5 * 2 ** 20, 2 ** 31].map(formatBytes), [
    "0 B",
    "512 B",
    "1.00 KiB",
    "1.50 MiB",
    "2.00 GiB",
  ]);
  assertEquals([0, 0.25, 0.0312, 0.00021].map(formatShare), [
    "0",
    "0.25",
    "0.03",
    "0.0002",
  ]);
});
