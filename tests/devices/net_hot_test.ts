import { RING_KINDS } from "../../src/testing/mod.ts";
import { canMakeNetns, Netns } from "../support/netns.ts";
import { hasProgram, requirement } from "../support/require.ts";
import { hasUring } from "../support/uring.ts";
import { assertQuiet, tracedCommand, traceRounds } from "./traced_rounds.ts";

const RUN = "./net_hot_run.ts";
const canTrace = requirement("stdbuf", () => hasProgram("stdbuf"));
const canMakeTap = requirement("network namespaces with tap", canMakeNetns);
for (const { name: kind } of RING_KINDS) {
  Deno.test({
    name:
      `1 M frames make no garbage and keep their optimised code (loopback, ${kind})`,
    ignore: !canTrace,
    fn: async () =>
      assertQuiet(
        await traceRounds(tracedCommand(RUN, "loopback", kind)),
      ),
  });

  for (const engine of [[], ["uring"]]) {
    const how = ["tap", ...engine].join(" by ");
    Deno.test({
      name:
        `1 M frames make no garbage and keep their optimised code (${how}, ${kind})`,
      ignore: !canTrace || !canMakeTap || (engine.length > 0 && !hasUring),
      async fn() {
        using netns = new Netns();
        netns.addTap("t0", "192.0.2.1/24");
        const command = tracedCommand(RUN, "tap", kind, "t0", ...engine);
        assertQuiet(await traceRounds(netns.command(command)));
      },
    });
  }
}
