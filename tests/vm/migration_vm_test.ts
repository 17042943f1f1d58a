/**
 * A real guest that is moved from back-end to back-end, twice on split rings; or
 * as often as `RINGSIDE_MOVES` says, on both kinds.
 *
 * @module
 */
import { requirement } from "../support/require.ts";
import { prepareBoot } from "./initramfs.ts";
import { migrationScenario } from "./migration_scenario.ts";
import { missingTools } from "./scenario.ts";

const canRun = requirement("what real guests take (tests/vm/README.md)", () => {
  const missing = missingTools();
  if (missing.length > 0) throw new Error(missing.join(", "));
  return true;
});
const wanted = Deno.env.get("RINGSIDE_MOVES");
const MOVES = Number(wanted ?? 2);

for (const packed of wanted === undefined ? [false] : [false, true]) {
  const kind = packed ? "packed" : "split";
  Deno.test({
    name: `[VM] A guest that is moved, ${kind} rings`,
    ignore: !canRun,
    fn: async (test) => {
      const boot = { ...await prepareBoot("both"), packed };
      await migrationScenario(
        async (title, body) => {
          await test.step(title, async () => void await body());
        },
        boot,
        MOVES,
      );
    },
  });
}
