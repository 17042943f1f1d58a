import { hasProgram, requirement } from "../support/require.ts";
import { hasUring } from "../support/uring.ts";
import { assertQuiet, tracedCommand, traceRounds } from "./traced_rounds.ts";

const canTrace = requirement("stdbuf", () => hasProgram("stdbuf"));
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
    fn: async () =>
      assertQuiet(await traceRounds(tracedCommand(run, variant, kind))),
  });
}
