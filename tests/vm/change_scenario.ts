/**
 * What changes under a disk that is in use: its own size, as the operator says
 * or as its file has it, and the memory that comes and goes.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { BackEnd } from "./back_end.ts";
import { eventually } from "./deadline.ts";
import { Guest } from "./guest.ts";
import { finish, moreIsDone, startChecking } from "./restless_scenario.ts";
import {
  DISK_SIZE,
  hashFile,
  type Setup,
  Stage,
  type Step,
  type Variant,
} from "./scenario.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const MEBIBYTE = 1 << 20;
const DIMM_SIZE = 128 * MEBIBYTE;
/** How often memory comes and goes. */
const PLUGS = 2;
/** When a guest is asked again for memory that it was not ready to give. */
const ASK_AGAIN_MS = 5000;

/** What the steps of the scenario work on. */
interface Scene {
  guest: Guest;
  backEnd: BackEnd;
  image: string;
  controlPath: string;
}

/** `ringside ctl` with `args`; what it prints. */
async function ctl({ controlPath }: Scene, ...args: string[]) {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--no-prompt", "--quiet", "--allow-ffi", MAIN, "ctl"],
      ...args,
      ...["--control-path", controlPath],
    ],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(decoder.decode(stderr));
  return decoder.decode(stdout).trim();
}

/** Waits until the guest's disk has `size` bytes, without a word to the guest. */
async function seen({ guest }: Scene, size: number): Promise<void> {
  let now = "";
  await eventually(
    async () => {
      now = await guest.output("blockdev --getsize64 /dev/vda");
      return Number(now) === size;
    },
    20_000,
    () => `The guest's disk has ${now} bytes, wanted ${size}`,
  );
}

/** Writes and reads the last MiB of the disk, which has `size` bytes. */
async function useEnd(scene: Scene, size: number): Promise<void> {
  const { guest, image } = scene;
  const last = size / MEBIBYTE - 1;
  const line = await guest.output(`
    set -e
    dd if=/dev/urandom of=/tmp/end bs=1M count=1
    dd if=/tmp/end of=/dev/vda bs=1M seek=${last} oflag=direct conv=fsync
    dd if=/dev/vda bs=1M skip=${last} count=1 iflag=direct | cmp - /tmp/end
    sha256sum </tmp/end
  `);
  const hash = await hashFile(image, last * MEBIBYTE, MEBIBYTE);
  assertEquals(hash, line.split(" ")[0]);
}

async function showSizes(step: Step, scene: Scene) {
  const { guest, image } = scene;
  await step("resized by ringside ctl while fio writes", async () => {
    const size = DISK_SIZE + 64 * MEBIBYTE;
    const said = await ctl(scene, "resize", "block", String(size));
    await seen(scene, size);
    await useEnd(scene, size);
    await moreIsDone(guest);
    return said;
  });
  await step("the file grows, and with it the disk", async () => {
    const size = DISK_SIZE + 96 * MEBIBYTE;
    await Deno.truncate(image, size);
    await seen(scene, size);
    await useEnd(scene, size);
    await moreIsDone(guest);
    return `${size} bytes`;
  });
  await step("smaller only with --shrink, and then at once", async () => {
    const size = String(DISK_SIZE);
    const refusal = await ctl(scene, "resize", "block", size).then(
      () => "",
      (error: Error) => error.message,
    );
    assert(refusal.includes("--shrink"), refusal);
    await ctl(scene, "resize", "block", size, "--shrink");
    await seen(scene, DISK_SIZE);
    assertEquals((await Deno.stat(image)).size, DISK_SIZE);
    await moreIsDone(guest);
    return `${size} bytes`;
  });
  await step("ringside ctl status tells of the guest's rings", async () => {
    const text = await ctl(scene, "status");
    assert(/^block \(block\): a front-end, .*VERSION_1/.test(text), text);
    const running = text.split("\n").filter((line) => / runs, /.test(line));
    assertEquals(running.length, 4, text);
    return running[0]!.trim();
  });
}

async function plug({ guest, backEnd }: Scene, name: string): Promise<void> {
  const before = backEnd.holdings().guestMappings;
  await guest.command("object-add", {
    "qom-type": "memory-backend-memfd",
    id: `${name}-memory`,
    size: DIMM_SIZE,
    share: true,
  });
  await guest.command("device_add", {
    driver: "pc-dimm",
    id: name,
    memdev: `${name}-memory`,
  });
  assertEquals(backEnd.holdings().guestMappings, before + 1);
  // Only memory that is movable can be taken out again.
  await eventually(
    async () => {
      const done = await guest.run(`
        found=1
        for state in /sys/devices/system/memory/memory*/state; do
          grep -q offline $state || continue
          echo online_movable >$state && found=0
        done
        exit $found
      `);
      return done.status === 0;
    },
    20_000,
    () => "The guest finds no new memory",
  );
}

/** Takes the memory out, which the guest has to agree to, perhaps later. */
async function unplug({ guest }: Scene, name: string): Promise<void> {
  let asked = -Infinity;
  let refusal = "";
  await eventually(
    async () => {
      const left = await guest.command("query-memory-devices") as unknown[];
      if (left.length === 0) return true;
      if (performance.now() - asked < ASK_AGAIN_MS) return false;
      asked = performance.now();
      // Refused while it is under way.
      await guest.command("device_del", { id: name }).catch((error) =>
        refusal = String(error)
      );
      return false;
    },
    60_000,
    async () =>
      `The guest keeps its memory: ${refusal}\n` +
      (await guest.console()).slice(-2000),
  );
  await guest.command("object-del", { id: `${name}-memory` });
}

async function showMemory(step: Step, scene: Scene) {
  const { guest, backEnd } = scene;
  for (let round = 0; round < PLUGS; round++) {
    const name = `dimm${round}`;
    await step(`memory plugged in, used and unplugged (${name})`, async () => {
      const before = backEnd.holdings().guestMappings;
      await plug(scene, name);
      await moreIsDone(guest);
      // What is movable comes first, so that the disk reads into it.
      await guest.output(`
        set -e
        mount -t tmpfs -o size=200M tmpfs /mnt
        dd if=/dev/vda of=/mnt/copy bs=1M skip=64 count=8 iflag=direct
        dd if=/dev/vda bs=1M skip=64 count=8 iflag=direct | cmp - /mnt/copy
        rm /mnt/copy
        umount /mnt
      `);
      await unplug(scene, name);
      assertEquals(backEnd.holdings().guestMappings, before);
      await moreIsDone(guest);
      return `${before} mappings of guest memory before and after`;
    });
  }
}

/** Shows what holds while a disk and the guest's memory change in size. */
export async function changeScenario(
  step: Step,
  setup: Setup,
  variant: Variant,
): Promise<void> {
  await using stage = await Stage.set();
  const image = await stage.image("disk");
  const controlPath = `${stage.directory}/control.sock`;
  const backEnd = await stage.serve(setup.kind, "disk", {
    file: image,
    ...variant,
    more: ["--control-path", controlPath],
  });
  await using guest = await Guest.boot({
    boot: setup.boot,
    disks: [{ socketPath: backEnd.socketPath }],
    memoryMebibytes: 384,
  });
  const scene = { guest, backEnd, image, controlPath };
  await startChecking(guest);
  await showSizes(step, scene);
  await showMemory(step, scene);
  await step("fio read back what it wrote all along", async () => {
    await finish(guest);
    return "no difference";
  });
}
