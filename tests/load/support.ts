/**
 * `ringside bench` as its users run it, and what its reports have to be.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Report } from "../../src/load/mod.ts";
import { type Outcome, runProgram, type Scratch } from "../cli/program.ts";

type Schema = Record<string, unknown>;

const SCHEMA = JSON.parse(Deno.readTextFileSync(
  new URL("../../docs/bench_report.schema.json", import.meta.url),
)) as Schema;

/** How a run of the bench ended, and its report where there is one. */
export interface BenchOutcome extends Outcome {
  report: Report | null;
}

/** Runs `ringside bench ARGS --json FILE` to its end. */
export async function bench(
  scratch: Scratch,
  args: string[],
): Promise<BenchOutcome> {
  const json = scratch.file(`${crypto.randomUUID()}.json`);
  const outcome = await runProgram(
    ["--allow-ffi"],
    ["bench", ...args, "--json", json],
  );
  const text = await Deno.readTextFile(json).catch(() => "");
  const report = text === "" ? null : JSON.parse(text) as Report;
  if (report !== null) assertSound(report);
  return { ...outcome, report };
}

/** As `bench`, with nothing wrong. */
export async function benchWell(
  scratch: Scratch,
  args: string[],
): Promise<Report> {
  const { code, err, out, report } = await bench(scratch, args);
  assertEquals({ code, err }, { code: 0, err: "" });
  assert(report !== null && out.includes(report.label));
  assertEquals(report.errors, 0);
  assertEquals(report.complaints, []);
  return report;
}

/** What holds for every report: its schema, and sums. */
export function assertSound(report: Report): void {
  assertFits(SCHEMA, report, "report");
  const { latency, requests, errors, perSecond, seconds } = report;
  const rate = perSecond.requests * seconds;
  assert(Math.abs(rate - (requests - errors)) <= 1e-6 * requests + 1e-6);
  if (latency === null) return;
  const counted = latency.histogram.reduce((sum, [, count]) => sum + count, 0);
  assertEquals(counted, latency.count);
  assertEquals(latency.histogram.at(-1)![0], latency.max);
  const { min, p50, p90, p99, max } = latency;
  const rising = [min, p50, p90, p99, latency["p99.9"], max];
  assertEquals(rising, rising.toSorted((a, b) => a - b));
  assert(min > 0 && latency.mean >= min && latency.mean <= max);
}

/** Fails where `value` is not what `schema` says, for what ours is made of. */
export function assertFits(schema: Schema, value: unknown, at: string): void {
  const types = [schema.type ?? []].flat() as string[];
  const type = value === null
    ? "null"
    : Array.isArray(value)
    ? "array"
    : typeof value;
  const isInteger = type === "number" && Number.isInteger(value);
  assert(
    types.length === 0 || types.includes(type) ||
      (isInteger && types.includes("integer")),
    `${at} is ${type}, wanted ${types}`,
  );
  if ("const" in schema) assertEquals(value, schema.const, at);
  const words = schema.enum as unknown[] | undefined;
  assert(words === undefined || words.includes(value), `${at} is ${value}`);
  if (Array.isArray(value)) {
    assert(value.length >= Number(schema.minItems ?? 0), at);
    value.forEach((item) => assertFits(schema.items as Schema, item, at));
  } else if (type === "object") {
    assertProperties(schema, value as Record<string, unknown>, at);
  }
}

function assertProperties(
  schema: Schema,
  value: Record<string, unknown>,
  at: string,
): void {
  for (const key of (schema.required ?? []) as string[]) {
    assert(Object.hasOwn(value, key), `${at} has no ${key}`);
  }
  const known = (schema.properties ?? {}) as Record<string, Schema>;
  const others = schema.additionalProperties;
  for (const [key, part] of Object.entries(value)) {
    const rule = known[key] ?? others;
    assert(rule !== false && rule !== undefined, `${at} has a ${key}`);
    assertFits(rule as Schema, part, `${at}.${key}`);
  }
}
