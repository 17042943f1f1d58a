/**
 * Real guests on disks we serve: what `deno task vm` shows, as tests,
 * less what one engine shows for both.
 *
 * fio runs 5 s in each variant, or `RINGSIDE_FIO_SECONDS`.
 * `RINGSIDE_VM_BACK_END=qemu-storage-daemon` runs them on the peer, to tell
 * what is wrong with the harness from what is wrong with ringside.
 *
 * @module
 */
import { requirement } from "../support/require.ts";
import { type BootFiles, prepareBoot } from "./initramfs.ts";
import { backEndKind, missingTools } from "./scenario.ts";
import { scenariosOf } from "./scenarios.ts";

const canRun = requirement("what real guests take (tests/vm/README.md)", () => {
  const missing = missingTools();
  if (missing.length > 0) throw new Error(missing.join(", "));
  return true;
});
const kind = backEndKind(Deno.env.get("RINGSIDE_VM_BACK_END") ?? "ringside");
const fioSeconds = Number(Deno.env.get("RINGSIDE_FIO_SECONDS") ?? 5);

let boot: Promise<BootFiles> | null = null;

for (const { name, run } of scenariosOf(kind, { thorough: false })) {
  Deno.test({ name: `[VM] ${name}`, ignore: !canRun }, async (test) => {
    boot ??= prepareBoot();
    const setup = { kind, boot: await boot, fioSeconds };
    await run(async (title, body) => {
      await test.step(title, async () => void await body());
    }, setup);
  });
}
