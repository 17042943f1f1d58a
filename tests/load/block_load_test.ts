import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Report } from "../../src/load/mod.ts";
import { Running, Scratch } from "../cli/program.ts";
import { hasProgram, requirement } from "../support/require.ts";
import { eventually } from "../vm/deadline.ts";
import { bench, benchWell } from "./support.ts";

const MIB = 1 << 20;
const QUICK = ["--warm-up", "0"];

/** A disk of ours, until it is disposed of. */
async function serveDisk(
  socketPath: string,
  options: string[],
): Promise<Running> {
  const running = new Running(["--allow-ffi", "--allow-read"], [
    "block",
    "--socket-path",
    socketPath,
    ...options,
  ]);
  await running.says("listens");
  return running;
}

function assertMixed(report: Report, requests: number, size: number): void {
  const { read, write, flush } = report.counts as Record<string, number>;
  assertEquals(report.requests, requests);
  assertEquals(report.latency!.count, requests);
  assertEquals(read! + write! + flush!, requests);
  assertEquals(report.bytes, (read! + write!) * size);
  // Drawn 60, 30 and 10 times of 100, by a seed that stays.
  assert(read! > write! && write! > flush! && flush! > 0);
}

for (const ring of ["split", "packed"]) {
  for (const indirect of [false, true]) {
    const kind = `${ring} rings${indirect ? ", indirect" : ""}`;
    Deno.test(`a mix on ${kind}: what was written is read`, async () => {
      await using scratch = new Scratch();
      const socket = scratch.file("s");
      await using _disk = await serveDisk(socket, [
        "--blk-file",
        await scratch.image(4 * MIB),
      ]);
      const report = await benchWell(scratch, [
        ...["block", "--socket-path", socket, "--queues", "2", ...QUICK],
        ...["--requests", "6000", "--depth", "17", "--size", "8K"],
        ...["--mix", "read=60,write=30,flush=10", "--destructive"],
        ...["--verify", "--ring", ring, ...(indirect ? ["--indirect"] : [])],
        // Neither polled nor by events alone: both are run through.
        ...(indirect ? ["--polled"] : []),
      ]);
      assertMixed(report, 6000, 8192);
      const { checked, mismatches } = report.counts;
      assert(checked! > 0, "no block was read that was written before");
      assertEquals(mismatches, 0);
      assertEquals(report.settings.ring, ring);
      assert(report.notifications.kicks > 0);
      if (indirect) assertEquals(report.notifications.waits, 0);
    });
  }
}

Deno.test("sequential reads go around the range", async () => {
  await using scratch = new Scratch();
  const socket = scratch.file("s");
  await using _disk = await serveDisk(socket, ["--blk-null", "1M"]);
  const report = await benchWell(scratch, [
    ...["--socket-path", socket, "block", "--requests", "1000"],
    ...["--order", "sequential", "--range", "10000", "--warm-up", "1"],
    ...["--size", "512", "--label", "around"],
  ]);
  assertEquals(report.label, "around");
  assertEquals(report.requests, 1000);
  assertEquals(report.bytes, 512_000);
});

Deno.test("data that is not what was written is found, exit code 1", async () => {
  await using scratch = new Scratch();
  const socket = scratch.file("s");
  // It forgets what is written, and its reads leave memory as it was.
  await using _disk = await serveDisk(socket, ["--blk-null", "1M"]);
  const { code, err, report } = await bench(scratch, [
    ...["block", "--socket-path", socket, ...QUICK, "--requests", "5000"],
    ...["--mix", "read=50,write=50", "--destructive", "--verify"],
  ]);
  assertEquals(code, 1);
  assertMatch(err, /Ring 0: [0-9]+ reads had other data than was written/);
  assert(report!.counts.mismatches! > 0);
  assertEquals(report!.errors, 0);
});

Deno.test("requests that fail are counted apart, exit code 1", async () => {
  await using scratch = new Scratch();
  const socket = scratch.file("s");
  const image = await scratch.image(MIB);
  await using _disk = await serveDisk(socket, ["--blk-file", image]);
  await Deno.truncate(image, MIB / 2);
  const { code, err, report } = await bench(scratch, [
    ...["block", "--socket-path", socket, ...QUICK],
    // Each of the 256 blocks once: half of them are gone.
    ...["--requests", "256", "--order", "sequential"],
  ]);
  assertEquals(code, 1);
  assertMatch(err, /Ring 0: 128 requests failed, the first with status 1/);
  assertEquals(report!.errors, 128);
  assertEquals(report!.requests, 256);
  assertEquals(report!.counts.read, 128);
  assertEquals(report!.bytes, 128 * 4096);
});

Deno.test("--backend-pid tells what the back-end spent", async () => {
  await using scratch = new Scratch();
  const socket = scratch.file("s");
  await using disk = await serveDisk(socket, ["--blk-null", "1G"]);
  const { backEnd } = await benchWell(scratch, [
    ...["block", "--socket-path", socket, ...QUICK],
    ...["--requests", "300000", "--backend-pid", String(disk.pid)],
  ]);
  assertEquals(backEnd!.pid, disk.pid);
  const cpu = backEnd!.userSeconds + backEnd!.systemSeconds;
  assert(cpu > 0 && cpu < 60, `${cpu} s`);
  assertEquals(backEnd!.requestsPerCpuSecond, 300_000 / cpu);
  assert(backEnd!.peakMemoryBytes > 10 * MIB);
  assert(backEnd!.peakMemoryBytes < 1024 * MIB);
});

const hasDaemon = requirement(
  "qemu-storage-daemon",
  () => hasProgram("qemu-storage-daemon"),
);

Deno.test({
  name: "qemu-storage-daemon is measured as we are",
  ignore: !hasDaemon,
  async fn() {
    await using scratch = new Scratch();
    const socket = scratch.file("s");
    const image = await scratch.image(4 * MIB);
    const daemon = new Deno.Command("qemu-storage-daemon", {
      args: [
        "--blockdev",
        `driver=file,node-name=disk,filename=${image}`,
        "--export",
        "type=vhost-user-blk,id=export,addr.type=unix," +
        `addr.path=${socket},node-name=disk,writable=on,num-queues=2`,
      ],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    try {
      const listens = () =>
        Deno.readTextFileSync("/proc/net/unix").includes(` ${socket}\n`);
      await eventually(listens, 20_000, () => "The daemon does not listen");
      const report = await benchWell(scratch, [
        ...["block", "--socket-path", socket, "--queues", "2", ...QUICK],
        ...["--requests", "4000", "--mix", "read=60,write=30,flush=10"],
        ...["--destructive", "--verify", "--backend-pid", `${daemon.pid}`],
      ]);
      assertMixed(report, 4000, 4096);
      assert(report.counts.checked! > 0);
      assertEquals(report.counts.mismatches, 0);
      assert(report.backEnd!.peakMemoryBytes > MIB);
    } finally {
      daemon.kill("SIGTERM");
      await daemon.status;
    }
  },
});
