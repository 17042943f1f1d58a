/**
 * Real guests with network cards of ours, in network namespaces: what
 * `deno task vm` shows, as tests.
 *
 * The large file has 16 MiB, or `RINGSIDE_FILE_MIB`.
 *
 * @module
 */
import { canMakeNetns } from "../support/netns.ts";
import { requirement } from "../support/require.ts";
import { netScenarios } from "./card_scenarios.ts";
import { prepareBoot } from "./initramfs.ts";
import { missingCardTools } from "./serving.ts";

const hasTools = requirement(
  "what guests with cards take (tests/vm/README.md)",
  () => {
    const missing = missingCardTools();
    if (missing.length > 0) throw new Error(missing.join(", "));
    return true;
  },
);
const canRun = requirement(
  "the right to make network namespaces",
  canMakeNetns,
) && hasTools;
const fileMebibytes = Number(Deno.env.get("RINGSIDE_FILE_MIB") ?? 16);

for (const { name, run } of netScenarios({ thorough: false })) {
  Deno.test({ name: `[VM] ${name}`, ignore: !canRun }, async (test) => {
    const boot = await prepareBoot("card");
    await run(async (title, body) => {
      await test.step(title, async () => void await body());
    }, { boot, fileMebibytes });
  });
}
