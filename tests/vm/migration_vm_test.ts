/**
 * A real guest that is moved from back-end to back-end: twice, with a disk on
 * split rings and a card on packed ones; or as often as `RINGSIDE_MOVES` says,
 * on either kind.
 *
 * @module
 */
import { canMakeNetns } from "../support/netns.ts";
import { requirement } from "../support/require.ts";
import { prepareBoot } from "./initramfs.ts";
import { migrationScenario } from "./migration_scenario.ts";
import { describeRings } from "./ring_kind.ts";
import { missingTools } from "./scenario.ts";
import { missingCardTools } from "./serving.ts";

const canRun = requirement(
  "what guests that are moved take (tests/vm/README.md)",
  () => {
    const missing = [...missingTools(), ...missingCardTools()];
    if (missing.length > 0) throw new Error(missing.join(", "));
    return canMakeNetns();
  },
);
const wanted = Deno.env.get("RINGSIDE_MOVES");
const count = Number(wanted ?? 2);

const SPLIT = { packedDisk: false, packedCard: false };
const PACKED = { packedDisk: true, packedCard: true };
const MIXED = { packedDisk: false, packedCard: true };

for (const rings of wanted === undefined ? [MIXED] : [SPLIT, PACKED]) {
  const disk = describeRings(rings.packedDisk);
  const card = describeRings(rings.packedCard);
  Deno.test({
    name: `[VM] A guest that is moved, disk ${disk}, card ${card}`,
    ignore: !canRun,
    fn: async (test) => {
      const boot = await prepareBoot("both");
      await migrationScenario(
        async (title, body) => {
          await test.step(title, async () => void await body());
        },
        boot,
        { count, ...rings },
      );
    },
  });
}
