/**
 * Real guests with entropy devices of ours: what `deno task vm` shows, as
 * tests.
 *
 * @module
 */
import { requirement } from "../support/require.ts";
import { rngScenarios } from "./card_scenarios.ts";
import { prepareBoot } from "./initramfs.ts";
import { missingCardTools } from "./serving.ts";

const canRun = requirement(
  "what guests with cards take (tests/vm/README.md)",
  () => {
    const missing = missingCardTools();
    if (missing.length > 0) throw new Error(missing.join(", "));
    return true;
  },
);

for (const { name, run } of rngScenarios({ thorough: false })) {
  Deno.test({ name: `[VM] ${name}`, ignore: !canRun }, async (test) => {
    const boot = await prepareBoot("card");
    await run(async (title, body) => {
      await test.step(title, async () => void await body());
    }, { boot, fileMebibytes: 0 });
  });
}
