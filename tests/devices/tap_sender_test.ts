import { RING_KINDS } from "../../src/testing/mod.ts";
import { canMakeNetns, Netns } from "../support/netns.ts";
import { requirement } from "../support/require.ts";
import { hasUring } from "../support/uring.ts";

const RUN = new URL("./tap_sender_run.ts", import.meta.url).pathname;
const canMakeTap = requirement("network namespaces with tap", canMakeNetns);
for (const { name: kind } of RING_KINDS) {
  Deno.test({
    name: `bursts to a tap arrive whole and in order (${kind})`,
    ignore: !canMakeTap || !hasUring,
    async fn() {
      const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
      console.log(`${kind}: seed ${seed}`);
      using netns = new Netns();
      netns.run("ip", "link", "add", "b0", "type", "bridge");
      for (const name of ["t0", "t1"]) {
        netns.run("ip", "tuntap", "add", "dev", name, "mode", "tap");
        netns.run("ip", "link", "set", name, "master", "b0", "up");
      }
      netns.run("ip", "link", "set", "b0", "up");
      const program = [Deno.execPath(), "run", "--allow-all", "--no-check"];
      await netns.start(...program, RUN, kind, `${seed}`);
    },
  });
}
