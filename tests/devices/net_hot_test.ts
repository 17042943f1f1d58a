import { assertEquals, assertLess, assertStringIncludes } from "@std/assert";
import { RING_KINDS } from "../../src/testing/mod.ts";
import { canMakeNetns, Netns } from "../support/netns.ts";
import { hasProgram, requirement } from "../support/require.ts";

// See hot_test.ts: V8's traces in order with the marks of the run.
const canTrace = requirement("stdbuf", () => hasProgram("stdbuf"));
const canMakeTap = requirement("network namespaces with tap", canMakeNetns);

/** What V8 says while 1 M frames are sent, after a warm-up. */
async function trace(words: readonly string[]): Promise<string[]> {
  const [program, ...args] = words;
  const { success, stdout, stderr } = await new Deno.Command(program!, {
    args,
  }).output();
  const text = new TextDecoder().decode(stdout);
  assertEquals(success, true, new TextDecoder().decode(stderr));
  assertStringIncludes(text, "WARM\n");
  const measured = text.split("WARM\n")[1]!;
  assertStringIncludes(measured, "DONE\n");
  return measured.split("DONE\n")[0]!.split("\n").filter((line) => line !== "");
}

function command(...args: string[]): string[] {
  const path = (name: string) => new URL(name, import.meta.url).pathname;
  return [
    ...["stdbuf", "-oL", Deno.execPath(), "run", "--allow-all", "--no-check"],
    `--config=${path("../../deno.json")}`,
    "--v8-flags=--trace-gc,--trace-deopt,--expose-gc",
    path("./net_hot_run.ts"),
    ...args,
  ];
}

function isQuiet(lines: readonly string[]): void {
  const collections = lines.filter((line) =>
    /Scavenge|Mark-Compact/.test(line)
  );
  assertEquals(collections, [], "garbage collections");
  const bailouts = lines.filter((line) => line.includes("bailout"));
  assertLess(bailouts.length, 10, bailouts.join("\n"));
}

for (const { name: kind } of RING_KINDS) {
  Deno.test({
    name:
      `1 M frames make no garbage and keep their optimised code (loopback, ${kind})`,
    ignore: !canTrace,
    fn: async () => isQuiet(await trace(command("loopback", kind))),
  });

  Deno.test({
    name:
      `1 M frames make no garbage and keep their optimised code (tap, ${kind})`,
    ignore: !canTrace || !canMakeTap,
    async fn() {
      using netns = new Netns();
      netns.addTap("t0", "192.0.2.1/24");
      isQuiet(await trace(netns.command(command("tap", kind, "t0"))));
    },
  });
}
