import { canMakeNetns, Netns } from "../support/netns.ts";
import { requirement } from "../support/require.ts";

const RUN = new URL("./tap_taken_run.ts", import.meta.url).pathname;
const canMakeTap = requirement("network namespaces with tap", canMakeNetns);

Deno.test({
  name: "a tap that a process has is had once that lets go",
  ignore: !canMakeTap,
  async fn() {
    using netns = new Netns();
    netns.run("ip", "tuntap", "add", "dev", "t0", "mode", "tap");
    const program = [Deno.execPath(), "run", "--allow-all", "--no-check"];
    await netns.start(...program, RUN);
  },
});
