import {
  assert,
  assertEquals,
  assertLess,
  assertStringIncludes,
} from "@std/assert";
import { IoUring } from "../../src/io/io_uring.ts";
import { MARK, ROUNDS } from "./rounds.ts";
import { hasProgram, requirement } from "../support/require.ts";

// V8 writes its traces through the C library, which keeps them in a buffer
// unless told not to: they would not be in order with the marks of the run.
const canTrace = requirement("stdbuf", () => hasProgram("stdbuf"));
const hasUring = requirement("io_uring", () => {
  IoUring.open(8)[Symbol.dispose]();
  return true;
});

/** What V8 says in each round of 1 M requests, after a warm-up. */
async function trace(
  run: string,
  variant: string,
  kind: string,
): Promise<string[][]> {
  const script = new URL(run, import.meta.url).pathname;
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const { success, stdout, stderr } = await new Deno.Command("stdbuf", {
    args: [
      "-oL",
      Deno.execPath(),
      "run",
      "--allow-all",
      "--no-check",
      `--config=${config}`,
      "--v8-flags=--trace-gc,--trace-deopt,--expose-gc",
      script,
      variant,
      kind,
    ],
  }).output();
  const text = new TextDecoder().decode(stdout);
  const errors = new TextDecoder().decode(stderr);
  assertEquals(success, true, errors);
  const [warmUp, ...rounds] = text.split(`${MARK}\n`);
  // Else the trace is off, and the silence means nothing.
  assertStringIncludes(warmUp!, "Mark-Compact");
  assertEquals(rounds.length, ROUNDS + 1, text);
  return rounds.slice(0, ROUNDS).map((round) =>
    round.split("\n").filter((line) => line !== "")
  );
}

function collections(lines: readonly string[]): string[] {
  return lines.filter((line) => /Scavenge|Mark-Compact/.test(line));
}

/** What takes long on split rings only: the ring is not where the time goes. */
const RUNS = [
  ["null", "./hot_run.ts", "split"],
  ["null", "./hot_run.ts", "packed"],
  ["sync", "./hot_run.ts", "split"],
  ["io_uring", "./hot_run.ts", "split"],
  ["kernel", "./rng_hot_run.ts", "split"],
  ["kernel", "./rng_hot_run.ts", "packed"],
  ["file", "./rng_hot_run.ts", "split"],
  ["budget", "./rng_hot_run.ts", "split"],
  ["budget", "./rng_hot_run.ts", "packed"],
] as const;

for (const [variant, run, kind] of RUNS) {
  Deno.test({
    name:
      `1 M requests make no garbage and keep their optimised code (${variant}, ${kind})`,
    ignore: !canTrace || (variant === "io_uring" && !hasUring),
    async fn() {
      const rounds = await trace(run, variant, kind);
      // When the compiler has learnt enough depends on what else the machine
      // does. What goes on for ever, as an object a request does, is in all
      // rounds: twelve collections or more in each.
      const quiet = rounds.find((lines) => collections(lines).length === 0);
      assert(quiet !== undefined, rounds.map((r) => r.join("\n")).join("\n\n"));
      // A rare branch that is taken for the first time costs one; a cause that
      // stays costs thousands.
      const bailouts = quiet.filter((line) => line.includes("bailout"));
      assertLess(bailouts.length, 10, bailouts.join("\n"));
    },
  });
}
