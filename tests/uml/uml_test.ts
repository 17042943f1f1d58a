/** Disks of a real guest that is kicked and called by messages. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { requirement } from "../support/require.ts";
import { Ringside } from "../support/ringside.ts";
import { hasUml, runGuest } from "./uml.ts";

const canRun = requirement("User Mode Linux with busybox", hasUml);

const DISK_SIZE = 16 << 20;
const TIMEOUT_MS = 120_000;

/** Writes 1 MiB of noise, reads it back past the cache and tells its sum. */
const SCRIPT = `
cat /sys/block/vda/size
dd if=/dev/urandom of=/noise bs=64k count=16
dd if=/noise of=/dev/vda bs=64k seek=16 oflag=direct
dd if=/dev/vda of=/again bs=64k skip=16 count=16 iflag=direct
cmp /noise /again && echo SAME
md5sum /noise
grep virtio /proc/interrupts
`;

for (
  const [plane, inBand, how] of [
    ["inline", true, "in-band"],
    ["worker", true, "in-band"],
    ["inline", false, "called through sockets"],
  ] as const
) {
  Deno.test({
    name: `[UML] a guest writes a disk and reads it back, ${how} (${plane})`,
    ignore: !canRun,
    async fn() {
      const directory = Deno.makeTempDirSync({ prefix: "ringside-uml-" });
      const disk = `${directory}/disk.img`;
      const socketPath = `${directory}/disk.sock`;
      Deno.writeFileSync(disk, new Uint8Array(DISK_SIZE));
      const args = ["--socket-path", socketPath, "--blk-file", disk]
        .concat("--data-plane", plane, inBand ? "--in-band" : [])
        // It starts every ring from base 0, where no packed ring starts.
        .concat("--packed", "off");
      {
        await using _ringside = await Ringside.start(["block", ...args]);
        const text = await runGuest(directory, socketPath, SCRIPT, TIMEOUT_MS);
        assertMatch(text, /^SAME\r?$/m);
        assertMatch(text, new RegExp(`^${DISK_SIZE / 512}\\r?$`, "m"));
        const sum = /^([0-9a-f]{32}) /m.exec(text)![1];
        const written = Deno.readFileSync(disk).subarray(1 << 20, 2 << 20);
        assertEquals(await md5(written), sum);
        // One interrupt for all messages, or one for each ring.
        const interrupts = [...text.matchAll(/^ *\d+: +(\d+) .*virtio/gm)];
        assert(interrupts.some(([, count]) => Number(count) > 0), text);
      }
      Deno.removeSync(directory, { recursive: true });
    },
  });
}

/** By the program: the platform has no such sum. */
async function md5(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const child = new Deno.Command("md5sum", {
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(bytes);
  await writer.close();
  const { stdout } = await child.output();
  return new TextDecoder().decode(stdout).slice(0, 32);
}
